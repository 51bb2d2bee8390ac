"""Processes forked from this one before their command line is known.

A fresh interpreter spends most of the start of a master or worker on imports. A fork shares the
imports of its parent and does the rest while the parent goes on. It then reads its command line
from a pipe and runs it as `titan` does. A fork that never gets a command line ends without a trace,
since it has only imported modules so far.

A process with several threads may not fork here: the locks of its other threads would stay locked.
A process that holds passphrases may not fork either, because its fork would hold them too.

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
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import TimeoutExpired
from typing import IO, Any, NamedTuple, NoReturn, Protocol, Self

from titan.host.privacy import holds_keys

SHARED = ("asyncio", "uvloop", "titan.net.peer", "titan.protocol.codec")
"""Imports before the first fork. The parent, the master and the worker need all of them."""
MODULES = {
    "master": ("titan.cli.serve", "titan.master.server", "titan.master.vault"),
    "worker": ("titan.cli.serve", "titan.worker.shell"),
}
"""Imports of a fork while it waits for its command line."""
SIGNALS = (signal.SIGINT, signal.SIGTERM)
MAX_COMMAND_BYTES = 1 << 20
"""Largest command line, in bytes."""


class Process(Protocol):
    """The part of `subprocess.Popen` that `Fork` implements too."""

    @property
    def pid(self) -> int: ...
    @property
    def stderr(self) -> IO[bytes] | None: ...
    @property
    def returncode(self) -> int | None: ...
    def wait(self, timeout: float | None = None) -> int: ...
    def kill(self) -> None: ...


class Fork:
    """A child process without an exec. Only one thread at a time may call `wait`."""

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


class Adopted:
    """A process that another process has started.

    Its exit code is not known: `wait` returns 0 for a worker that has left its master, else -9.
    """

    def __init__(self, pid: int, stderr: IO[bytes], has_left: Callable[[], bool]) -> None:
        self.pid = pid
        self.stderr = stderr
        self.returncode: int | None = None
        self._has_left = has_left

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit code. Raises TimeoutExpired."""
        if self.returncode is None:
            if not await_end(self.pid, timeout):
                raise TimeoutExpired("titan", timeout or 0.0)
            self.returncode = 0 if self._has_left() else -signal.SIGKILL
        return self.returncode

    def kill(self) -> None:
        if self.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)


def open_pidfd(pid: int) -> int | None:
    """Return a descriptor that is readable when the process has ended; None if it is gone."""
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        return None


def await_end(pid: int, timeout_s: float | None) -> bool:
    """Wait at most `timeout_s` for a process to end; return whether it has. Does not reap it."""
    fd = open_pidfd(pid)
    if fd is None:
        return True
    try:
        return bool(select.select([fd], [], [], timeout_s)[0])
    finally:
        os.close(fd)


class Waiting(NamedTuple):
    """A fork that waits for its command line, and the parent's ends of its pipes."""

    process: Fork
    command: int
    hold: int
    ready: int
    parent_fd: int
    """File descriptor, in the child, of the other end of `hold`."""
    ready_fd: int
    """File descriptor, in the child, of the other end of `ready`."""

    def begin(self, arguments: list[str]) -> None:
        """Send the fork its command line, without the program's name."""
        with contextlib.suppress(BrokenPipeError), open(self.command, "wb") as pipe:
            pipe.write("\0".join(arguments).encode(errors="surrogateescape"))

    def dismiss(self) -> None:
        """End the fork at once. It may still import modules, which leaves nothing behind."""
        self.process.kill()
        for fd in (self.command, self.hold, self.ready):
            os.close(fd)
        self.process.wait()
        self.process.stderr.close()


class ForkedServers:
    """Forks for one cluster. `take` hands out each fork once; leaving the context ends the rest."""

    def __init__(self, workers: int | None) -> None:
        """Fork a master and `workers` workers, if this process may fork. None means no forks.

        Raises OSError.
        """
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
        """Return a waiting fork, or None if none is left."""
        waiting = self._waiting[role]
        return waiting.pop() if waiting else None

    def close(self) -> None:
        for waiting in self._waiting.values():
            while waiting:
                waiting.pop().dismiss()


@contextmanager
def uncollected() -> Iterator[None]:
    """Pause the garbage collector. It takes a tenth of the time of imports and finds no garbage."""
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
    command_in, command, held, hold, ready, ready_out, stderr_in, stderr = fds
    sys.stdout.flush()
    sys.stderr.flush()
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # the handlers here are the parent's
    try:
        pid = os.fork()
        if not pid:
            _serve(role, command_in, held, ready_out, stderr, mask)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for fd in (command_in, held, ready_out, stderr):
            os.close(fd)
    with contextlib.suppress(OSError):  # the child does the same; either may come first
        os.setpgid(pid, pid)
    return Waiting(Fork(pid, open(stderr_in, "rb")), command, hold, ready, held, ready_out)


# -- in the child ----------------------------------------------------------------------------------
def _serve(role: str, command_in: int, held: int, ready_out: int, stderr: int, mask: Any) -> NoReturn:
    code = 70
    try:
        _detach((command_in, held, ready_out), stderr)
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
        with open(command_in, "rb") as pipe:
            command = pipe.read(MAX_COMMAND_BYTES).decode(errors="surrogateescape")
        code = _run(command.split("\0")) if command else 0
    except KeyboardInterrupt:
        code = 130
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.flush()
        os._exit(code)  # the frames below belong to the parent and must not be unwound here


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


def _run(arguments: list[str]) -> int:
    """Run a command line as `titan` does; return its exit code."""
    from titan.cli import group

    sys.argv = [sys.argv[0], *arguments]
    sys.orig_argv = [sys.executable, "-m", "titan", *arguments]
    try:
        group.run()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
