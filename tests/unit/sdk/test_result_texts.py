"""Results of other jobs in the texts of jobs: parents, errors at their lines, and templates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from titan.errors import CallerError, InvalidGraph, InvalidPipeline
from titan.model.dag import JobTemplate
from titan.sdk.growing import Shape, expanded, prefixed
from titan.sdk.job import DAG, Job
from titan.sdk.pipeline import load_pipeline
from titan.sdk.rerunning import from_job
from titan.sdk.staging import stage

A = Job("a", command="titan context result 1")


def fault(tmp_path: Path, jobs: str) -> str:
    path = tmp_path / "p.yaml"
    path.write_text(f"name: x\njobs:\n{jobs}")
    with pytest.raises(InvalidPipeline) as caught:
        load_pipeline(path)
    return str(caught.value).removeprefix(f"{path}:")


@pytest.mark.parametrize(
    "more",
    [
        {"args": ["--x=${a.result}"]},
        {"env": {"X": "${a.result.x}"}},
        {"command": 'echo "${a.result}"'},
        {"command": ["echo", "${a.result}"]},
    ],
)
def test_a_job_depends_on_the_jobs_whose_results_its_texts_name(more: dict[str, Any]) -> None:
    b = Job("b", **{"command": "x", **more})
    staged = stage(DAG("d", [A, Job("other", command="true"), b]))
    assert staged.spec.parents == [(), (), ("a",)]
    assert [staged.spec.templates[t].fills_results for t in staged.spec.template_of] == [False, False, True]


def test_jobs_of_one_shape_share_a_template_unless_only_one_takes_results() -> None:
    jobs = [A, *(Job(f"b{i}", command="x", args=["${a.result}"] if i % 2 else ["-"]) for i in range(4))]
    spec = stage(DAG("d", jobs)).spec
    assert [t.fills_results for t in spec.templates] == [False, False, True] and spec.template_of == [0, 1, 2, 1, 2]


def test_each_job_of_an_array_may_take_the_result_of_the_job_with_its_index() -> None:
    first = Job("prep", command="x", foreach=2)
    second = Job("train", command="y", foreach=2, args=["${prep[${index}].result.k}", "$${prep[0].result}"])
    spec = stage(DAG("d", [first, second])).spec
    assert spec.parents[2:] == [("prep[0]",), ("prep[1]",)]
    assert spec.args[3] == ("${prep[1].result.k}", "$${prep[0].result}")


def test_the_gate_behind_a_job_holds_back_the_jobs_that_take_its_result() -> None:
    asked = Job("a", command="x", hitl_message="go on?")
    spec = stage(DAG("d", [asked, Job("b", command="x", args=["${a.result}"])])).spec
    assert spec.parents[2] == ("a.gate", "a")


@pytest.mark.parametrize(
    ("jobs", "message"),
    [
        ("  - {id: a, foreach: 2, command: x}\n  - id: b\n    command: echo ${a.result.k}\n",
         "5: command: ${a.result.k}: 'a' stands for several jobs: name one of them, as in ${a[0].result.k}, or a job behind them"),
        ("  - {id: a, command: x}\n  - id: b\n    command: x\n    args: ['${aa.result}']\n",
         "6: args: ${aa.result}: unknown job 'aa': did you mean 'a'?"),
        ("  - id: a\n    command: x\n    env: {V: '${a.result}'}\n",
         "5: env: ${a.result}: 'a' is the job itself: name another job"),
        ("  - {id: a, type: service, command: x}\n  - id: b\n    command: x\n    args: ['${a.result}']\n",
         "6: args: ${a.result}: 'a' is a service, which has no result: name another job"),
        ("  - {id: a, command: x, on_failure: {run: b}}\n  - id: b\n    command: x\n    args: ['${a.result}']\n",
         "6: args: a failure handler takes no results: read them by context.value_of"),
        ("  - {id: a, command: 'echo ${b.result}'}\n  - {id: b, command: x, args: ['${a.result}']}\n",
         "4: depends_on: the jobs depend on each other in a cycle: b -> a -> b"),
    ],
)  # fmt: skip
def test_a_placeholder_that_has_no_single_result_is_an_error_at_its_line(tmp_path: Path, jobs: str, message: str) -> None:
    assert fault(tmp_path, jobs) == message


def test_an_unknown_job_is_an_error_from_python_too() -> None:
    with pytest.raises(InvalidGraph, match="job 'b' depends on 'nope', which is no job of this DAG"):
        stage(DAG("d", [A, Job("b", command="x", args=["${nope.result}"])]))


def test_an_expansion_of_the_shell_is_left_alone_unless_a_job_has_that_id() -> None:
    command = "echo ${OUT:-x.result} ${OUT-y.result}"
    assert stage(DAG("d", [A, Job("b", command=command)])).spec.parents == [(), ()]
    with_job = [Job("OUT-y", command="x"), Job("b", command=command)]
    assert stage(DAG("d", with_job)).spec.parents == [(), ("OUT-y",)]


def test_jobs_of_an_expansion_depend_on_the_jobs_whose_results_they_take() -> None:
    plan = Job("plan", command="x")
    spec = stage(DAG("d", [A, plan, Job("part", command="y", expand="plan", args=["${item}", "${a.result}"])])).spec
    assert spec.parents[2] == ("plan", "a")
    shape = Shape("part", JobTemplate(command="y", fills_results=True), ("${item}", "${a.result}"), ("a",))
    added = expanded(shape, ["p"])
    assert added is not None and added.args == [("p", "${a.result}")] and added.parents == [("a",)]


def test_the_ids_of_a_saved_pipeline_reach_its_placeholders() -> None:
    b = Job("b", command="echo ${a.result}", args=["${a.result.k}"], env={"V": "$${a.result} ${a.result}"})
    spec = prefixed(stage(DAG("d", [A, b])).spec, "sub")
    template = spec.templates[1]
    assert (template.command, template.env) == ("echo ${sub.a.result}", (("V", "$${a.result} ${sub.a.result}"),))
    assert spec.args[1] == ("${sub.a.result.k}",) and spec.parents[1] == ("sub.a",)


def test_a_rerun_from_a_job_that_takes_a_result_of_a_job_before_it_is_refused() -> None:
    spec = stage(DAG("d", [A, Job("b", command="x", args=["${a.result}"]), Job("c", command="x", parents=["b"])])).spec
    with pytest.raises(CallerError, match="job 'b' needs the result of 'a', which would not run again"):
        from_job(spec, "b")
    assert from_job(spec, "c").ids == ["c"] and from_job(spec, "a").ids == ["a", "b", "c"]
