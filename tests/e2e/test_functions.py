"""Calls of functions on a real cluster: their results and exceptions, processes that die, hostile
calls, and results after the master was killed."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import marshal
import operator
import os
import pickle
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import CancelledError, Executor, Future, wait
from pathlib import Path
from typing import Any

import pytest

from support.cluster import Cluster, cluster
from support.waiting import until
from titan import AsyncClient, Client
from titan.errors import CallerError, JobFailed
from titan.worker.isolated.reports import pack_reports
from titan.worker.isolated.runner import pack_failure

RESULT_S = 20.0


@pytest.fixture(scope="module")
def c(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with cluster(tmp_path_factory.mktemp("functions") / "c", "w1") as made:
        yield made


def square(x: int) -> int:
    return x * x


def refuse(x: int) -> int:
    error = ValueError(f"{x} is refused")
    error.add_note("a note")
    raise error


def block(gate: str) -> str:
    """Wait until the test writes into the fifo."""
    with open(gate) as fifo:
        return fifo.read()


def runs_block(client: Client) -> str:
    """Wait until a call of `block` runs, and return its run."""

    def found() -> str:
        return next((r.run for r in client.runs(50) if r.dag == "block" and r.tally.get("RUNNING")), "")

    return until(found, "the call runs")


class Odd(Exception):
    """Cannot be unpickled: its constructor wants two arguments."""

    def __init__(self, a: int, b: int) -> None:
        super().__init__(f"{a} and {b}")


def test_a_call_returns_its_value_or_its_exception(client: Client) -> None:
    assert client.call(pow, 2, 10).result(RESULT_S) == 1024
    assert client.call(int, "ff", base=16).result(RESULT_S) == 255
    assert client.call(divmod, (1, 2), {}).exception(RESULT_S) is not None


def test_lambdas_local_classes_and_closures_are_sent_to_workers(client: Client) -> None:
    class Local:
        def __init__(self, n: int) -> None:
            self.n = n

    base = 40
    assert client.call(lambda x: x + base, 2).result(RESULT_S) == 42
    assert client.call(functools.partial(operator.mul, 6), 7).result(RESULT_S) == 42
    assert client.call(Local, 5).result(RESULT_S).n == 5
    assert client.call(square, 9).result(RESULT_S) == 81
    assert client.call(lambda: lambda: 3).result(RESULT_S)() == 3


def test_a_map_returns_its_results_in_order(client: Client) -> None:
    assert list(client.map(square, range(10_000))) == [n * n for n in range(10_000)]
    assert list(client.map(operator.add, [1, 2], [10, 20, 30])) == [11, 22]
    assert list(client.map(square, range(1000), chunksize=64)) == [n * n for n in range(1000)]
    assert list(client.map(square, [])) == []


def test_an_exception_comes_back_with_its_traceback(client: Client) -> None:
    error = client.call(refuse, 3).exception(RESULT_S)
    assert isinstance(error, ValueError) and error.args == ("3 is refused",)
    assert "in refuse" in str(error.__cause__) and "a note" in str(error.__cause__)
    results = client.map(lambda n: 1 // n, [1, 0, 1])
    assert next(results) == 1
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_a_call_that_raises_leaves_the_others_of_its_chunk_alone(client: Client, tmp_path: Path) -> None:
    def invert(n: int) -> float:
        (tmp_path / str(n)).touch()
        return 1 / (n - 5)

    results = client.map(invert, range(12), chunksize=4)
    assert [next(results) for _ in range(5)] == [1 / (n - 5) for n in range(5)]
    with pytest.raises(ZeroDivisionError) as caught:
        next(results)
    assert "in invert" in str(caught.value.__cause__)
    until(lambda: len(list(tmp_path.iterdir())) == 12, "every call runs")
    assert client.runs(1)[0].dag.endswith("invert")


def test_an_exception_that_cannot_be_pickled_arrives_as_text(client: Client) -> None:
    def fail() -> None:
        raise Odd(1, 2)

    error = client.call(fail).exception(RESULT_S)
    assert isinstance(error, JobFailed) and "Odd: 1 and 2" in str(error)


def test_a_result_that_cannot_be_pickled_fails_its_call(client: Client) -> None:
    error = client.call(threading.Lock).exception(RESULT_S)
    assert error is not None and "pickle" in str(error)
    assert client.call(square, 2).result(RESULT_S) == 4


def test_a_process_that_dies_fails_its_own_call_only(client: Client) -> None:
    futures: list[Future[Any]] = [client.call(os._exit, 3) if n == 50 else client.call(square, n) for n in range(100)]
    wait(futures, RESULT_S)
    errors = {n: f.exception(0) for n, f in enumerate(futures) if f.exception(0) is not None}
    assert list(errors) == [50] and isinstance(errors[50], JobFailed) and "died while it ran the call" in str(errors[50])


def hostile(frame: bytes) -> str:
    """Write the frame to every socket of this process, among them the runner's stream."""
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            if os.readlink(f"/proc/self/fd/{name}").startswith("socket:"):
                os.write(int(name), frame)
    return "the call itself went well"


