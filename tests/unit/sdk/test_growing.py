"""Placeholders for jobs that are added later, and how additions are made."""

from __future__ import annotations

import io
import pickle
from pathlib import Path

import msgspec
import pytest

from titan.errors import CallerError, InvalidGraph, InvalidPipeline
from titan.model.dag import DagSpec, JobTemplate
from titan.protocol import messages as msg
from titan.sdk import growing
from titan.sdk.growing import Shape, expanded, grow, key_of, prefixed
from titan.sdk.job import DAG, Job
from titan.sdk.pipeline import load_pipeline
from titan.sdk.staging import stage

WORK = Shape("work", JobTemplate(command="work"), ("--in", "${item}"))


@pytest.mark.parametrize(
    ("items", "args"),
    [
        (["a", "b"], [("--in", "a"), ("--in", "b")]),
        ((1, 2.5), [("--in", "1"), ("--in", "2.5")]),
        ({"one": 1}.keys(), [("--in", "one")]),
        (3, [("--in", "0"), ("--in", "1"), ("--in", "2")]),
    ],
)
def test_an_expansion_makes_a_job_for_each_item(items: object, args: list[tuple[str, ...]]) -> None:
    spec = expanded(WORK, items)
    assert spec is not None
    assert spec.args == args and spec.ids == [f"work[{i}]" for i in range(len(args))]


def test_items_that_are_mappings() -> None:
    spec = expanded(Shape("w", JobTemplate(command="x"), ("${item.lang}", "${index}")), [{"lang": "de"}, {"lang": "en"}])
    assert spec is not None and spec.args == [("de", "0"), ("en", "1")]


@pytest.mark.parametrize("nothing", [[], 0, ()])
def test_no_items_make_no_jobs(nothing: object) -> None:
    assert expanded(WORK, nothing) is None


@pytest.mark.parametrize(
    ("items", "says"),
    [
        (None, "must be a list of items or a number of jobs, not nothing"),
        ("text", "not a str"),
        ({"a": 1}, "not a dict"),
        (True, "not a bool"),
        ([[1]], "each item must be a string, a number or a path, not list"),
        ([None], "each item must be a string, a number or a path, not NoneType"),
        (200_000, "the limit is 100,000"),
        ([{"a": 1}], "item 0 is a mapping: write ${item.a}"),
    ],
)
def test_a_value_that_is_no_list_of_items_is_refused(items: object, says: str) -> None:
    with pytest.raises(CallerError) as error:
        expanded(WORK, items)
    assert says in str(error.value) and str(error.value).startswith("work: expand: ")


def test_the_key_of_an_addition_depends_on_its_ids_and_not_on_its_templates() -> None:
    one = DagSpec("d", "", [JobTemplate(command="true")], ["a"], [0], [()], [()])
    other = msgspec.structs.replace(one, templates=[JobTemplate(command="false")])
    assert key_of(one, (), before_children=True) == key_of(other, (), before_children=True)
    assert key_of(one, (), before_children=True) != key_of(one, ("x",), before_children=True)
    assert len(key_of(one, (), before_children=False)) == 40


def test_grow_sends_the_request_and_returns_the_number_of_jobs() -> None:
    said: list[msg.Message] = []

    def ask(message: msg.Message, kind: type[msg.Message]) -> msg.Message:
        said.append(message)
        assert kind is msg.Grown
        return msg.Grown(7, "r", 2)

    spec = DagSpec("d", "", [JobTemplate(command="true")], ["a", "b"], [0, 0], [(), ()], [(), ()])
    assert grow(ask, spec, before=["end"], key="k") == 2
    assert said == [msg.Grow(0, 0, "", "k", spec, ("end",), False)]


def test_a_pipeline_within_another_has_names_of_its_own() -> None:
    fetching = JobTemplate(command="x", inputs=(("in", "a", "out"),))
    spec = DagSpec(
        "d", "1", [JobTemplate(command="y"), fetching], ["a", "b"], [0, 1], [(), ()], [(), ("a",)], deadline_s=9.0, group="g"
    )
    assert prefixed(spec, "sub") == DagSpec(
        "d", "1", [JobTemplate(command="y"), JobTemplate(command="x", inputs=(("in", "sub.a", "out"),))],
        ["sub.a", "sub.b"], [0, 1], [(), ()], [(), ("sub.a",)],
    )  # fmt: skip


