"""`max_parallel` of arrays: accepted values, and the templates of their jobs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from titan.errors import InvalidGraph, InvalidPipeline
from titan.model.dag import JobTemplate, Parallel
from titan.sdk.growing import prefixed
from titan.sdk.job import DAG, Job
from titan.sdk.pipeline import load_pipeline
from titan.sdk.staging import stage


def test_each_array_has_a_limit_of_its_own_although_their_jobs_are_alike() -> None:
    jobs = [Job(name, command="x", foreach=3, max_parallel=2) for name in ("a", "b")]
    spec = stage(DAG("d", [*jobs, Job("c", command="x", foreach=2)])).spec
    assert [t.parallel for t in spec.templates] == [Parallel("a", 2), Parallel("b", 2), None]
    assert spec.template_of == [0, 0, 0, 1, 1, 1, 2, 2]


def test_the_jobs_of_an_expansion_have_the_limit_and_the_expansion_has_none() -> None:
    spec = stage(DAG("d", [Job("plan", command="x"), Job("part", command="y", expand="plan", max_parallel=1)])).spec
    assert [t.parallel for t in spec.templates] == [None, None]
    assert b"\x92\xa4part\x01" in spec.payloads[1], "the limit is in the shape of the added jobs"


def test_a_saved_pipeline_that_is_added_twice_has_two_limits() -> None:
    spec = stage(DAG("d", [Job("a", command="x", foreach=2, max_parallel=1)])).spec
    assert [prefixed(spec, name).templates[0].parallel for name in ("s", "t")] == [Parallel("s.a", 1), Parallel("t.a", 1)]


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"foreach": 2, "max_parallel": 0}, "must be a number of jobs, 1 to 1,000,000, not 0"),
        ({"foreach": 2, "max_parallel": True}, "must be a number of jobs, 1 to 1,000,000, not True"),
        ({"foreach": 2, "max_parallel": "2"}, "must be a number of jobs, 1 to 1,000,000, not 2"),
        ({"foreach": 2, "max_parallel": 1_000_001}, "must be a number of jobs, 1 to 1,000,000, not 1000001"),
        ({"max_parallel": 2}, "applies only to an array: add foreach or matrix, or leave it out"),
        (
            {"foreach": 2, "max_parallel": 2, "type": "service"},
            "a service does not end, so others would wait for ever: leave it out",
        ),
        (
            {"foreach": 2, "max_parallel": 2, "affinity": True},
            "a job with affinity waits for one worker and would hold back others: leave one of the two out",
        ),
    ],
)
def test_a_limit_that_means_nothing_is_refused(fields: dict[str, Any], problem: str) -> None:
    with pytest.raises(InvalidGraph) as caught:
        Job("a", command="x", **fields)
    assert str(caught.value) == f"job 'a': max_parallel: {problem}"


def test_a_pipeline_reads_it_and_a_default_applies_to_arrays_only(tmp_path: Path) -> None:
    file = tmp_path / "p.yaml"
    file.write_text(
        "name: x\ndefaults: {max_parallel: 2}\njobs:\n  - {id: a, foreach: 3, command: x}\n  - {id: b, command: x}\n"
        "  - {id: c, matrix: {k: [1, 2]}, command: x, max_parallel: 1}\n  - {id: s, foreach: 2, type: service, command: x}\n"
    )
    assert [job.max_parallel for job in load_pipeline(file).jobs] == [2, None, 1, None]
    file.write_text("name: x\njobs:\n  - id: a\n    foreach: 3\n    command: x\n    max_parallel: many\n")
    with pytest.raises(InvalidPipeline, match=r"p.yaml:6: max_parallel: must be"):
        load_pipeline(file)


def test_a_template_without_a_limit_is_as_before() -> None:
    assert JobTemplate().parallel is None and Job("a", command="x", foreach=2).max_parallel is None
