"""Interface of a peer for the benchmark: a program that is started, does some of the workloads, and
is stopped."""

from __future__ import annotations

import importlib.util
import subprocess
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from importlib import metadata
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self

SLOTS = 2
"""Number of things that each peer runs at once: its workers, slots, cores or processes."""


class Unavailable(Exception):
    """The peer offers this work, but cannot do it here. The message has the reason."""


class Peer:
    """A peer overrides `start`, and the methods of the work that it offers.

    `home` is an empty folder for all its files, and `workload` is the workload that it will get.
    `start` registers clean-up functions in `stack`, which are called when the peer is stopped in
    any way.
    """

    title: ClassVar[str]
    distribution: ClassVar[str] = ""
    """Name of the package for pip; "" if nothing has to be installed."""
    module: ClassVar[str] = ""
    loopback: ClassVar[bool] = True
    """False if the peer listens on every address of the machine. It is then run only where it gets
    a network of its own."""

    def __init__(self, home: Path, workload: str) -> None:
        self.home = home
        self.workload = workload
        self.stack = ExitStack()

    @classmethod
    def absent(cls) -> str:
        """Return what is missing here to run the peer; "" if nothing is missing."""
        missing = cls.module and importlib.util.find_spec(cls.module) is None
        return f"{cls.distribution} is not installed" if missing else ""

    @classmethod
    def version(cls) -> str:
        return metadata.version(cls.distribution)

    @classmethod
    def offers(cls, work: str) -> bool:
        return getattr(cls, work) is not getattr(Peer, work)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stack.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stack.close()

    def start(self) -> None:
        """Start the peer, and return when it is ready to work."""

    # -- work --------------------------------------------------------------------------------------
    def functions(self, count: int) -> Iterable[int]:
        """Compute same(0) to same(count - 1), each as a task of its own. All are submitted at once.
        Return the results in order."""
        raise NotImplementedError

    def call(self, x: int) -> int:
        """Compute same(x) alone."""
        raise NotImplementedError

    def chain(self, length: int) -> int:
        """Compute inc(inc(...inc(0))). Each task depends on the task before it, and all are
        submitted before the first result is requested."""
        raise NotImplementedError

    def blobs(self, count: int, size: int) -> Iterable[bytes]:
        """Yield blob(0, size) to blob(count - 1, size), in any order. No blob is kept after it was
        yielded."""
        raise NotImplementedError

    def scripts(self, script: Path, count: int) -> float | None:
        """Run a Python script this number of times. Raises if one of them fails. Return the seconds
        that it took, if only the peer can measure them."""
        raise NotImplementedError

    def processes(self, count: int) -> float | None:
        """Run the program `true` this number of times, like `scripts`."""
        raise NotImplementedError

    def script(self, script: Path) -> None:
        """Run a Python script once."""
        raise NotImplementedError


def stop(process: subprocess.Popen[bytes], patience_s: float = 5.0) -> None:
    """Stop a process by SIGTERM, and by SIGKILL if it does not end in time."""
    process.terminate()
    try:
        process.wait(patience_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def await_true(condition: Callable[[], Any], patience_s: float = 60.0) -> None:
    until = time.monotonic() + patience_s
    while not condition():
        if time.monotonic() > until:
            raise TimeoutError("it was not ready in time")
        time.sleep(0.02)