def test_an_expansion_is_staged_as_a_call_that_is_given_the_list() -> None:
    plan = Job("plan", command="plan")
    part = Job("part", command="work", args=["${item}"], parents=["first"], expand=plan, requirement="GPU", on_failure="continue")
    assert part.parents == ("first", "plan")
    staged = stage(DAG("d", [Job("first", command="true"), plan, part, Job("end", command="end", parents=[part])]))
    try:
        spec = staged.spec
        template = spec.templates[spec.template_of[2]]
        assert template == JobTemplate(function=growing.function_of("expand").hash, requirement="GPU", retries=3)
        assert spec.payloads[0] == spec.payloads[1] == spec.payloads[3] == b"" and spec.args[2] == ()

        class Unpickler(pickle.Unpickler):
            def persistent_load(self, pid: object) -> object:
                return f"value {pid}"

        shape, items = Unpickler(io.BytesIO(spec.payloads[2])).load()
        assert items == "value 1"
        assert msgspec.msgpack.decode(shape, type=Shape).template == JobTemplate(
            command="work", requirement="GPU", on_failure="continue"
        )
        assert list(staged.artifacts) == [template.function]
    finally:
        staged.close()


def test_a_saved_pipeline_is_staged_as_a_call_that_adds_it() -> None:
    staged = stage(DAG("d", [Job("sub", pipeline="nightly"), Job("end", command="end", parents=["sub"])]))
    assert pickle.loads(staged.spec.payloads[0]) == ("nightly", "sub")
    staged.close()


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Job("a", command="x", expand="a"), "expand: a job cannot expand its own result"),
        (lambda: Job("a", command="x", expand="?"), "expand: '?' is not a job"),
        (lambda: Job("a", command="x", expand="b", foreach=3), "expand: adds jobs when the parents are done: the job cannot be an"),
        (lambda: Job("a", command="x", expand="b", type="service"), "the job cannot be a service"),
        (lambda: Job("a", pipeline="p", command="x"), "pipeline: runs the jobs of a saved pipeline: leave"),
        (lambda: Job("a", pipeline="p", args=["x"]), "args: a saved pipeline takes no arguments"),
        (lambda: Job("a", pipeline="no name"), "pipeline: must be the name of a saved pipeline"),
        (lambda: Job("a", pipeline="p", expand="b"), "pipeline: give one of expand and pipeline, not both"),
        (lambda: stage(DAG("d", [Job("b", command="x", foreach=2), Job("a", command="x", expand="b")])), "has no single result"),
        (lambda: stage(DAG("d", [Job("b", command="x"), Job("a", command="x", expand="b", args="${matrix.x}")])), "has no matrix"),
    ],
)  # fmt: skip
def test_invalid_placeholders_for_jobs_are_refused(make: object, says: str) -> None:
    with pytest.raises(InvalidGraph) as error:
        make()  # type: ignore[operator]
    assert says in str(error.value)


def test_expansions_and_saved_pipelines_are_written_in_pipeline_files(tmp_path: Path) -> None:
    file = tmp_path / "p.yaml"
    file.write_text(
        "name: d\nproject: false\nagent_run_id: agent-7\njobs:\n- {id: plan, command: plan}\n"
        "- {id: part, expand: plan, command: work, args: ['${item}']}\n- {id: sub, pipeline: nightly, depends_on: [part]}\n"
    )
    dag = load_pipeline(file)
    assert dag.agent_run_id == "agent-7"
    assert [(job.id, job.expand, job.pipeline, job.parents) for job in dag.jobs] == [
        ("plan", None, None, ()), ("part", "plan", None, ("plan",)), ("sub", None, "nightly", ("part",)),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{id: part, expand: nobody, command: work}", ":3: depends_on: unknown job 'nobody'"),
        ("{id: part, expand: [a], command: work}", ":3: expand: must be a string, not a list"),
        ("{id: part, pipeline: a b}", ":3: pipeline: must be the name of a saved pipeline"),
        ("{id: part, pipeline: x, file: y.py}", ":3: pipeline: runs the jobs of a saved pipeline"),
    ],
)
def test_bad_expansions_in_pipeline_files_are_refused(tmp_path: Path, line: str, says: str) -> None:
    file = tmp_path / "p.yaml"
    (tmp_path / "y.py").write_text("")
    file.write_text(f"name: d\njobs:\n- {line}\n")
    with pytest.raises(InvalidPipeline) as error:
        load_pipeline(file)
    assert says in str(error.value)
