"""Programs that end, or leave their client, right after they have made calls. All calls run, or an
error lists the calls that may not run."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from support.cluster import Cluster, cluster
from support.proxy import UP, Proxy
from support.waiting import until
from titan import Client
from titan.errors import CallsNotAcknowledged, InvalidGraph
from titan.sdk import calls

TIMES = 20
PROGRAMS = 5
"""Number of programs that are started one after another; 20 in the long form. Each program ends in
another way."""
CALLS = 5
PROGRAM = """
import asyncio, os, sys, titan
from titan import AsyncClient, Client

def note(folder, name, number):
    with open(f"{folder}/{name}", "a") as file:
        file.write(f"{number}\\n")

address, folder, names, how = sys.argv[1:5]
timeout_s = float(sys.argv[5]) if len(sys.argv) > 5 else 0
numbers = range(@CALLS@)
node = titan.task(note)

def hand_in(client, what, name):
    if what == "map":
        client.map(note, [folder] * len(numbers), [name] * len(numbers), numbers)
    elif what == "chunks":
        client.map(note, [folder] * len(numbers), [name] * len(numbers), numbers, chunksize=2)
    elif what == "call":
        for number in numbers:
            client.call(note, folder, name, number)
    elif what == "compute":
        client.compute([node(folder, name, number) for number in numbers])
    elif what == "executor":
        executor = client.executor()
        for number in numbers:
            executor.submit(note, folder, name, number)
        return executor

async def leave(name):
    async with AsyncClient(address) as client:
        for number in numbers:
            asyncio.create_task(client.call(note, folder, name, number))

def go(what, leaving, name):
    client = Client(address, close_timeout_s=timeout_s or 30)
    client.open()
    if timeout_s:
        print("open", flush=True)
        sys.stdin.readline()
    if leaving == "with":
        with client:
            hand_in(client, what, name)
    elif leaving == "close":
        hand_in(client, what, name)
        client.close()
    elif leaving == "shutdown":
        hand_in(client, what, name).shutdown(wait=False)
        return client
    elif leaving == "shutdown wait":
        with client:
            hand_in(client, what, name).shutdown(wait=True)
    else:
        hand_in(client, what, name)
        if timeout_s:
            print("handed in", flush=True)
        return client

what, _, leaving = how.partition(" ")
kept = [go(what, leaving, name) if what != "async" else asyncio.run(leave(name)) for name in names.split(",")]
if leaving == "shutdown":
    os._exit(0)
elif leaving == "sys.exit":
    sys.exit(0)