class Payload:
    """An object whose pickle makes the folder `mark` when it is read."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.mark),)


def hostile_frames(mark: Path) -> dict[str, bytes]:
    """Return description -> bytes that a worker must not trust."""
    evil = pickle.dumps(Payload(mark))
    marshalled = marshal.dumps([("results", 1, b"\1", [evil], [1.0], [1.0])], 4)
    nan = float("nan")
    return {
        "the stream of an older Titan": len(marshalled).to_bytes(4, "big") + marshalled,
        "a pickle as a failure": pack_reports([("results", 1, b"\1", [evil], [1.0], [1.0])]),
        "a pickle in a failure": pack_reports([("results", 1, b"\1", [pack_failure(evil, "E", "x", "")], [1.0], [1.0])]),
        "a file of the worker's": pack_reports(
            [("results", 1, b"\4", [bytes(32) + (1).to_bytes(8, "big") + b"../../identity"], [1.0], [1.0])]
        ),
        "a time that is none": pack_reports([("results", 1, b"\0", [b""], [nan], [nan])]),
        "a status that is none": pack_reports([("results", 1, b"\x63", [b""], [1.0], [1.0])]),
        "more results than calls": pack_reports([("results", 1, bytes(9), [b""] * 9, [1.0] * 9, [1.0] * 9)]),
        "a warden's report": pack_reports([("exited", 1, 0, 1.0, 0.0, 0, 0, 0, 0)]),
        "the beginning of a report": (1 << 20).to_bytes(4, "big") + b"x",
        "bytes": os.urandom(100),
    }


@pytest.mark.parametrize("what", list(hostile_frames(Path("/"))))
def test_bytes_that_a_call_writes_to_titans_descriptors_execute_nothing(client: Client, tmp_path: Path, what: str) -> None:
    mark = tmp_path / "executed"
    worker = client.workers()[0]
    error = client.call(hostile, hostile_frames(mark)[what]).exception(RESULT_S)
    assert isinstance(error, JobFailed) or what == "a pickle in a failure", error
    assert client.call(square, 3).result(RESULT_S) == 9
    assert not mark.exists() or what == "a pickle in a failure", "the worker or the client executed the pickle"
    (same,) = client.workers()
    assert (same.name, same.state, same.joined_at) == (worker.name, "ALIVE", worker.joined_at)


def test_the_prints_of_a_call_are_its_output(c: Cluster, client: Client) -> None:
    def talk() -> None:
        print("from python", flush=True)
        subprocess.run(["echo", "from a child"], check=True)

    client.call(talk).result(RESULT_S)
    run = client.runs(1)[0].run
    assert b"".join(data for _, data in client.logs(f"{run}/0")) == b"from python\nfrom a child\n"


def test_nothing_waits_behind_a_long_call_while_a_slot_is_free(client: Client, tmp_path: Path) -> None:
    """The only worker has two slots. One call blocks a slot, and the other slot runs all others."""
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    list(client.map(square, range(2000)))  # quick calls, so that many calls are sent ahead
    blocked = client.call(block, str(gate))
    assert list(client.map(square, range(5000))) == [n * n for n in range(5000)]
    assert not blocked.done()
    gate.write_text("through")
    assert blocked.result(RESULT_S) == "through"


def test_a_cancelled_future_cancels_its_job(client: Client, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    future = client.call(block, str(gate))
    run = runs_block(client)
    assert future.cancel(force=True)
    until(lambda: client.job(f"{run}/0")[0].state == "CANCELLED", "the job of the call is cancelled")
    assert list(client.map(square, range(4))) == [0, 1, 4, 9]
    with pytest.raises(CancelledError):
        future.result(0)


def test_an_executor_submits_maps_and_works_in_a_loop(client: Client) -> None:
    executor: Executor
    with client.executor() as executor:
        assert executor.submit(square, 5).result(RESULT_S) == 25
        assert list(executor.map(square, range(10), timeout=RESULT_S)) == [n * n for n in range(10)]

        async def in_loop() -> Any:
            return await asyncio.get_running_loop().run_in_executor(executor, square, 6)

        assert asyncio.run(in_loop()) == 36
    with pytest.raises(RuntimeError, match="after shutdown"):
        executor.submit(square, 1)


def test_an_async_client_gathers_calls(c: Cluster) -> None:
    async def calls() -> list[int]:
        async with AsyncClient(c.address) as client:
            return list(await asyncio.gather(*[client.call(square, n) for n in range(20)]))

    assert asyncio.run(calls()) == [n * n for n in range(20)]


def test_arguments_that_cannot_be_sent_are_refused(client: Client) -> None:
    with pytest.raises(CallerError, match="cannot be sent"):
        client.call(square, threading.Lock())
    with pytest.raises(CallerError, match="chunksize"):
        client.map(square, [1], chunksize=0)


def test_results_come_after_the_master_was_killed(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    with cluster(tmp_path / "c", "w1") as c, Client(c.address) as client:
        assert client.call(square, 2).result(RESULT_S) == 4
        blocked = client.call(block, str(gate))
        runs_block(client)
        others = client.map(square, range(20_000))
        c.kill_master()
        c.restart_master()
        gate.write_text("through")
        assert blocked.result(RESULT_S) == "through"
        assert list(others) == [n * n for n in range(20_000)]
