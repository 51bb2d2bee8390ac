"""Futures of calls: the job of each, its reasons and output while it waits and runs, and the calls
that an interrupt cancels."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from concurrent.futures import CancelledError, as_completed, wait
from pathlib import Path

import pytest

from support.cluster import Cluster, Spawned, cluster
from support.waiting import until
from titan import Client
from titan.errors import CallerError

RESULT_S = 20.0


@pytest.fixture(scope="module")
def c(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with cluster(tmp_path_factory.mktemp("futures") / "c", "w1", slots=1) as made:
        yield made


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    path = tmp_path / "gate"
    os.mkfifo(path)
    return path


def block(gate: str) -> str:
    """Report the start, wait until the test writes into the fifo, and return the text."""
    print("waits", flush=True)
    with open(gate) as fifo:
        return fifo.read()


def test_a_future_names_its_job_its_output_and_the_reason_why_it_waits(client: Client, gate: Path) -> None:
    first, second = client.call(block, str(gate)), client.call(print, "said")
    assert first.job is not None and first.job.endswith("/0")
    until(first.running, "the first call runs")
    assert not second.running() and not second.done()
    assert second.why().state in ("QUEUED", "DISPATCHED") and "slot" in str(second.why())
    assert second.logs() == ""
    gate.write_text("through")
    assert (first.result(RESULT_S), second.result(RESULT_S)) == ("through", None)
    assert (first.logs(), second.logs()) == ("waits\n", "said\n")
    assert not first.running() and first.why().state == "COMPLETED"


def test_cancel_leaves_a_running_call_alone(client: Client, gate: Path) -> None:
    runs, waits = client.call(block, str(gate)), client.call(print, "never")
    until(runs.running, "the call runs")
    assert not runs.cancel() and not runs.cancelled()
    assert waits.cancel() and waits.cancel() and waits.cancelled()
    assert wait([waits], RESULT_S).done == {waits}
    with pytest.raises(CancelledError):
        waits.result(0)
    assert client.job(waits.job or "")[0].state == "CANCELLED"
    gate.write_text("through")
    assert runs.result(RESULT_S) == "through" and not runs.cancel()


def test_a_call_cancelled_by_an_operator_names_the_operator(c: Cluster, client: Client, gate: Path) -> None:
    runs = client.call(block, str(gate))
    until(runs.running, "the call runs")
    assert c.cli("cancel", runs.job or "").returncode == 0
    with pytest.raises(CancelledError, match=r"cancelled by \S+@"):
        runs.result(RESULT_S)
    assert runs.cancelled() and runs.done()


def test_cancel_with_force_stops_a_call_that_runs(client: Client, gate: Path) -> None:
    runs = client.call(block, str(gate))
    until(runs.running, "the call runs")
    assert runs.cancel(force=True) and runs.cancelled()
    assert client.call(pow, 2, 3).result(RESULT_S) == 8, "the slot of the call is free"


def test_a_shutdown_cancels_waiting_calls_and_leaves_the_running_one(client: Client, gate: Path) -> None:
    executor = client.executor()
    runs, *rest = [executor.submit(block, str(gate)) for _ in range(50)]
    until(runs.running, "the call runs")
    executor.shutdown(wait=False, cancel_futures=True)
    assert all(future.cancelled() for future in rest) and not runs.done()
    assert set(as_completed(rest, RESULT_S)) == set(rest)
    gate.write_text("through")
    assert runs.result(RESULT_S) == "through"


def test_a_callback_of_a_future_that_waits_gets_an_error(client: Client) -> None:
    told: list[str] = []

    def ask(future: object) -> None:
        try:
            assert hasattr(future, "logs")
            future.logs()
        except CallerError as error:
            told.append(str(error))

    future = client.call(print, "x")
    future.add_done_callback(ask)
    future.result(RESULT_S)
    assert until(lambda: told, "the callback ran") == ["a callback of a future cannot wait for the master: use another thread"]


# -- interrupts ------------------------------------------------------------------------------------
MAP = """
import sys, titan

def block(gate):
    with open(gate) as fifo:
        return fifo.read()

client = titan.Client(sys.argv[1])
results = client.map(block, [sys.argv[2]] * 20, detach=sys.argv[3] == "detach", chunksize=2)
print("submitted", flush=True)
{}
"""
WAYS = {
    "while it waits": "list(results)",
    "in its own code": "import signal; signal.pause()",
    "in a block": "with client:\n    import signal; signal.pause()",
}


def interrupted(c: Cluster, tmp_path: Path, gate: Path, body: str, how: str) -> tuple[Spawned, str]:
    """Run a map until it waits, press Ctrl-C, and return the program and its run."""
    program = tmp_path / "program.py"
    program.write_text(MAP.format(body))
    spawned = c.spawn(str(program), c.address, str(gate), how, program=(sys.executable,))
    until(lambda: "submitted" in spawned.out or not spawned.running, "the map is submitted")
    run = until(lambda: next((r.run for r in c.client.runs(5) if r.tally.get("RUNNING")), ""), "a call runs")
    os.kill(spawned.pid, signal.SIGINT)
    assert spawned.wait() == -signal.SIGINT, spawned.err
    return spawned, run


@pytest.mark.parametrize("way", list(WAYS))
def test_an_interrupt_cancels_the_calls_of_a_map(c: Cluster, tmp_path: Path, gate: Path, way: str) -> None:
    spawned, run = interrupted(c, tmp_path, gate, WAYS[way], "")
    assert set(c.states(run).values()) == {"CANCELLED"}
    if way != "in its own code":  # in this case Python itself has printed the interrupt
        assert "KeyboardInterrupt\n10 calls of the map cancelled" in spawned.err


def test_a_detached_map_goes_on_after_an_interrupt(c: Cluster, tmp_path: Path, gate: Path) -> None:
    _, run = interrupted(c, tmp_path, gate, WAYS["while it waits"], "detach")
    assert "CANCELLED" not in c.states(run).values()
    assert c.cli("cancel", run).returncode == 0


# -- progress --------------------------------------------------------------------------------------
@pytest.mark.parametrize("chunksize", [1, 3])
def test_a_map_shows_its_progress(client: Client, capsys: pytest.CaptureFixture[str], chunksize: int) -> None:
    numbers = range(-7, 0)
    assert list(client.map(abs, numbers, progress="always", chunksize=chunksize)) == [-n for n in numbers]
    assert "7/7" in capsys.readouterr().err
    assert list(client.map(abs, numbers, progress=True)) == [-n for n in numbers]
    assert capsys.readouterr().err == "", "stderr is no terminal"
