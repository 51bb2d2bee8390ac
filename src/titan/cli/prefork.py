"""Processes forked from this one before their command line is known.

A fresh interpreter spends most of the start of a master or worker on imports. A fork shares the
imports of its parent and does the rest while the parent goes on. It then reads its command line
from a pipe and runs it as `titan` does. A fork that is never given one ends without a trace: until
then it has imported modules and nothing else.

Only a process with one thread may fork here, since locks of other threads would stay locked. A
process that holds passphrases may not either, since memory of a fork holds them too.

`ps` shows a fork with the command line of its parent, and `titan-master` or `titan-worker` as its
name.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import select
import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import TimeoutExpired
from typing import IO, Any, NamedTuple, NoReturn, Protocol, Self

from titan.host.privacy import holds_keys

SHARED = ("asyncio", "uvloop", "titan.net.peer", "titan.protocol.codec")
"""Imports before the first fork: the parent, the master and the worker need all of them."""
MODULES = {
    "master": ("titan.cli.serve", "titan.master.server", "titan.master.vault"),
    "worker": ("titan.cli.serve", "titan.worker.shell"),
}
"""Imports of a fork while it waits for its command line."""
SIGNALS = (signal.SIGINT, signal.SIGTERM)
WORDS = 1 << 20
"""Bytes of a command line, at most."""


class Process(Protocol):
    """The part of `subprocess.Popen` that forks have too."""

    @property
    def pid(self) -> int: ...
    @property
    def stderr(self) -> IO[bytes] | None: ...
    @property
    def returncode(self) -> int | None: ...
    def wait(self, timeout: float | None = None) -> int: ...
    def kill(self) -> None: ...


class Fork:
    """A child process without an exec. One thread at a time may call `wait`."""

    def __init__(self, pid: int, stderr: IO[bytes]) -> None:
        self.pid = pid
        self.stderr = stderr
        self.returncode: int | None = None

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit code, -N for signal N. Raises TimeoutExpired."""
        if self.returncode is None:
            if timeout is not None and not await_end(self.pid, timeout):
                raise TimeoutExpired("titan", timeout)
            _, status = os.waitpid(self.pid, 0)
            self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def kill(self) -> None:
        if self.returncode is None:
            os.kill(self.pid, signal.SIGKILL)


def await_end(pid: int, timeout_s: float) -> bool:
    """Return whether a child has ended, which it may do within the time; it is not reaped."""
    fd = os.pidfd_open(pid)
    try:
        return bool(select.select([fd], [], [], timeout_s)[0])
    finally:
        os.close(fd)


class Waiting(NamedTuple):
    """A fork that waits for its command line, and the ends of its pipes here."""

    process: Fork
    words: int
    hold: int
    ready: int
    parent_fd: int
    """The number in the child of its end of `hold`; the next is that of `ready`."""
    ready_fd: int

    def begin(self, words: list[str]) -> None:
        """Give it its command line, without the program's name."""
        with contextlib.suppress(BrokenPipeError), open(self.words, "wb") as pipe:
            pipe.write("\0".join(words).encode(errors="surrogateescape"))

    def dismiss(self) -> None:
        for fd in (self.words, self.hold, self.ready):
            os.close(fd)
        self.process.wait()
        self.process.stderr.close()


class ForkedServers:
    """Forks for one cluster. `take` gives each of them once; leaving the context ends the others."""

    def __init__(self, workers: int | None) -> None:
        """Fork a master and `workers` workers, if this process may fork. None: no forks. Raises
        OSError."""
        self._waiting: dict[str, list[Waiting]] = {"master": [], "worker": []}
        if workers is None or not may_fork():
            return
        with uncollected():
            for module in SHARED:
                importlib.import_module(module)
        try:
            for role in ("master", *["worker"] * workers):
                self._waiting[role].append(_fork(role))
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def take(self, role: str) -> Waiting | None:
        """Return a fork that waits, None if there is none (any more)."""
        there = self._waiting[role]
        return there.pop() if there else None

    def close(self) -> None:
        for there in self._waiting.values():
            while there:
                there.pop().dismiss()


@contextmanager
def uncollected() -> Iterator[None]:
    """Pause the garbage collector: of what imports make nothing is garbage, and a tenth of their
    time is its."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def may_fork() -> bool:
    return len(os.listdir("/proc/self/task")) == 1 and not holds_keys()


def _fork(role: str) -> Waiting:
    fds: list[int] = []
    for _ in range(4):
        try:
            fds += os.pipe()
        except OSError:
            for fd in fds:
                os.close(fd)
            raise
    words_in, words, held, hold, ready, told, said, stderr = fds
    sys.stdout.flush()
    sys.stderr.flush()
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # the handlers here are the parent's
    try:
        pid = os.fork()
        if not pid:
            _serve(role, words_in, held, told, stderr, mask)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for fd in (words_in, held, told, stderr):
            os.close(fd)
    with contextlib.suppress(OSError):  # the child does the same: whoever is first
        os.setpgid(pid, pid)
    return Waiting(Fork(pid, open(said, "rb")), words, hold, ready, held, told)


# -- in the child ----------------------------------------------------------------------------------
def _serve(role: str, words_in: int, held: int, told: int, stderr: int, mask: Any) -> NoReturn:
    code = 70
    try:
        _detach((words_in, held, told), stderr)
        if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        if signal.getsignal(signal.SIGTERM) != signal.SIG_IGN:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        with contextlib.suppress(OSError):
            Path("/proc/self/comm").write_text(f"titan-{role}")
        with uncollected():
            for module in MODULES[role]:
                importlib.import_module(module)
        with open(words_in, "rb") as pipe:
            words = pipe.read(WORDS).decode(errors="surrogateescape")
        code = _run(words.split("\0")) if words else 0
    except KeyboardInterrupt:
        code = 130
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.flush()
        os._exit(code)  # the frames below are the parent's: nothing of them may be unwound here


def _detach(keep: tuple[int, ...], stderr: int) -> None:
    """Leave the parent's process group, terminal and descriptors."""
    os.setpgid(0, 0)
    null = os.open(os.devnull, os.O_RDWR)
    for fd, source in ((0, null), (1, null), (2, stderr)):
        os.dup2(source, fd)
    low = 3
    for fd in sorted(keep):
        os.closerange(low, fd)
        low = fd + 1
    os.closerange(low, os.sysconf("SC_OPEN_MAX"))


def _run(words: list[str]) -> int:
    """Run a command line as `titan` does; return its exit code."""
    from titan.cli import group

    sys.argv = [sys.argv[0], *words]
    sys.orig_argv = [sys.executable, "-m", "titan", *words]
    try:
        group.run()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
