"""Scripts and functions in one DAG: their dependencies, and their results, also when they are read
later."""

from __future__ import annotations

import asyncio
from concurrent.futures import CancelledError
from pathlib import Path

import pytest

import titan
from support.cluster import QUIET, Cluster, cluster
from support.waiting import until
from titan import DAG, AsyncClient, Job
from titan.core.events.events import RunArchived
from titan.errors import CallerError, InvalidGraph, NotFound
from titan.sdk.functions import Function
from titan.sdk.tasks import plan


@titan.task
def double(x: int) -> int:
    return 2 * x


@titan.task
def count_words(path: str) -> int:
    return len(Path(path).read_text().split())


@titan.task
def add(*xs: int) -> int:
    return sum(xs)


@titan.task(retries=0)
def fail(_: object) -> None:
    raise ValueError("no luck")


def test_scripts_and_functions_wait_for_each_other(tmp_path: Path) -> None:
    words, out = tmp_path / "words", tmp_path / "out"
    write = Job("write", command=f"echo one two three > {words}")
    counted = count_words.after(write)(str(words)).named("count")
    total = add(counted, double(counted)).named("total")
    parts = Job("part", command=f'echo "$1" >> {out}', foreach=3, parents=[total])
    last = double.after(parts, "write")(total)
    with cluster(tmp_path / "c", "w1", slots=2) as c:
        run = c.client.submit(DAG("mixed", [write, total, parts, last, Job("end", command=f"cat {out}", parents=[last])]))
        assert run.wait(timeout=60).ok
        assert {job.id for job in run.status().jobs} >= {"write", "count", "total", "part[2]", last.id, "end"}
        assert (run.result("count"), run.result(total), run.result(last), run.result("write")) == (3, 9, 18, None)
        said = c.output(f"{run.id}/end")
        assert sorted(said.split()) == [b"0", b"1", b"2"]
        c.restart_master()
        assert run.result(total) == 9
        with pytest.raises(NotFound, match="has no job 'nobody'"):
            run.result("nobody")


def test_a_result_is_waited_for_and_a_failure_is_raised(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    wait = Job("wait", command=f"until [ -e {gate} ]; do sleep 0.05; done")
    bad = fail(double.after(wait)(4))
    never = double(bad)

    async def ask(address: str) -> None:
        async with AsyncClient(address) as client:
            run = await client.submit(DAG("d", [wait, never]))
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(run.result(bad), 0.5)
            gate.touch()
            with pytest.raises(ValueError, match="no luck"):
                await run.result(bad)
            with pytest.raises(CancelledError, match="its ancestor fail-"):
                await run.result(never)

    with cluster(tmp_path / "c", "w1", slots=2) as c:
        asyncio.run(ask(c.address))


def test_the_result_of_an_archived_run_can_be_read(tmp_path: Path) -> None:
    c = Cluster(tmp_path, {**QUIET, "keep_runs": 1})
    try:
        c.start_master()
        c.start_workers("w1")
        large = titan.task(lambda: b"x" * 1_000_000)().named("large")
        first = c.client.submit(DAG("d", [double(21).named("a"), large]))
        first.wait(timeout=30)
        for _ in range(2):
            c.client.submit(DAG("d", [Job("a", command="true")])).wait(timeout=30)
        until(lambda: any(isinstance(e, RunArchived) and e.run == first.id for e in c.events()), "the first run leaves")
        assert first.result("a") == 42 and first.result(large) == b"x" * 1_000_000
    finally:
        c.close()


def test_invalid_graphs_are_refused_with_the_reason() -> None:
    job = Job("a", command="true")
    with pytest.raises(CallerError, match="waits for 'a': put both into a DAG"):
        plan([double.after(job)(1)], Function)
    with pytest.raises(InvalidGraph, match="job id 'no way' is malformed"):
        double(1).named("no way")
    with pytest.raises(InvalidGraph, match="already has the id 'x'"):
        double(1).named("x").named("y")
    with pytest.raises(InvalidGraph, match="item 0 must be a Job or the call of a task"):
        DAG("d", [3])  # type: ignore[list-item]
