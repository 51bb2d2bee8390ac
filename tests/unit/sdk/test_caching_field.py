"""`cache` of a job, a task and a pipeline: what it becomes, and the messages for wrong values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import titan
from titan.errors import InvalidGraph, InvalidPipeline
from titan.model.dag import Cache, JobTemplate
from titan.sdk.functions import Function
from titan.sdk.growing import Shape, expanded
from titan.sdk.job import DAG, Job
from titan.sdk.pipeline import load_pipeline
from titan.sdk.staging import stage
from titan.sdk.tasks import template_of_task


def template(**fields: Any) -> JobTemplate:
    return stage(DAG("d", [Job("a", command="true", **fields)])).spec.templates[0]


def test_what_it_becomes() -> None:
    assert template().cache is None and template(cache=False).cache is None
    assert template(cache=True).cache == Cache()
    assert template(cache={"version": 2, "for": "7d", "ignore": ["LOG"]}).cache == Cache("2", 604_800.0, ("LOG",))
    assert template(cache=Cache("x")).cache == Cache("x")


@pytest.mark.parametrize(
    ("fields", "by_position"),
    [
        ({"foreach": [1, 2]}, False),
        ({"foreach": 2}, False),
        ({"foreach": [1, 2], "args": ["${item}"]}, False),
        ({"foreach": 2, "args": ["--part=${index}"]}, False),
        ({"foreach": [1, 2], "args": ["x"]}, True),
        ({"foreach": [1, 1]}, True),
        ({"matrix": {"a": [1, 2], "b": [3]}, "args": ["${matrix.b}"]}, True),
        ({"args": ["x"]}, False),
    ],
)
def test_jobs_of_an_array_with_equal_arguments_count_by_position(fields: dict[str, Any], by_position: bool) -> None:
    assert template(cache=True, **fields).cache == Cache(by_position=by_position)


def test_jobs_of_an_expansion_with_equal_arguments_count_by_position() -> None:
    def cache_of(args: tuple[str, ...], items: list[int]) -> Cache | None:
        spec = expanded(Shape("w", JobTemplate(command="x", cache=Cache("1")), args), items)
        assert spec is not None
        return spec.templates[0].cache

    assert cache_of(("${item}",), [1, 2]) == Cache("1")
    assert cache_of(("${item}",), [1, 1]) == cache_of(("x",), [1, 2]) == Cache("1", by_position=True)


def test_the_call_that_expands_has_no_cache_itself() -> None:
    jobs = [Job("list", command="true"), Job("each", command="true", args=["${item}"], expand="list", cache=True)]
    assert [t.cache for t in stage(DAG("d", jobs)).spec.templates] == [None, None]


def test_the_calls_of_a_task_have_its_cache() -> None:
    @titan.task(cache={"version": "3"})
    def work(x: int) -> int:
        return x

    function = Function(work.function)
    assert template_of_task(function, work._options).cache == Cache("3")
    assert template_of_task(function, work.options(cache=False)._options).cache is None
    with pytest.raises(InvalidGraph, match="task 'work': cache: for: must be"):
        work.options(cache={"for": "soon"})


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("yes", "must be true, false or a mapping such as"),
        ([], "must be true, false or a mapping"),
        ({"vresion": "1"}, "'vresion' is unknown: did you mean 'version'?"),
        ({1: "1"}, "'1' is unknown: use version, for and ignore"),
        ({"version": None}, "version: must be a text, not nothing"),
        ({"version": True}, "version: must be a text"),
        ({"version": "x" * 300}, "version: must be at most 256"),
        ({"for": "soon"}, "for: must be"),
        ({"for": -1}, "for: must be 0 to"),
        ({"ignore": "LOG"}, "ignore: must be a list of variables, not the string 'LOG'"),
        ({"ignore": ["A=1"]}, "ignore: has 'A=1', which is no name of a variable"),
        ({"ignore": [1]}, "ignore: must be a list of variables, not of the number 1"),
    ],
)
def test_a_wrong_value_is_one_line_that_names_the_job(value: Any, problem: str) -> None:
    with pytest.raises(InvalidGraph) as raised:
        Job("a", command="true", cache=value)
    assert str(raised.value).startswith("job 'a': cache: ") and problem in str(raised.value) and "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"command": "x", "type": "service"}, "a service does not end, so it has no result: leave cache out"),
        ({"type": "gate"}, "does not apply to a gate"),
        ({"command": "x", "cwd": "/srv"}, "leave cwd out and name the files as inputs"),
        ({"pipeline": "saved"}, "a saved pipeline adds jobs, which have caches of their own"),
    ],
)
def test_jobs_that_cannot_have_one(fields: dict[str, Any], problem: str) -> None:
    with pytest.raises(InvalidGraph, match=problem):
        Job("a", cache=True, **fields)


def test_a_failure_handler_cannot_have_one() -> None:
    jobs = [Job("a", command="x", on_failure={"run": "h"}), Job("h", command="x", cache=True)]
    with pytest.raises(InvalidGraph, match="cache: a failure handler runs because of a failure"):
        stage(DAG("d", jobs))


def pipeline(folder: Path, cache: str) -> Path:
    path = folder / "p.yaml"
    path.write_text(f"name: p\nproject: false\njobs:\n  - id: a\n    command: x\n    cache: {cache}\n")
    return path


@pytest.mark.parametrize(
    ("text", "cache"),
    [
        ("true", Cache()),
        ("false", None),
        ("{version: 1.10, for: 90}", Cache("1.10", 90.0)),
        ("{version: v2, ignore: [LOG, TZ]}", Cache("v2", 0.0, ("LOG", "TZ"))),
    ],
)
def test_in_a_pipeline(tmp_path: Path, text: str, cache: Cache | None) -> None:
    assert stage(load_pipeline(pipeline(tmp_path, text))).spec.templates[0].cache == cache


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("maybe", ":6: cache: must be true, false or a mapping"),
        ("[true]", ":6: cache: must be a single value or a mapping, not a list"),
        ("{ages: 7d}", ":6: cache: 'ages' is unknown: use version, for and ignore"),
        ("{for: never}", ":6: cache: for: must be"),
        ("{version: [1]}", ":6: cache: version: must be a text, not a list"),
        ("", ":6: cache: has no value"),
    ],
)
def test_a_wrong_value_in_a_pipeline_names_its_line(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(InvalidPipeline) as raised:
        load_pipeline(pipeline(tmp_path, text))
    assert problem in str(raised.value) and "\n" not in str(raised.value)
