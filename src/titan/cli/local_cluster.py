"""A cluster of this machine: a master and workers as child processes that never outlive this one."""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from titan.errors import Conflict, EnvironmentFault, PortInUse

START_S = 60.0
STOP_S = 10.0


class LocalCluster:
    """`with LocalCluster(home) as cluster:` — `cluster.address` is the master's.

    The children hold the read end of a pipe whose write end is here: they stop when this process ends, however it ends.
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
    ) -> None:
        self.home = home
        self.address = ""
        self._port = port
        self._workers = workers
        self._slots = slots
        self._fsync = fsync
        self._quiet = quiet
        self._processes: list[subprocess.Popen[bytes]] = []
        self._hold = -1

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def start(self) -> None:
        """Returns when the master listens and the workers are under way. Raises Conflict, PortInUse, EnvironmentFault."""
        held, self._hold = os.pipe()
        try:
            self.address = self._launch(
                "master", ["--home", str(self.home), "--port", str(self._port), "--fsync", self._fsync], held
            )
            for n in range(1, self._workers + 1):
                more = ["--slots", str(self._slots)] if self._slots else []
                name = f"w{n}"
                self._launch(
                    "worker",
                    ["--master", self.address, "--home", str(self.home / "workers" / name), "--name", name, *more],
                    held,
                )
        except BaseException:
            self.stop()
            raise
        finally:
            os.close(held)

    def stop(self) -> None:
        """The workers kill what runs and hand it back, then the master ends. Bounded: some 10 s, then by SIGKILL."""
        if self._hold >= 0:
            os.close(self._hold)
            self._hold = -1
        until = time.monotonic() + STOP_S
        for process in reversed(self._processes):
            try:
                process.wait(max(0.1, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._processes.clear()

    def wait(self) -> int:
        """Until one of the processes ends; returns its exit code."""
        fds = {os.pidfd_open(p.pid): p for p in self._processes}
        try:
            ready, _, _ = select.select(list(fds), [], [])
            return fds[ready[0]].wait()
        finally:
            for fd in fds:
                os.close(fd)

    def _launch(self, role: str, options: list[str], held: int) -> str:
        ready, told = os.pipe()
        quiet = ["--quiet"] if self._quiet else []
        command = [sys.executable, "-m", "titan", role, *options, *quiet, "--parent-fd", str(held), "--ready-fd", str(told)]
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=None if not self._quiet else subprocess.PIPE,
            pass_fds=(held, told),
            process_group=0,
        )
        os.close(told)
        self._processes.append(process)
        try:
            return self._await_ready(role, process, ready)
        finally:
            os.close(ready)

    def _await_ready(self, role: str, process: subprocess.Popen[bytes], ready: int) -> str:
        readable, _, _ = select.select([ready], [], [], START_S)
        said = os.read(ready, 4096).decode().strip() if readable else ""
        if said:
            if process.stderr is not None:
                _forward(process)
            return said
        if not readable:
            raise EnvironmentFault(f"the {role} was not ready within {START_S:g} s")
        code = process.wait()
        words = process.stderr.read().decode(errors="replace").strip().removeprefix("titan: ") if process.stderr else ""
        words = words or f"the {role} ended with code {code}"
        if "is in use by the process" in words:
            raise Conflict(words)
        if "is in use by another program" in words:
            raise PortInUse(words)
        raise EnvironmentFault(words)


def _forward(process: subprocess.Popen[bytes]) -> None:
    """What the child says from now on goes to this process's stderr."""
    import threading

    def copy() -> None:
        assert process.stderr is not None
        for line in process.stderr:
            with contextlib.suppress(OSError, ValueError):
                sys.stderr.buffer.write(line)
                sys.stderr.flush()

    threading.Thread(target=copy, daemon=True).start()
