"""A cluster of this machine: a master and workers as child processes that never outlive this one."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType, MappingProxyType, TracebackType
from typing import NamedTuple, Self

from titan.errors import Conflict, EnvironmentFault, PortInUse
from titan.private import hand_on

START_S = 60.0
STOP_S = 10.0


class _Child(NamedTuple):
    process: subprocess.Popen[bytes]
    hold: int
    """The write end of its pipe."""


class LocalCluster:
    """`with LocalCluster(home) as cluster:` — `cluster.address` is the master's.

    Each child holds the read end of a pipe whose write end is here: it stops when this process ends, however that ends.
    """

    def __init__(
        self,
        home: Path,
        *,
        port: int = 0,
        workers: int = 1,
        slots: int | None = None,
        fsync: str = "always",
        quiet: bool = True,
        settings: Mapping[str, float] = MappingProxyType({}),
        scale: Sequence[str] = (),
        webhook_allow: Sequence[str] = (),
    ) -> None:
        self.home = home
        self.address = ""
        self._port = port
        self._workers = workers
        self._slots = slots
        self._fsync = fsync
        self._quiet = quiet
        self._settings = [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]
        self._settings += [word for rule in scale for word in ("--scale", rule)]
        self._settings += [word for rule in webhook_allow for word in ("--webhook-allow", rule)]
        self._master: list[_Child] = []
        self._working: list[_Child] = []

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def start(self) -> None:
        """Returns when the master listens and the workers are under way. Raises Conflict, PortInUse, EnvironmentFault."""
        try:
            options = ["--home", str(self.home), "--port", str(self._port), "--fsync", self._fsync, *self._settings]
            self.address = self._launch("master", options)
            for n in range(1, self._workers + 1):
                more = ["--slots", str(self._slots)] if self._slots else []
                name = f"w{n}"
                folders = ["--home", str(self.home / "workers" / name), "--shared", str(self.home / "shared")]
                self._launch("worker", ["--master", self.address, "--name", name, *folders, *more])
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """The workers kill what runs and hand it back, then the master ends. Bounded: some 10 s, then by SIGKILL."""
        until = time.monotonic() + STOP_S
        for children in (self._working, self._master):
            for child in children:
                os.close(child.hold)
            for child in children:
                try:
                    child.process.wait(max(0.1, until - time.monotonic()))
                except subprocess.TimeoutExpired:
                    child.process.kill()
                    child.process.wait()
            children.clear()

    @property
    def processes(self) -> list[subprocess.Popen[bytes]]:
        """The master's, then the workers'."""
        return [child.process for child in (*self._master, *self._working)]

    def wait(self) -> int:
        """Until one of the processes ends; returns its exit code."""
        fds = {os.pidfd_open(process.pid): process for process in self.processes}
        try:
            ready, _, _ = select.select(list(fds), [], [])
            return fds[ready[0]].wait()
        finally:
            for fd in fds:
                os.close(fd)

    def _launch(self, role: str, options: list[str]) -> str:
        held, hold = os.pipe()
        ready, told = os.pipe()
        quiet = ["--quiet"] if self._quiet else []
        command = [sys.executable, "-m", "titan", role, *options, *quiet, "--parent-fd", str(held), "--ready-fd", str(told)]
        keys, fds = hand_on() if role == "master" else ({}, ())  # they are nothing for what runs jobs
        process = subprocess.Popen(
            command,
            env={**os.environ, **keys},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            pass_fds=(held, told, *fds),
            process_group=0,
        )
        for fd in (told, held, *fds):
            os.close(fd)
        (self._master if role == "master" else self._working).append(_Child(process, hold))
        try:
            return self._await_ready(role, process, ready)
        finally:
            os.close(ready)

    def _await_ready(self, role: str, process: subprocess.Popen[bytes], ready: int) -> str:
        assert process.stderr is not None
        readable, _, _ = select.select([ready], [], [], START_S)
        told = os.read(ready, 4096).decode().strip() if readable else ""
        if told:
            _forward(process)
            return told
        if not readable:
            raise EnvironmentFault(f"the {role} was not ready within {START_S:g} s")
        code = process.wait()
        said = process.stderr.read().decode(errors="replace").strip()
        log, _, words = said.rpartition("titan: ") if said.rpartition("\n")[2].startswith("titan: ") else (said, "", "")
        if log:
            print(log.rstrip(), file=sys.stderr)
        if "is in use by the process" in words:
            raise Conflict(words)
        if "is in use by another program" in words:
            raise PortInUse(words)
        raise EnvironmentFault(words or f"the {role} ended with code {code}")


def interrupt_on_sigterm() -> None:
    """From now on SIGTERM ends this process as Ctrl-C does: what it started is stopped first."""

    def on_term(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, on_term)


def _forward(process: subprocess.Popen[bytes]) -> None:
    """What the child says from now on goes to this process's stderr."""
    import threading

    def copy() -> None:
        assert process.stderr is not None
        for line in process.stderr:
            with contextlib.suppress(OSError, ValueError):
                sys.stderr.write(line.decode(errors="replace"))
                sys.stderr.flush()

    threading.Thread(target=copy, daemon=True).start()
