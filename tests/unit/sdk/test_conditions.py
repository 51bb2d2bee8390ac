"""`if` in jobs and pipeline files: which jobs become parents, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from titan import DAG, Gate, Job
from titan.errors import InvalidGraph, InvalidPipeline
from titan.model.dag import DagSpec, JobTemplate
from titan.sdk.growing import prefixed
from titan.sdk.pipeline import load_pipeline
from titan.sdk.staging import stage


def job(name: str, *parents: str, **more: Any) -> Job:
    return Job(name, command="true", parents=parents, **more)


def staged(*jobs: Job) -> dict[str, tuple[list[str], JobTemplate]]:
    spec = stage(DAG("d", jobs)).spec
    rows = zip(spec.ids, spec.parents, spec.template_of, strict=True)
    return {name: (list(parents), spec.templates[t]) for name, parents, t in rows}


def test_the_jobs_that_a_condition_names_become_parents_with_the_gates_behind_them() -> None:
    found = staged(
        job("a", hitl_message="well?"),
        job("part", foreach=2),
        job("b", "a", condition="part[1].state == FAILED or a.result.x == 1"),
        Gate("ask", "ship?", condition="b.result == 1"),
    )
    assert found["b"][0] == ["a.gate", "part[1]", "a"] and found["b"][1].when == "ended"
    assert found["ask"][0] == ["b"] and found["ask"][1].condition == "b.result == 1" and found["ask"][1].when == ""


def test_always_wins_over_the_states_that_a_condition_reads() -> None:
    found = staged(job("a"), job("b", always=True, condition="a.state == DEAD"))
    assert found["b"] == (["a"], found["b"][1]) and found["b"][1].when == "always"


def test_a_condition_belongs_to_what_expands_and_not_to_the_added_jobs() -> None:
    spec = stage(DAG("d", [job("a"), job("b", "a", expand="a", condition="a.result != null")])).spec
    assert spec.templates[spec.template_of[1]].condition == "a.result != null"
    assert b"a.result != null" not in spec.payloads[1]


def test_the_conditions_of_a_saved_pipeline_are_renamed_with_its_jobs() -> None:
    spec: DagSpec = stage(DAG("d", [job("a"), job("b", condition="a.state == COMPLETED")])).spec
    renamed = prefixed(spec, "sub")
    assert renamed.templates[renamed.template_of[1]].condition == "sub.a.state == COMPLETED"


@pytest.mark.parametrize(
    ("jobs", "problem"),
    [
        ([job("a", condition="x.state == DEAD")], "job 'a' depends on 'x', which is no job of this DAG"),
        ([job("a", foreach=2), job("b", condition="a.state == DEAD")], "'a' stands for several jobs: name one of them"),
        ([job("a", condition="a.result == 1")], "job 'a': condition: 'a' is the job itself"),
        ([job("s", type="service"), job("b", condition="s.state == DEAD")], "'s' is a service, which has no result"),
        (
            [job("s", type="service"), job("a"), job("b", "s", condition="a.state == DEAD")],
            "job 'b': condition: reads the state of a job, so it cannot wait for the service 's'",
        ),
        (
            [job("a", on_failure={"run": "b"}), job("b", condition="true")],
            "job 'b': condition: the job is the failure handler of 'a': leave out if or that on_failure",
        ),
        (
            [job("a", outputs=["o"]), job("b", condition="a.state == DEAD", inputs=["a.o"])],
            "the job runs even if 'a' fails, so 'o' may be missing",
        ),
    ],
)
def test_an_impossible_condition_is_refused(jobs: list[Job], problem: str) -> None:
    with pytest.raises(InvalidGraph) as caught:
        staged(*jobs)
    assert problem in str(caught.value) and "\n" not in str(caught.value)


def test_a_job_that_adds_jobs_cannot_read_a_state() -> None:
    with pytest.raises(InvalidGraph, match=r"job 'b': condition: adds jobs from results, so it cannot read the state of a job"):
        job("b", "a", expand="a", condition="a.state == COMPLETED")


def test_inputs_of_a_parent_that_must_be_completed_need_not_be_optional() -> None:
    found = staged(job("a", outputs=["o"]), job("b"), job("c", condition="b.state == FAILED", inputs=["a.o"]))
    assert found["c"][0] == ["a", "b"]


# -- pipeline files --------------------------------------------------------------------------------
def load(folder: Path, lines: str, **params: object) -> list[Job]:
    path = folder / "p.yaml"
    params_ = "params:\n  env: test\n  n: 3\n  on: true\n  any: {type: string, default: x}\n"
    path.write_text(f"name: p\n{params_}jobs:\n  - id: a\n    command: x\n{lines}\n")
    return list(load_pipeline(path, params=params).jobs)


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("if: a.state == COMPLETED", "a.state == COMPLETED"),
        ("if: true", "true"),
        ("if: ${params.on}", "true"),
        ("if: \"'${params.env}' == 'prod' and ${params.n} > 2\"", "'test' == 'prod' and 3 > 2"),
        ("if: ${params.env} == 'prod'", "'test' == 'prod'"),
    ],
)
def test_parameters_become_values_of_their_type(tmp_path: Path, written: str, read: str) -> None:
    assert load(tmp_path, f"  - id: b\n    command: x\n    {written}")[1].condition == read


def test_a_parameter_cannot_change_a_condition_into_another(tmp_path: Path) -> None:
    jobs = load(tmp_path, "  - id: b\n    command: x\n    if: \"'${params.any}' == 'y'\"", any="' or 'a' != '")
    assert jobs[1].condition == r"'\' or \'a\' != \'' == 'y'"


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ("  - {id: b, command: x, if: aa.state == DEAD}", "10: if: unknown job 'aa': did you mean 'a'?"),
        ("  - {id: b, command: x, if: a.state == GONE}", "10: if: 'GONE' is not known"),
        ("  - {id: b, command: x, if: [a]}", "10: if: must be an expression such as JOB.state == COMPLETED, not a list"),
        ("  - {id: b, command: x, if: }", "10: if: must be an expression such as JOB.state == COMPLETED"),
        ("  - {id: b, command: x, if: 3}", "10: if: 3 is not true or false"),
        ("  - {id: b, command: x, if: '${params.envv} == 1'}", "10: if: ${params.envv} is not declared: did you mean 'env'?"),
        ("  - {id: b, command: x, condition: 'true'}", "10: condition: unknown key: did you mean 'if'?"),
        (
            "  - {id: b, command: x, if: c.result == 1}\n  - {id: c, command: x, depends_on: [b]}",
            "the jobs depend on each other in a cycle: c -> b -> c",
        ),
    ],
)
def test_an_error_names_its_line(tmp_path: Path, lines: str, says: str) -> None:
    with pytest.raises(InvalidPipeline) as caught:
        load(tmp_path, lines)
    assert says in str(caught.value) and "\n" not in str(caught.value)
