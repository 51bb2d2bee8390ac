"""Outputs, inputs and keys: valid values, and the errors for invalid ones."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from titan.errors import InvalidGraph
from titan.model.dag import DagSpec, Gate, JobTemplate, Service
from titan.model.files import MAX_FILES, files_problem, is_key, is_run, nested_problem, path_problem
from titan.model.graph import check_part, resolve
from titan.model.job_inputs import check_inputs, giver_of
from titan.model.names import run_id

MAKE = JobTemplate(command="true", outputs=(("model", "out/model.bin"),))


def takes(*inputs: tuple[str, str, str]) -> JobTemplate:
    return JobTemplate(command="true", inputs=inputs)


def dag(*jobs: tuple[str, JobTemplate, tuple[str, ...]]) -> DagSpec:
    ids, templates, parents = zip(*jobs, strict=True)
    return DagSpec("d", "", list(templates), list(ids), list(range(len(ids))), [()] * len(ids), list(parents))


@pytest.mark.parametrize("path", ["a", "a/b.bin", "-x", ".hidden", "a b/ü", "a..b"])
def test_paths_in_a_folder(path: str) -> None:
    assert path_problem(path) == ""


@pytest.mark.parametrize("path", ["", "/a", "..", "a/../b", "./a", "a//b", "a/", ".", "a\0b", "x" * 300, "d/" * 600 + "x"])
def test_paths_that_are_none_or_lead_out(path: str) -> None:
    assert path_problem(path)


@given(st.lists(st.text("ab/", min_size=1, max_size=5).filter(lambda p: not path_problem(p)), max_size=6))
def test_of_two_paths_neither_lies_in_the_other(paths: list[str]) -> None:
    clash = any(i != j and (a == b or b.startswith(a + "/")) for i, a in enumerate(paths) for j, b in enumerate(paths))
    assert bool(nested_problem(paths)) == clash


def test_keys_are_distinguished_from_paths_and_run_ids() -> None:
    assert all(map(is_key, ("a", "models/best", "v1.2/x@y", "A=1,b+c:d")))
    assert not any(map(is_key, ("", "/a", "a/", "a//b", ".a", "a/.b", "a b", "a/../b", "x" * 257, "ü")))
    assert is_run(run_id(1_700_000_000_000, 12345)) and not is_run("models")


@pytest.mark.parametrize(
    ("template", "words"),
    [
        (JobTemplate(command="x", outputs=(("", "a"),)), "an output's name"),
        (JobTemplate(command="x", outputs=(("a", "../a"),)), "plain path inside"),
        (JobTemplate(command="x", outputs=(("a", "a"), ("a", "b"))), "'a' appears twice"),
        (JobTemplate(command="x", outputs=tuple((str(i), str(i)) for i in range(MAX_FILES + 1))), "the limit is 256"),
        (takes(("/etc/passwd", "j", "o")), "plain path inside"),
        (JobTemplate(command="x", outputs=(("a", "**"),)), "matches folders only"),
        (JobTemplate(command="x", outputs=(("a", "d/x**y"),)), "must be a whole part"),
        (JobTemplate(command="x", outputs=(("a", "a"),), optional_outputs=("b",)), "'b' is optional, but it is not an output"),
        (JobTemplate(command="x", inputs=(("a", "j", "o"),), optional_inputs=(1,)), "an optional input does not exist"),
        (JobTemplate(file="x.py", file_hash="0" * 64, inputs=(("x.py", "j", "o"),)), "the script itself"),
        (JobTemplate(kind="gate", gate=Gate(), outputs=(("a", "a"),)), "a gate has no folder"),
        (JobTemplate(function="f" * 64, inputs=(("a", "j", "o"),)), "a call has no folder"),
        (JobTemplate(command="x", kind="service", service=Service(), outputs=(("a", "a"),)), "does not end"),
        (JobTemplate(command="x", kind="handler", inputs=(("a", "j", "o"),)), "have not succeeded"),
    ],
)
def test_invalid_inputs_and_outputs_of_templates_are_refused(template: JobTemplate, words: str) -> None:
    assert words in files_problem(template)


def test_an_input_is_an_output_of_a_parent() -> None:
    take = takes(("in.bin", "make", "model"))
    goes_on = JobTemplate(command="x", outputs=MAKE.outputs, on_failure="continue")
    assert resolve(dag(("make", MAKE, ()), ("use", take, ("make",)))) == [(), (0,)]
    for wrong, words in (
        (dag(("make", MAKE, ()), ("use", take, ())), "which the job does not depend on"),
        (dag(("other", MAKE, ()), ("use", take, ("other",))), "from 'make', which the job does not"),
        (dag(("make", MAKE, ()), ("use", takes(("a", "make", "x")), ("make",))), "has no output 'x': its outputs are model"),
        (dag(("make", JobTemplate(command="x"), ()), ("use", take, ("make",))), "add it to the outputs"),
        (dag(("make", goes_on, ()), ("use", take, ("make",))), "may be missing: write {from: make.model, optional: true}"),
        (dag(("make", MAKE, ()), ("use", takes(*[("a", "make", "model")] * 2), ("make",))), "'a' appears twice"),
        (dag(("make", MAKE, ()), ("use", takes(("a", "make", "model"), ("a/b", "make", "model")), ("make",))), "lies in 'a'"),
    ):
        with pytest.raises(InvalidGraph, match=words):
            resolve(wrong)


def test_each_job_of_an_array_takes_its_input_from_the_member_at_its_position() -> None:
    assert giver_of("use[7]", "make[${index}]") == "make[7]" and giver_of("use", "make[${index}]") == "make[${index}]"
    take = takes(("in.bin", "make[${index}]", "model"))
    check_inputs("use[1]", take, [4], {4: ("make[1]", MAKE)}.__getitem__)
    with pytest.raises(InvalidGraph, match=r"from 'make\[2\]'"):
        check_inputs("use[2]", take, [4], {4: ("make[1]", MAKE)}.__getitem__)


def test_in_a_submission_in_parts_the_giver_may_be_in_an_earlier_part() -> None:
    from titan.core.inputs import JobsArrived

    take = takes(("in.bin", "make", "model"))
    part = JobsArrived(1, 1, "r", 1, ["use"], [1], [()], [(0,)])
    about = {"expected": 1, "count": 2, "templates": [MAKE, take], "known": {"make"}}
    check_part(part, **about, job_at=lambda p: ("make", MAKE))  # type: ignore[arg-type]
    with pytest.raises(InvalidGraph, match="has no output"):
        check_part(part, **about, job_at=lambda p: ("make", JobTemplate(command="x")))  # type: ignore[arg-type]
