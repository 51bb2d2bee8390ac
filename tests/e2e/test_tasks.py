"""Graphs of tasks on a real cluster: results that become arguments, failures and their effect on
other nodes, and a master that is killed."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterator
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any

import pytest

import titan
from support.cluster import Cluster, cluster
from support.waiting import until
from titan import AsyncClient, Client
from titan.errors import CallerError, JobFailed
from titan.model.dag import MAX_INPUT_BYTES

RESULT_S = 20.0


@pytest.fixture(scope="module")
def c(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with cluster(tmp_path_factory.mktemp("tasks") / "c", "w1") as made:
        yield made


@titan.task
def inc(x: int) -> int:
    return x + 1


@titan.task
def total(xs: Any, *, more: Any) -> Any:
    return sum(xs) + sum(more["k"])


@titan.task
def refuse(x: int) -> int:
    raise ValueError(f"{x} is refused")


@titan.task
def block(gate: str, x: int) -> int:
    """Wait until the test writes into the fifo."""
    with open(gate) as fifo:
        fifo.read()
    return x


@titan.task
def note(path: str, x: int) -> int:
    with open(path, "a") as file:
        file.write("ran\n")
    return x


def test_results_of_nodes_become_arguments(client: Client) -> None:
    assert client.compute(inc(inc(inc(0)))).result(RESULT_S) == 3
    assert client.compute(total([inc(1), 10], more={"k": (inc(2), inc(inc(2)))})).result(RESULT_S) == 2 + 10 + 3 + 4
    assert client.compute([]) == []


def test_a_shared_node_runs_once_in_one_run(client: Client, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    shared = note(str(ran), 5)
    left, right = inc(shared), inc(shared)
    futures = client.compute([left, right, shared, left])
    assert [f.result(RESULT_S) for f in futures] == [6, 6, 5, 6]
    assert ran.read_text() == "ran\n"
    newest = client.runs(1)[0]
    assert len(client.status(newest.run).jobs) == 3
    assert client.compute(shared).result(RESULT_S) == 5  # another submission makes another run
    assert ran.read_text() == "ran\nran\n"


def test_a_failed_ancestor_is_named(client: Client) -> None:
    bad = refuse(inc(1))
    future = client.compute(inc(inc(bad)))
    error = future.exception(RESULT_S)
    assert isinstance(error, JobFailed) and "its ancestor refuse-1 failed: ValueError: 2 is refused" in str(error)
    assert isinstance(error.__cause__, ValueError) and "in refuse" in str(error.__cause__.__cause__)
    assert isinstance(client.compute(bad).exception(RESULT_S), ValueError)


def test_a_node_is_tried_again_as_its_retries_say(client: Client, tmp_path: Path) -> None:
    ran = tmp_path / "ran"

    @titan.task(retries=2)
    def flaky() -> str:
        with open(ran, "a") as file:
            file.write("x")
        if len(ran.read_text()) < 3:
            raise OSError("not yet")
        return "there"

    assert client.compute(flaky()).result(RESULT_S) == "there"
    assert isinstance(client.compute(flaky.options(retries=0, name="again")()).result(RESULT_S), str)


def test_a_cancelled_future_cancels_its_run(client: Client, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    future = client.compute(inc(block(str(gate), 1)))
    run = until(lambda: next((r.run for r in client.runs(20) if r.tally.get("RUNNING")), ""), "the node runs")
    assert future.cancel()
    until(lambda: client.status(run).state == "CANCELLED", "its run is cancelled")
    with pytest.raises(CancelledError):
        future.result(0)


@pytest.mark.parametrize("depth", [3_000, pytest.param(10_000, marks=pytest.mark.slow)])
def test_a_chain_may_be_deeper_than_python_recurses(client: Client, depth: int) -> None:
    assert depth > 2 * sys.getrecursionlimit()
    node = inc(0)
    for _ in range(depth):
        node = inc(node)
    assert client.compute(node).result(120) == depth + 1


def test_a_node_can_have_five_thousand_parents(client: Client) -> None:
    assert client.compute(total([inc(n) for n in range(5000)], more={"k": []})).result(60) == sum(range(1, 5001))


def test_results_too_large_for_one_call_are_an_error(client: Client) -> None:
    @titan.task
    def some() -> bytes:
        return bytes(60_000)

    @titan.task
    def lengths(xs: list[bytes]) -> int:
        return sum(map(len, xs))

    count = MAX_INPUT_BYTES // 60_000
    assert client.compute(lengths([some() for _ in range(count - 50)])).result(60) == (count - 50) * 60_000
    error = client.compute(lengths([some() for _ in range(count + 50)])).exception(60)
    assert error is not None and "combine them in several steps" in str(error)


def test_an_async_client_computes_nodes(c: Cluster) -> None:
    async def both() -> Any:
        async with AsyncClient(c.address) as client:
            with pytest.raises(CallerError, match="compute"):
                await client.compute(3)  # type: ignore[arg-type]
            return await client.compute(inc(1)), await client.compute([inc(2), inc(3)])

    assert asyncio.run(both()) == (2, [3, 4])


def test_a_chain_goes_on_after_the_master_was_killed(tmp_path: Path) -> None:
    gate, ran = tmp_path / "gate", tmp_path / "ran"
    os.mkfifo(gate)
    with cluster(tmp_path / "c", "w1", "w2") as c, Client(c.address) as client:
        node = block(str(gate), note(str(ran), 0))
        for _ in range(300):
            node = inc(node)
        wanted = [node, inc(5)]
        future, other = client.compute(wanted)
        until(lambda: any(r.tally.get("RUNNING") for r in client.runs(1)), "the second node runs")
        c.restart_master()
        gate.write_text("through")
        assert future.result(60) == 300 and other.result(RESULT_S) == 6
        assert ran.read_text() == "ran\n"
        run = client.runs(1)[0].run
        assert set(c.completions(run).values()) == {1} and len(c.completions(run)) == 303
