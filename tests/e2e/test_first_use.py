"""Clients that nobody opens or closes. The first request connects, and the end of the program
closes the client."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.cluster import Cluster, cluster
from support.waiting import until
from titan import AsyncClient, Client
from titan.errors import ConnectionLost

RESULT_S = 30.0
WITHOUT_WITH = """
import sys
from titan import Client

client = Client(sys.argv[1])

def fib(n):
    return n if n < 2 else client.call(fib, n - 1).result() + client.call(fib, n - 2).result()

print(client.call(fib, 6).result())
folder = sys.argv[2]
client.map(lambda n: open(f"{folder}/{n}", "w").close(), range(20))
"""
FORKED = """
import os, sys
from titan import Client

client = Client(sys.argv[1])
print(client.call(pow, 2, 3).result(), flush=True)
child = os.fork()
print(client.call(pow, 2, 4 if child else 5).result(), flush=True)
if child:
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), client.call(pow, 2, 6).result(), flush=True)
"""


@pytest.fixture(scope="module")
def c(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with cluster(tmp_path_factory.mktemp("first") / "c", "w1") as made:
        yield made


def run(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", program, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_a_program_that_never_opens_or_closes_its_client_loses_nothing(c: Cluster, tmp_path: Path) -> None:
    """The function of the call refers to the client, and makes a nested call with it."""
    ended = run(WITHOUT_WITH, c.address, str(tmp_path))
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "8\n", "")
    until(lambda: len(os.listdir(tmp_path)) == 20, "each call of the map runs")


def test_a_forked_process_connects_anew(c: Cluster) -> None:
    ended = run(FORKED, c.address)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert sorted(ended.stdout.split("\n")) == sorted(["8", "16", "32", "0 64", ""])


def test_open_returns_the_client_and_close_is_final(c: Cluster) -> None:
    client = Client(c.address)
    assert client.open() is client and client.open() is client
    assert client.call(pow, 2, 3).result(RESULT_S) == 8
    client.close()
    with pytest.raises(ConnectionLost, match="make another"):
        client.call(pow, 2, 3)


def test_an_async_client_connects_on_first_use(c: Cluster) -> None:
    async def use() -> int:
        client = AsyncClient(c.address)
        assert [worker.name for worker in await client.workers()] == ["w1"]
        task = asyncio.create_task(client.call(pow, 2, 5))
        await client.close()
        await asyncio.wait([task])  # the task gives its result or ConnectionLost, whichever comes first
        with pytest.raises(ConnectionLost):
            await client.workers()
        other = AsyncClient(c.address)
        assert await other.open() is other
        result = await other.call(pow, 2, 6)
        await other.close()
        return int(result)

    assert asyncio.run(use()) == 64
    runs = Client(c.address)
    until(lambda: runs.runs(2)[1].state == "COMPLETED", "the call of the closed client runs")
    runs.close()
