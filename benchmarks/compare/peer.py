"""What a peer is to the benchmark: something that is started, does some of the workloads, and is
stopped."""

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
"""Workers, slots, cores or processes that each peer has: how many things run at once."""


class Unavailable(Exception):
    """This peer would do this work, but not here. The message says why."""


class Peer:
    """A peer overrides `start` and the methods of the work it can do; a method it leaves alone is
    work it does not offer.

    `home` is an empty folder for all its files, `workload` the one that is to come. What `start`
    registers in `stack` is undone when the peer is stopped, however that comes.
    """

    title: ClassVar[str]
    distribution: ClassVar[str] = ""
    """What pip calls it, "" if nothing has to be installed."""
    module: ClassVar[str] = ""
    loopback: ClassVar[bool] = True
    """False: it listens on every address of the machine, so it is run only where it can be given a
    network of its own."""

    def __init__(self, home: Path, workload: str) -> None:
        self.home = home
        self.workload = workload
        self.stack = ExitStack()

    @classmethod
    def absent(cls) -> str:
        """What is missing here to run it; "" if nothing is."""
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
        """Returns when it is ready to work."""

    # -- work --------------------------------------------------------------------------------------
    def functions(self, count: int) -> Iterable[int]:
        """same(0) to same(count - 1), each a task of its own, all submitted at once; their results
        in order."""
        raise NotImplementedError

    def call(self, x: int) -> int:
        """same(x), alone."""
        raise NotImplementedError

    def chain(self, length: int) -> int:
        """inc(inc(...inc(0))): each task depends on the one before, and all are handed in before
        the first result is asked for."""
        raise NotImplementedError

    def blobs(self, count: int, size: int) -> Iterable[bytes]:
        """blob(0, size) to blob(count - 1, size), in any order. None is kept once it
        was given out."""
        raise NotImplementedError

    def scripts(self, script: Path, count: int) -> float | None:
        """Runs a Python script so many times. Raises if one fails. Returns the seconds it took if
        the peer alone can tell them."""
        raise NotImplementedError

    def processes(self, count: int) -> float | None:
        """Runs the program `true` so many times; the same."""
        raise NotImplementedError

    def script(self, script: Path) -> None:
        """Runs a Python script once."""
        raise NotImplementedError


def stop(process: subprocess.Popen[bytes], patience_s: float = 5.0) -> None:
    """By SIGTERM, and if that does not help in time by SIGKILL."""
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
