"""Calls that make calls, on full clusters: with every way to wait, down to the limit of depth."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

import titan
from support.cluster import Cluster, cluster
from support.waiting import until
from titan import DAG, Client, Job

RESULT_S = 100.0


@pytest.fixture(scope="module", params=[1, 2])
def c(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with cluster(tmp_path_factory.mktemp("nested") / "c", "w1", slots=request.param) as made:
        yield made


def connected(address: str) -> Any:
    """Return one client per address for this process. It is kept in the module titan, where it is
    not pickled with a function."""
    kept = vars(titan).setdefault("_test_clients", {})
    if address not in kept:
        kept[address] = Client(address)
        kept[address].open()
    return kept[address]


def fib(n: int, address: str) -> int:
    if n < 2:
        return n
    client = connected(address)
    one, other = client.call(fib, n - 1, address), client.call(fib, n - 2, address)
    return int(one.result() + other.result())


def by_call(address: str) -> int:
    return int(connected(address).call(pow, 2, 5).result())


def by_exception(address: str) -> int:
    return 32 if connected(address).call(divmod, 1, 0).exception() is not None else 0


def by_map(address: str) -> int:
    return sum(connected(address).map(int, ["8"] * 4))


def by_chunks(address: str) -> int:
    return sum(connected(address).map(int, ["8"] * 4, chunksize=2))


def by_compute(address: str) -> int:
    node = titan.task(lambda a, b: a + b)
    return int(connected(address).compute(node(node(8, 8), 16)).result())


def by_executor(address: str) -> int:
    with connected(address).executor() as executor:
        return int(sum(executor.map(int, ["8"] * 4)))


def by_a_run(address: str) -> int:
    run = connected(address).submit(DAG("inner", [Job("a", command="true")]))
    return 32 if run.wait().ok else 0


def by_asyncio(address: str) -> int:
    import asyncio

    async def inner() -> int:
        async with titan.AsyncClient(address) as client:
            return int(await client.call(pow, 2, 5))

    return asyncio.run(inner())


def test_a_call_that_calls_itself_ends(c: Cluster) -> None:
    with Client(c.address) as client:
        assert client.call(fib, 8, c.address).result(RESULT_S) == 21
        until(lambda: c.worker("w1").held == 0, "nothing is left there")


@pytest.mark.parametrize("way", [by_call, by_exception, by_map, by_chunks, by_compute, by_executor, by_a_run, by_asyncio])
def test_every_way_to_wait_gives_the_slot_up(c: Cluster, way: Callable[[str], int]) -> None:
    """There are more waiting calls than slots. If a waiting call kept its slot, nothing could
    run."""
    with Client(c.address) as client:
        assert list(client.map(way, [c.address] * 4, timeout=RESULT_S)) == [32] * 4