""".replace("@CALLS@", str(CALLS))
IN_ONE_PROGRAM = (
    *("map with", "chunks with", "call with", "compute with", "executor with", "map close", "call close"),
    *("executor shutdown wait", "async"),
)
A_PROGRAM_EACH = ("map end", "call end", "compute end", "executor end", "call sys.exit", "executor shutdown")


@pytest.fixture(scope="module")
def c(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with cluster(tmp_path_factory.mktemp("leaving") / "c", "w1") as made:
        yield made


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "program.py"
    path.write_text(PROGRAM)
    return path


def noted(folder: Path) -> Counter[str]:
    return Counter([f"{path.name}/{line}" for path in folder.iterdir() for line in path.read_text().split()])


@pytest.mark.parametrize(
    ("way", "times"),
    [
        *[(way, TIMES) for way in IN_ONE_PROGRAM],
        *[(way, PROGRAMS) for way in A_PROGRAM_EACH],
        *[pytest.param(way, TIMES, marks=pytest.mark.slow) for way in A_PROGRAM_EACH],
    ],
)
def test_calls_handed_in_right_before_the_program_leaves_run_once(
    c: Cluster, tmp_path: Path, program: Path, way: str, times: int
) -> None:
    folder = tmp_path / "notes"
    folder.mkdir()
    names = [str(n) for n in range(times)]
    for some in [",".join(names)] if way in IN_ONE_PROGRAM else names:
        command = [sys.executable, str(program), c.address, str(folder), some, way]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert (ended.returncode, ended.stdout) == (0, ""), ended.stderr
        assert not ended.stderr or (way == "async" and "the call continues" in ended.stderr)
    wanted = Counter([f"{name}/{number}" for name in names for number in range(CALLS)])
    until(lambda: noted(folder) == wanted, f"each call ran once: {way}", 60)


@contextlib.contextmanager
def unheard(c: Cluster, program: Path, folder: Path, way: str, timeout_s: float) -> Iterator[subprocess.Popen[str]]:
    """Run the program. After it has connected, nothing that it sends reaches the master any
    more."""
    with Proxy(c.port) as proxy:
        command = [sys.executable, str(program), proxy.address, str(folder), "0", way, str(timeout_s)]
        pipe = subprocess.PIPE
        with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, start_new_session=True) as process:
            assert process.stdin is not None and process.stdout is not None
            assert process.stdout.readline() == "open\n"
            proxy.hold(UP, proxy.passed[UP])
            process.stdin.write("\n")
            process.stdin.flush()
            yield process
        proxy.cut()


@pytest.mark.parametrize(("way", "status"), [("call with", 1), ("compute close", 1), ("map end", 120), ("call sys.exit", 120)])
def test_the_end_of_a_program_reports_unacknowledged_calls(
    c: Cluster, tmp_path: Path, program: Path, way: str, status: int
) -> None:
    with unheard(c, program, tmp_path, way, 0.5) as process:
        _, said = process.communicate(timeout=60)
    assert process.returncode == status, said
    assert f"CallsNotAcknowledged: {CALLS} calls ({CALLS} of note) were not acknowledged by the master within 0.5 s" in said


def test_ctrl_c_ends_the_wait_and_reports_the_lost_calls(c: Cluster, tmp_path: Path, program: Path) -> None:
    with unheard(c, program, tmp_path, "call end", 600) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "handed in\n"
        until(lambda: "futex" in Path(f"/proc/{process.pid}/wchan").read_text(), "its main thread waits")
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 120, said
    assert f"{CALLS} calls ({CALLS} of note) were not acknowledged by the master before the interrupt" in said


def test_the_future_of_an_abandoned_call_names_the_command_that_shows_its_result(c: Cluster) -> None:
    with Client(c.address) as client:
        future = client.call(pow, 2, 5)
    with pytest.raises(Exception, match="titan status"):
        future.result(0)
    job = getattr(future, "job", "")
    with Client(c.address) as other:
        run_, _, id_ = job.partition("/")
        assert other.run(run_).result(id_, 20) == 32


def refuse(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the master refuse the run of the next calls."""
    spec = calls._spec
    monkeypatch.setattr(calls, "_spec", lambda *of: msgspec.structs.replace(spec(*of), name="\x1b"))


def test_a_refused_call_is_reported_at_the_end_unless_its_error_was_read(c: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse(monkeypatch)
    told = r"1 call \(1 of pow\) was refused by the master and will not run: InvalidGraph"
    with pytest.raises(CallsNotAcknowledged, match=told) as caught, Client(c.address) as client:
        client.call(pow, 2, 5)
    assert caught.value.calls == {"pow": 1}
    with Client(c.address) as client, pytest.raises(InvalidGraph):
        client.call(pow, 2, 5).result(20)
    with pytest.raises(KeyError) as other, Client(c.address) as client:
        client.call(pow, 2, 5)
        raise KeyError("its own")
    assert "1 call (1 of pow) was refused" in str(other.value.__notes__)


ENDING = """
import asyncio, atexit, sys, threading
atexit.register(lambda: print([thread.name for thread in threading.enumerate()]))  # runs after what is registered later
from titan import Client
client = Client(sys.argv[1])
client.open()
if sys.argv[2] == "calls":
    client.map(bytes, range(20))
if sys.argv[2] == "waits":
    asyncio.run_coroutine_threadsafe(asyncio.sleep(600), client._loop)
"""


@pytest.mark.parametrize("what", ["nothing", "calls", "waits"])
def test_the_end_of_a_program_ends_the_thread_of_a_client_that_was_not_closed(c: Cluster, tmp_path: Path, what: str) -> None:
    """The thread runs an event loop in C. Earlier, a program sometimes crashed because this thread
    was still running when the interpreter was finalized."""
    program = tmp_path / "ending.py"
    program.write_text(ENDING)
    ended = subprocess.run([sys.executable, str(program), c.address, what], capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "['MainThread']\n", "")
