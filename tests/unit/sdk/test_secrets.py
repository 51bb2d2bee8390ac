"""`secrets` of a job: valid values, how the names travel, and the errors for all others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from titan import DAG, Gate, Job, task
from titan.errors import InvalidGraph, InvalidPipeline
from titan.model import graph
from titan.model.dag import DagSpec, JobTemplate
from titan.model.dag import Gate as GateSpec
from titan.model.secrets import SECRET_NAME_RULE, is_secret_name, value_problem
from titan.sdk.pipeline import load_pipeline
from titan.sdk.staging import stage


def test_valid_names_of_secrets_are_accepted() -> None:
    for good in ("A", "_", "a1_B", "TITAN", "X" * 128):
        assert is_secret_name(good)
    for bad in ("", "1A", "A-B", "A B", "A=", "Ä", "TITAN_X", "X" * 129, "A\n", "A\0"):
        assert not is_secret_name(bad)


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ("TOKEN", "must be a list of names of secrets, [API_TOKEN]"),
        ({"TOKEN": 1}, "must be a list of names"),
        ([1], "each item must be the name of a secret, not 1"),
        (["A", "TITAN_RUN"], f"'TITAN_RUN' is not a valid name of a secret: a name is {SECRET_NAME_RULE}"),
        (["A", "B", "A"], "A is named twice"),
        ([f"S{n}" for n in range(65)], "65 are too many for a job: the limit is 64"),
    ],
)
def test_an_invalid_value_is_refused_with_its_problem(given: Any, problem: str) -> None:
    with pytest.raises(InvalidGraph) as said:
        Job("a", command="true", secrets=given)
    assert str(said.value).startswith(f"job 'a': secrets: {problem}")


def test_a_secret_and_env_cannot_set_the_same_variable() -> None:
    with pytest.raises(InvalidGraph, match="job 'a': secrets: B is in env too"):
        Job("a", command="true", secrets=["A", "B"], env={"B": 1})


def test_a_gate_cannot_have_secrets() -> None:
    with pytest.raises(InvalidGraph, match="secrets: does not apply to a gate"):
        Job("a", type="gate", secrets=["A"])
    assert Gate("a", "go?").secrets == ()


def test_a_call_cannot_have_secrets() -> None:
    with pytest.raises(InvalidGraph, match=r"task 'f': secrets: a call shares its process with others.*make it a script"):
        task(name="f", secrets=["A"])(len)  # type: ignore[call-overload]
    with pytest.raises(InvalidGraph, match="make it a script"):
        task(len).options(secrets=["A"])


def test_the_names_of_secrets_are_in_the_template() -> None:
    jobs = [Job("a", command="true", secrets=["B", "A"]), Job("b", command="true"), Job("c", command="true", secrets=("B", "A"))]
    spec = stage(DAG("d", jobs)).spec
    assert [template.secrets for template in spec.templates] == [("B", "A"), ()] and spec.template_of == [0, 1, 0]


@pytest.mark.parametrize(
    ("template", "why"),
    [
        (JobTemplate(function="f" * 64, secrets=("A",)), "make it a script"),
        (JobTemplate(kind="gate", gate=GateSpec(), secrets=("A",)), "a gate runs nothing"),
        (JobTemplate(command="x", secrets=("TITAN_A",)), "is not a valid name of a secret"),
        (JobTemplate(command="x", secrets=("A", "A")), "A is named twice"),
        (JobTemplate(command="x", secrets=("A",), env=(("A", "1"),)), "A is in env too"),
        (JobTemplate(command="x", secrets=tuple([f"S{n}" for n in range(65)])), "the limit is 64"),
    ],
)
def test_the_master_checks_secrets_itself(template: JobTemplate, why: str) -> None:
    with pytest.raises(InvalidGraph, match=f"secrets: .*{why}"):
        graph.resolve(DagSpec("d", "", [template], ["a"], [0], [()], [()]))
    graph.resolve(DagSpec("d", "", [replace(template, secrets=())], ["a"], [0], [()], [()]))


def pipeline(folder: Path, secrets: str) -> Path:
    file = folder / "p.yaml"
    file.write_text(f"name: p\nproject: false\njobs:\n  - id: a\n    command: 'true'\n    secrets: {secrets}\n")
    return file


def test_secrets_of_a_job_are_read_from_a_pipeline_file(tmp_path: Path) -> None:
    (job,) = load_pipeline(pipeline(tmp_path, "[TOKEN, OTHER]")).jobs
    assert job.secrets == ("TOKEN", "OTHER")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("TOKEN", "must be a list of names of secrets, [API_TOKEN]"),
        ("[TITAN_X]", "'TITAN_X' is not a valid"),
        ("[1]", "quote it"),
    ],
)
def test_invalid_secrets_in_a_pipeline_file_are_refused_with_their_line(tmp_path: Path, given: str, said: str) -> None:
    with pytest.raises(InvalidPipeline) as caught:
        load_pipeline(pipeline(tmp_path, given))
    assert ":6: secrets: " in str(caught.value) and said in str(caught.value)


def test_values_that_cannot_be_masked_or_passed_on_are_refused() -> None:
    assert value_problem(b"abcd") == value_problem(b"\xff" * 65_536) == ""
    assert "less than 4" in value_problem(b"abc")
    assert "more than 65,536" in value_problem(b"a" * 65_537)
    assert "NUL" in value_problem(b"ab\0cd")
