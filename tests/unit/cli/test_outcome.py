"""Which job's output `titan run` prints as the output of the run."""

from __future__ import annotations

from typing import Any

import pytest

from titan.cli.outcome import About
from titan.sdk.job import DAG, Job


def job(name: str, *parents: str, **fields: Any) -> Job:
    return Job(name, command="true", parents=parents, **fields)


@pytest.mark.parametrize(
    ("jobs", "last"),
    [
        ([job("a"), job("b", "a")], "b"),
        ([job("a"), job("b")], ""),
        ([job("a", outputs=["x"]), job("b", inputs=["a.x"])], "b"),
        ([job("a", foreach=3, outputs=["x"]), job("b", inputs={"x": "a.x"})], "b"),
        ([job("a", foreach=2), job("b", "a[${index}]", foreach=2), job("c", "b")], "c"),
        ([job("a", foreach=3), job("b", "a")], "b"),
        ([job("a"), job("b", "a", foreach=3)], ""),
        ([job("a"), job("b", "a", hitl_message="ship?")], "b"),
        ([job("a", hitl_message="go on?"), job("b", "a")], "b"),
    ],
    ids=[
        "parent",
        "two",
        "input",
        "inputs-of-an-array",
        "by-position",
        "array",
        "ends-in-an-array",
        "gate-after-it",
        "gate-before-it",
    ],
)
def test_the_output_of_a_run_is_that_of_its_only_last_job(jobs: list[Job], last: str) -> None:
    assert About.of(DAG("d", jobs)).last == last


def test_one_job_of_an_array_is_awaited_by_a_job_that_names_it() -> None:
    assert About.of(DAG("d", [job("a", foreach=2), job("b", "a[0]", "a[1]")])).last == "b"
