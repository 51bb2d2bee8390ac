"""The function runner with real processes: the results and output of calls, how calls are taken
back, and how a runner dies."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import hashlib
import os
import pickle
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import cloudpickle
import pytest

from support.waiting import until_async
from titan.content.nearby import seal_of
from titan.errors import Bug, LimitExceeded
from titan.model.values import failure_of
from titan.worker.isolated import runner
from titan.worker.isolated.reports import pack_reports
from titan.worker.isolated.runner import FILED, OK, RAISED, UNLOADABLE, UNPICKLABLE, pack_arguments
from titan.worker.processes.runner_link import Columns, RunnerHub, RunnerLink, command_line

cloudpickle.register_pickle_by_value(sys.modules[__name__])
DEADLINE_S = 20.0
LOG_LIMIT = 64 * 1024


def loaded(folder: Path, status: int, payload: bytes) -> Any:
    """Return the value of a result. If the value is in a file, remove the file."""
    if status != FILED:
        return pickle.loads(payload) if payload else None
    digest, size, inode, mtime_ns, _ = runner.FILED_HEAD.unpack_from(payload)
    path = folder / os.fsdecode(payload[runner.FILED_HEAD.size :])
    assert seal_of(str(path)) == (inode, size, mtime_ns), "the seal of the finished file"
    pickled = path.read_bytes()
    path.unlink()
    assert len(pickled) == size > runner.INLINE_BYTES and hashlib.sha256(pickled).digest() == digest
    return pickle.loads(pickled)


class Bench:
    """Runner process, its link, and everything that it has reported."""

    def __init__(self, hub: RunnerHub, folder: Path, token: str, log_limit: int = LOG_LIMIT) -> None:
        self.folder = folder
        self.results: dict[int, tuple[int, bytes]] = {}
        self.output: dict[tuple[int, int], bytes] = {}
        self.closed = 0
        self.ready = 0
        self.link = RunnerLink(hub, on_results=self._take, on_output=self._print, on_closed=self._end, on_ready=self._connect)
        self.link.expect(token)
        command = command_line(
            sys.executable, hub.path, token, str(folder / f"{token}.1"), str(folder / f"{token}.2"), log_limit, str(folder)
        )
        self.process = subprocess.Popen(command, cwd=folder, start_new_session=True)

    def _take(self, link: RunnerLink, first: int, columns: Columns) -> None:
        assert link is self.link
        statuses, payloads, started, finished = columns
        for at, status in enumerate(statuses):
            assert first + at not in self.results
            assert started[at] <= finished[at]
            self.results[first + at] = (status, payloads[at])

    def _print(self, _link: RunnerLink, seq: int, stream: int, data: bytes) -> None:
        assert seq not in self.results, "output comes before the result"
        self.output[seq, stream] = self.output.get((seq, stream), b"") + data

    def _end(self, _link: RunnerLink) -> None:
        self.closed += 1

    def _connect(self, _link: RunnerLink) -> None:
        self.ready += 1

    async def until(self, condition: Callable[[], object], what: str) -> None:
        await until_async(condition, what, context=lambda: f"results {self.results}")

    def order(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> int:
        return self.order_many(function, [pack_arguments(args, kwargs, cloudpickle.dumps)])

    def order_many(self, function: Callable[..., Any], payloads: list[bytes]) -> int:
        pickled = cloudpickle.dumps(function)
        key = hashlib.sha256(pickled).digest()
        if not self.link.has(key):
            self.link.enter(key, pickled)
        return self.link.call(key, payloads)

    async def result(self, seq: int) -> tuple[int, bytes]:
        await self.until(lambda: seq in self.results, f"the result of call {seq}")
        return self.results[seq]

    async def value(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        status, payload = await self.result(self.order(function, *args, **kwargs))
        assert status in (OK, FILED), failure_of(payload)
        return loaded(self.folder, status, payload)

    async def failure(self, function: Callable[..., Any], *args: Any) -> tuple[int, bytes | None, str, str, str]:
        status, payload = await self.result(self.order(function, *args))
        assert status != OK
        return (status, *failure_of(payload))

    async def ended(self) -> int:
        await self.until(lambda: self.closed, "on_closed")
        return await asyncio.to_thread(self.process.wait, DEADLINE_S)


@contextlib.asynccontextmanager
async def bench(folder: Path, **options: Any) -> AsyncIterator[Bench]:
    hub = RunnerHub(folder / "hub.sock")
    hub.open()
    made = Bench(hub, folder, "secret", **options)
    try:
        yield made
        assert made.link.pending == 0 or made.closed
    finally:
        made.link.close()
        hub.close()
        try:
            await asyncio.to_thread(made.process.wait, DEADLINE_S)
        finally:
            made.process.kill()
            made.process.wait()
        assert not os.path.exists(hub.path)


def run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(test, 60))


def scenario(test: Callable[[Bench, Path], Coroutine[Any, Any, None]]) -> Callable[[Path], None]:
    """Run the test with a bench. Also check that the test leaves no descriptor open."""

    def wrapped(tmp_path: Path) -> None:
        async def with_bench() -> None:
            before = os.listdir("/proc/self/fd")
            async with bench(tmp_path) as made:
                await test(made, tmp_path)
            assert os.listdir("/proc/self/fd") == before

        run(with_bench())

    wrapped.__name__, wrapped.__doc__ = test.__name__, test.__doc__
    return wrapped


def nothing(*_: Any) -> None:
    return None


# -- values ----------------------------------------------------------------------------------------
@scenario
async def test_calls_end_in_order_each_with_its_value(made: Bench, _folder: Path) -> None:
    first = made.order_many(lambda value: value * 2, [pack_arguments((value,), {}) for value in range(10_000)])
    second = made.order_many(nothing, [pack_arguments((), {})] * 10_000)
    assert (first, second) == (1, 10_001)
    await made.until(lambda: len(made.results) == 20_000, "all results")
    assert list(made.results) == list(range(1, 20_001))
    assert [pickle.loads(made.results[seq][1]) for seq in range(1, 10_001)] == list(range(0, 20_000, 2))
    assert {made.results[seq] for seq in range(10_001, 20_001)} == {(OK, b"")}
    assert made.link.current_seq() == made.link.ended_seq() == 20_000
    assert (made.ready, made.link.pid) == (1, made.process.pid)


@scenario
async def test_every_kind_of_callable_and_argument(made: Bench, _folder: Path) -> None:
    base = 40

    def fibonacci(n: int) -> int:
        return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)

    class Point:
        def __init__(self, x: int) -> None:
            self.x = x

        def __call__(self, y: int) -> int:
            return self.x + y

        def __bool__(self) -> bool:
            raise RuntimeError("no truth")

    assert await made.value(lambda a, *, b: (a, b), 1, b=2) == (1, 2)
    assert await made.value(lambda a, b: (a, b), (1, 2), {"c": 3}) == ((1, 2), {"c": 3})
    assert await made.value(lambda x: base + x, 2) == 42
    assert await made.value(functools.partial(pow, 2), 5) == 32
    assert await made.value(fibonacci, 10) == 55
    assert await made.value(Point(1), 2) == 3
    assert (await made.value(Point, 7)).x == 7
    assert (await made.value(lambda: lambda x: x + 1))(1) == 2
    assert await made.value(os.path.basename, "a/b") == "b"


@scenario
async def test_a_call_sees_a_plain_interpreter(made: Bench, folder: Path) -> None:
    def look() -> tuple[Any, ...]:
        import gc

        main = sys.modules["__main__"]
        return sys.argv, sorted(vars(main)), sys.path[0], sys.stdin.read(), gc.get_freeze_count() > 0, os.getcwd()

    argv, names, path, stdin, frozen, cwd = await made.value(look)
    assert (argv, path, stdin, frozen, cwd) == ([""], "", "", True, str(folder))
    assert "Runner" not in names
    assert "__builtins__" in names


@scenario
async def test_large_arguments_and_results(made: Bench, folder: Path) -> None:
    blob = os.urandom(5 * 1024 * 1024)
    assert await made.value(lambda data: data, blob) == blob
    sizes = [made.order(lambda n: b"x" * n, size) for size in (65_536, 300_000, 1, 70_000)]
    assert [len(loaded(folder, *await made.result(seq))) for seq in sizes] == [65_536, 300_000, 1, 70_000]


@scenario
async def test_arguments_and_results_that_are_too_large_are_refused_by_their_sender(made: Bench, folder: Path) -> None:
    with pytest.raises(LimitExceeded, match="pass large data in files"):
        made.link.call(b"any", [bytes(runner.PAYLOAD_BYTES + 1)])
    assert made.link.pending == 0

    def produce(limit: int) -> list[bytes]:
        sys.modules["_titan_runner"].VALUE_BYTES = limit  # type: ignore[attr-defined]
        return [b"x" * 100_000, b"y" * 100_000]

    assert len(await made.value(produce, 300_000)) == 2
    status, error, _, text, _ = await made.failure(produce, 150_000)
    assert (status, error) == (UNPICKLABLE, None)
    assert "write it to a file" in text
    assert [path.name for path in folder.glob("*.value")] == [], "no file of a value is left"
    assert await made.value(lambda: 1) == 1


@scenario
async def test_arguments_and_what_they_wait_for_may_be_in_files(made: Bench, folder: Path) -> None:
    big, args = folder / "big", folder / "args"
    big.write_bytes(pickle.dumps(b"b" * 100_000))

    class Pickler(pickle.Pickler):
        def persistent_id(self, value: Any) -> int | None:
            return {"first": 0, "second": 1}.get(value) if isinstance(value, str) else None

    with args.open("wb") as file:
        Pickler(file, 5).dump(("first", ["second", "first"]))
    made.link.enter(b"f", cloudpickle.dumps(lambda a, rest: (len(a), rest[0], rest[1] is a)))
    file_of = [b"f" + os.fsencode(path) for path in (big, args)]
    seq = made.link.call(b"f", [(args.read_bytes(), [file_of[0], b""]), (file_of[1], [file_of[0], b"i" + pickle.dumps(7)])])
    assert loaded(folder, *await made.result(seq)) == (100_000, None, True)
    assert loaded(folder, *await made.result(seq + 1)) == (100_000, 7, True)
    seq = made.link.call(b"f", [(args.read_bytes(), [b"x" + b"too much", b""]), (b"f/nowhere", [])])
    status, payload = await made.result(seq)
    assert (status, failure_of(payload)[1:3]) == (UNLOADABLE, ("Refused", "too much"))
    assert (await made.result(seq + 1))[0] == UNLOADABLE


@scenario
async def test_a_chunk_is_one_call_for_many_values(made: Bench, _folder: Path) -> None:
    def invert(x: int) -> Any:
        return (n for n in range(x)) if x == 7 else 1 / x

    made.link.enter(b"invert", cloudpickle.dumps(invert))
    seq = made.link.call_chunk(b"invert", pickle.dumps([(1,), (0,), (7,), (2,)]))
    status, payload = await made.result(seq)
    rows = pickle.loads(payload)
    assert (status, [good for good, _ in rows]) == (OK, [True, False, False, True])
    assert (rows[0][1], rows[3][1]) == (1.0, 0.5)
    assert [rows[1][1][1], rows[2][1][1]] == ["ZeroDivisionError", "TypeError"]


# -- errors ----------------------------------------------------------------------------------------
@scenario
async def test_an_exception_comes_with_its_traceback_notes_and_cause(made: Bench, _folder: Path) -> None:
    def inner() -> None:
        raise KeyError("the cause")

    def outer() -> None:
        try:
            inner()
        except KeyError as error:
            failure = ValueError("broken")
            failure.add_note("a note")
            raise failure from error

    status, pickled, name, text, trace = await made.failure(outer)
    assert (status, name, text) == (RAISED, "ValueError", "broken")
    error = pickle.loads(pickled or b"")
    assert (type(error), error.args, error.__notes__) == (ValueError, ("broken",), ["a note"])
    assert "a note" in trace
    assert "in inner" in trace
    assert "KeyError: 'the cause'" in trace
    assert "direct cause" in trace
    assert "_run_call" not in trace


@scenario
async def test_an_exception_that_does_not_pickle_is_described(made: Bench, _folder: Path) -> None:
    class Picky(Exception):
        def __init__(self, a: int, b: int) -> None:
            super().__init__(f"{a} and {b}")

        def __str__(self) -> str:
            raise RuntimeError("no text")

    def fail() -> None:
        raise Picky(1, 2)

    status, pickled, name, text, trace = await made.failure(fail)
    assert (status, pickled) == (RAISED, None)
    assert name.endswith("Picky")
    assert "raised RuntimeError" in text
    assert "in fail" in trace


@scenario
async def test_objects_that_cannot_be_loaded_or_returned_are_errors_of_the_call(made: Bench, _folder: Path) -> None:
    status, _, name, text, _ = await made.failure(lambda: (x for x in range(3)))
    assert (status, name) == (UNPICKLABLE, "TypeError")
    assert "generator" in text
    assert (await made.result(made.order_many(nothing, [b"no pickle"])))[0] == UNLOADABLE
    missing = pickle.dumps(os.path.join).replace(b"posixpath", b"nosuchmod")
    made.link.enter(b"missing", missing)
    first = made.link.call(b"missing", [pack_arguments((), {})] * 2)
    for seq in (first, first + 1):
        status, payload = await made.result(seq)
        assert (status, failure_of(payload)[1]) == (UNLOADABLE, "ModuleNotFoundError")
    made.link.enter(b"number", pickle.dumps(7))
    status, payload = await made.result(made.link.call(b"number", [pack_arguments((), {})]))
    assert (status, failure_of(payload)[2]) == (UNLOADABLE, "the object sent as a function is a int, which cannot be called")
    status, payload = await made.result(made.link.call(b"never entered", [pack_arguments((), {})]))
    assert status == UNLOADABLE


@scenario
async def test_exits_and_interrupts_are_errors_of_the_call(made: Bench, _folder: Path) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    def signalled() -> str:
        import signal

        os.kill(os.getpid(), signal.SIGINT)
        return "alive"

    assert (await made.failure(sys.exit, 3))[:1] == (RAISED,)
    assert (await made.failure(sys.exit, 3))[2:4] == ("SystemExit", "3")
    assert (await made.failure(interrupt))[2] == "KeyboardInterrupt"
    assert await made.value(signalled) == "alive"


# -- output ----------------------------------------------------------------------------------------
@scenario
async def test_output_of_a_call_and_of_its_child_processes_belongs_to_the_call(made: Bench, _folder: Path) -> None:
    def speak(word: str) -> None:
        print(word)
        print("error", word, file=sys.stderr)
        sys.stdout.flush()
        os.write(1, b"raw\n")
        subprocess.run(["echo", "from a process"], check=True)

    silent = made.order(nothing)
    seqs = [made.order(speak, word) for word in ("one", "two")]
    await made.result(seqs[1])
    assert made.output == {
        (seqs[0], 1): b"one\nraw\nfrom a process\n",
        (seqs[0], 2): b"error one\n",
        (seqs[1], 1): b"two\nraw\nfrom a process\n",
        (seqs[1], 2): b"error two\n",
    }
    assert made.results[silent] == (OK, b"")


@scenario
async def test_long_output_keeps_its_head_and_a_note_about_the_rest(made: Bench, _folder: Path) -> None:
    seq = made.order(lambda: print("x" * 1_000_000))
    await made.result(seq)
    assert made.output[seq, 1][:LOG_LIMIT] == b"x" * LOG_LIMIT
    assert b"934465 bytes of output dropped" in made.output[seq, 1][LOG_LIMIT:]


@scenario
async def test_a_call_may_close_or_replace_the_streams(made: Bench, _folder: Path) -> None:
    def wrap() -> None:
        import io

        sys.stdout = io.TextIOWrapper(io.FileIO(1, "w", closefd=False))
        print("held back by a wrapper")

    def close() -> None:
        sys.stdout.close()

    await made.value(close)
    seq = made.order(print, "still here")
    await made.result(seq)
    assert made.output[seq, 1] == b"still here\n"
    seq = made.order(wrap)
    await made.result(seq)
    assert made.output[seq, 1] == b"held back by a wrapper\n"
    await made.value(lambda: setattr(sys, "stdout", None))
    assert await made.value(lambda: 1) == 1


# -- taking back -----------------------------------------------------------------------------------
def read_fifo(path: str) -> str:
    with open(path) as file:
        return file.read()


def touch(path: str) -> None:
    Path(path).touch()


@scenario
async def test_calls_behind_a_long_call_are_withdrawn_and_never_run(made: Bench, folder: Path) -> None:
    os.mkfifo(folder / "fifo")
    quick = made.order(nothing)
    long = made.order(read_fifo, str(folder / "fifo"))
    for number in range(9):
        made.order(touch, str(folder / f"ran-{number}"))
    await made.until(lambda: made.link.current_seq() == long, "the long call's begin")
    await made.result(quick)
    assert made.link.take_back(4) == 4
    assert made.link.take_back(100) == 0, "calls that the runner holds cannot be taken back before it has answered"
    later = [made.order(lambda n=n: n) for n in range(3)]
    assert made.link.take_back(1) == 1, "a call that was never sent"
    assert (made.link.pending, made.link.current_seq(), made.link.ended_seq()) == (8, long, quick)
    with await asyncio.to_thread(open, folder / "fifo", "w") as fifo:
        fifo.write("go on")
    await made.result(later[1])
    assert pickle.loads(made.results[long][1]) == "go on"
    assert sorted(path.name for path in folder.glob("ran-*")) == [f"ran-{n}" for n in range(5)]
    assert list(made.results) == [1, 2, 3, 4, 5, 6, 7, *later[:2]]
    assert await made.value(lambda: "new") == "new"


@scenario
async def test_all_nine_come_back_at_once(made: Bench, folder: Path) -> None:
    os.mkfifo(folder / "fifo")
    long = made.order(read_fifo, str(folder / "fifo"))
    made.order_many(touch, [pack_arguments((str(folder / f"ran-{n}"),), {}) for n in range(9)])
    await made.until(lambda: made.link.current_seq() == long, "the long call's begin")
    assert made.link.take_back(9) == 9
    assert made.link.pending == 1
    new = made.order(lambda: "new")
    with await asyncio.to_thread(open, folder / "fifo", "w") as fifo:
        fifo.write("go on")
    assert pickle.loads((await made.result(new))[1]) == "new"
    assert list(made.results) == [long, new]
    assert list(folder.glob("ran-*")) == []


@scenario
async def test_taking_back_races_a_busy_runner(made: Bench, _folder: Path) -> None:
    """A call may begin while it is taken back. Each call is then either run once or taken back, and
    the calls that are taken back are the last ones."""
    payload = [pack_arguments((), {})] * 200
    expected: list[int] = []
    for number in range(200):
        first = made.order_many(nothing, payload)
        if number % 3:
            await asyncio.sleep(0)
        taken = made.link.take_back(number)
        expected += range(first, first + 200 - taken)
        await made.until(lambda: made.link.pending == 0, "the rest")
        assert list(made.results) == expected
    assert len(expected) < 200 * 200


@scenario
async def test_calls_are_taken_back_before_the_runner_has_connected(made: Bench, _folder: Path) -> None:
    payload = [pack_arguments((), {})]
    first = made.order_many(nothing, payload * 3)
    await asyncio.sleep(0)
    assert made.link.take_back(2) == 2
    second = made.order_many(nothing, payload)
    assert (made.link.pid, made.link.current_seq(), made.link.pending) == (0, 0, 2)
    await made.result(second)
    assert list(made.results) == [first, second]


# -- ends ------------------------------------------------------------------------------------------
@scenario
async def test_death_in_a_call_says_which_call_is_to_blame(made: Bench, _folder: Path) -> None:
    def die_at(n: int) -> int:
        if n == 5:
            os._exit(7)
        return n

    made.order_many(die_at, [pack_arguments((n,), {}) for n in range(1, 11)])
    assert await made.ended() == 7
    assert (made.link.current_seq(), made.link.ended_seq(), made.closed) == (5, 4, 1)
    assert made.link.pending == 10 - len(made.results)
    assert set(made.results) <= {1, 2, 3, 4}
    with pytest.raises(Bug):
        made.order(nothing)


@scenario
async def test_a_segfault_closes_the_link(made: Bench, _folder: Path) -> None:
    def crash() -> None:
        import ctypes

        ctypes.string_at(0)

    assert await made.value(lambda: 1) == 1
    seq = made.order(crash)
    assert await made.ended() == -11
    assert made.link.current_seq() == seq


@scenario
async def test_the_child_of_a_fork_does_not_become_a_second_runner(made: Bench, _folder: Path) -> None:
    def fork() -> tuple[bool, int]:
        pid = os.fork()
        if pid:
            os.waitpid(pid, 0)
        return pid > 0, os.getpid()

    assert await made.value(fork) == (True, made.process.pid)
    assert await made.value(lambda: 1) == 1


@scenario
async def test_a_runner_that_gets_the_order_to_quit_exits_with_0(made: Bench, _folder: Path) -> None:
    assert await made.value(lambda: 1) == 1
    made.link.quit()
    assert await made.ended() == 0
    assert made.closed == 1


@scenario
async def test_functions_are_forgotten_in_the_order_of_their_use(made: Bench, _folder: Path) -> None:
    for number in range(runner.FUNCTIONS):
        made.link.enter(b"%d" % number, cloudpickle.dumps(functools.partial(abs, number)))
    first = made.link.call(b"0", [pack_arguments((), {})])
    made.link.enter(b"one more", cloudpickle.dumps(nothing))
    assert [made.link.has(key) for key in (b"0", b"1", b"2", b"one more")] == [True, False, True, True]
    calls = [made.link.call(key, [pack_arguments((), {})]) for key in (b"0", b"1", b"2")]
    statuses = [(await made.result(seq))[0] for seq in (first, *calls)]
    assert statuses == [OK, OK, UNLOADABLE, OK]


# -- the hub ---------------------------------------------------------------------------------------
def test_a_long_path_and_strangers(tmp_path: Path) -> None:
    async def test() -> None:
        hub = RunnerHub(tmp_path / ("deep" * 40) / "hub.sock")
        hub.open()
        assert len(hub.path) <= 107
        assert os.stat(os.path.dirname(hub.path)).st_mode & 0o777 == 0o700
        made = Bench(hub, tmp_path, "known")
        with pytest.raises(Bug):
            hub._expect("known", made.link)
        for hello in (b"GET / HTTP/1.1\r\n\r\n", pack_reports([("hello", 1, "unknown")]), pack_reports([("given_back", 1)])):
            reader, writer = await asyncio.open_unix_connection(hub.path)
            writer.write(hello)
            with contextlib.suppress(ConnectionResetError):
                assert await asyncio.wait_for(reader.read(), DEADLINE_S) == b""
            writer.close()
        assert await made.value(lambda: "served") == "served"
        made.link.close()
        hub.close()
        await asyncio.to_thread(made.process.wait, DEADLINE_S)
        assert not os.path.exists(os.path.dirname(hub.path))

    run(test())


def test_a_runner_without_cloudpickle_says_what_to_install(tmp_path: Path) -> None:
    async def test() -> None:
        (tmp_path / "cloudpickle.py").write_text("raise ImportError('not here')")
        async with bench(tmp_path) as made:
            status, _, _, text, _ = await made.failure(os.getpid)
            assert status == UNLOADABLE
            assert "-m pip install cloudpickle" in text

    run(test())


def test_a_stream_that_carries_no_messages_ends_the_link(tmp_path: Path) -> None:
    def garble() -> None:
        for name in os.listdir("/proc/self/fd"):
            with contextlib.suppress(OSError):
                if os.readlink(f"/proc/self/fd/{name}").startswith("socket:"):
                    os.write(int(name), b"\xff" * 64)

    async def test() -> None:
        async with bench(tmp_path) as made:
            made.order(garble)
            await made.until(lambda: made.closed, "on_closed")

    run(test())


def test_what_changes_while_it_is_written_is_written_as_it_was_hashed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The value changes like an array that a thread of the call still writes to. The file must have
    the content that was hashed, because nobody hashes it again."""
    data = bytearray(b"a" * (3 * runner.PIECE_BYTES))
    real = hashlib.sha256

    class Changing:
        def __init__(self) -> None:
            self.hashed = real()

        def update(self, piece: Any) -> None:
            self.hashed.update(piece)
            data[:] = data.swapcase()

        def digest(self) -> bytes:
            return self.hashed.digest()

    monkeypatch.setattr(hashlib, "sha256", Changing)
    made = runner.Value(str(tmp_path))
    made.write(memoryview(data))
    status, payload = made.end()
    monkeypatch.undo()
    (path,) = tmp_path.glob("*.value")
    assert status == FILED and real(path.read_bytes()).digest() == runner.FILED_HEAD.unpack_from(payload)[0]
