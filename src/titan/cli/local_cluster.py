"""A cluster of this machine: a master and workers as child processes that never outlive this one.

`watch` looks after them: a worker that was killed, or ended by an error, is started again; one that
left by order (drained, stopped) is not. Each start waits twice as long as the one before, and after
`STARTS` of them in a row none follows. What happens is said on stderr.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import NamedTuple, Self

from titan.cli.prefork import ForkedServers, Process, await_end
from titan.errors import Conflict, EnvironmentFault, PortInUse, TitanError
from titan.host.privacy import hand_on

START_S = 60.0
STOP_S = 10.0
STARTS = 5
"""So often in a row a worker is started again."""
FIRST_PAUSE_S = 0.5
STEADY_S = 30.0
"""A worker that ran for so long begins a new row."""


class _Child(NamedTuple):
    process: Process
    hold: int
    """The write end of its pipe."""


class _Worker:
    """One of the cluster's, over all its processes."""

    def __init__(self, name: str, options: list[str]) -> None:
        self.name = name
        self.options = options
        self.child: _Child | None = None
        self.began = 0.0
        self.starts = 0
        """Times in a row that it was started again."""
        self.due: float | None = None
        """When it is to be started again."""


class LocalCluster:
    """`with LocalCluster(home) as cluster:` — `cluster.address` is the master's.

    Each child holds the read end of a pipe whose write end is here: it stops when this process
    ends, however that ends.
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
        crew: ForkedServers | None = None,
    ) -> None:
        """`crew`: forks to use for the first start of each process."""
        self._crew = crew
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
        self._staff: list[_Worker] = []
        self._stopping = False
        self._watcher: threading.Thread | None = None
        self._woken, self._wake = -1, -1

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def start(self) -> None:
        """Returns when the master listens and the workers are under way. Raises Conflict,
        PortInUse, EnvironmentFault."""
        try:
            options = ["--home", str(self.home), "--port", str(self._port), "--fsync", self._fsync, *self._settings]
            self.address = self._launch("master", options)
            for n in range(1, self._workers + 1):
                more = ["--slots", str(self._slots)] if self._slots else []
                name = f"w{n}"
                folders = ["--home", str(self.home / "workers" / name), "--shared", str(self.home / "shared")]
                worker = _Worker(name, ["--master", self.address, "--name", name, *folders, *more])
                self._staff.append(worker)
                self._begin(worker)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """The workers kill what runs and hand it back, then the master ends. Bounded: some 10 s,
        then by SIGKILL."""
        until = time.monotonic() + STOP_S
        self._stopping = True
        if self._watcher is not None:
            os.close(self._wake)
            self._watcher.join()  # at most until a worker that is being started is up
            self._watcher = None
            os.close(self._woken)
        for children in (self._working, self._master):
            for child in children:
                os.close(child.hold)
            for child in children:
                if child.process.returncode is None and not await_end(child.process.pid, max(0.1, until - time.monotonic())):
                    child.process.kill()
                child.process.wait()
            children.clear()

    @property
    def processes(self) -> list[Process]:
        """The master's, then the workers'."""
        return [child.process for child in (*self._master, *self._working)]

    # -- while it runs -----------------------------------------------------------------------------
    def watch_beside(self, on_end: Callable[[str], None]) -> None:
        """Watches in a thread of its own until `stop`. `on_end` is called there, once, if the
        cluster can do nothing more."""
        self._woken, self._wake = os.pipe()

        def look() -> None:
            why = self.watch(needs_workers=True)
            if why:
                on_end(why)

        self._watcher = threading.Thread(target=look, name="cluster", daemon=True)
        self._watcher.start()

    def watch(self, *, needs_workers: bool = False) -> str:
        """Until the master ends, or with `needs_workers` no worker is left; says why. "": it was
        stopped meanwhile."""
        told = False
        while True:
            ended = self._await_end(min((w.due for w in self._staff if w.due is not None), default=None))
            if self._stopping:
                return ""
            if self._master[0].process in ended:
                return f"the master {_how(self._master[0].process)}"
            for worker in self._staff:
                if worker.child is not None and worker.child.process in ended:
                    self._on_worker_ended(worker)
                if worker.due is not None and worker.due <= time.monotonic():
                    self._begin_again(worker)
            if self._staff and all(worker.child is None and worker.due is None for worker in self._staff):
                if needs_workers:
                    return "no worker is left"
                if not told:
                    told = True
                    _say(
                        f"no worker is left: jobs wait until one comes (titan worker --master {self.address}). Ctrl-C stops it all."
                    )

    def _await_end(self, due: float | None) -> list[Process]:
        """Those that have ended when one has, or when it is time, or when `stop` was called."""
        processes = [child.process for child in (*self._master, *[w.child for w in self._staff if w.child is not None])]
        fds = {os.pidfd_open(process.pid): process for process in processes}
        more = [self._woken] if self._woken >= 0 else []
        try:
            ready, _, _ = select.select([*fds, *more], [], [], None if due is None else max(0.0, due - time.monotonic()))
            return [fds[fd] for fd in ready if fd in fds]
        finally:
            for fd in fds:
                os.close(fd)

    def _on_worker_ended(self, worker: _Worker) -> None:
        child, worker.child = worker.child, None
        assert child is not None
        code = child.process.wait()
        self._working.remove(child)
        os.close(child.hold)
        if code == 0:
            _say(f"worker {worker.name} has left, drained or stopped by order: it is not started again")
            return
        if time.monotonic() - worker.began >= STEADY_S:
            worker.starts = 0
        self._plan(worker, f"worker {worker.name} {_how(child.process)}")

    def _plan(self, worker: _Worker, what: str) -> None:
        if worker.starts >= STARTS:
            _say(f"{what}: worker {worker.name} is not started again, after {STARTS} times in a row")
            return
        pause_s = FIRST_PAUSE_S * 2**worker.starts
        worker.due = time.monotonic() + pause_s
        worker.starts += 1
        _say(f"{what}: it is started again in {pause_s:g} s; what it ran goes back to the queue")

    def _begin_again(self, worker: _Worker) -> None:
        worker.due = None
        try:
            self._begin(worker)
        except TitanError as error:
            self._plan(worker, f"worker {worker.name} did not start ({error})")
        else:
            _say(f"worker {worker.name} is started again")

    def _begin(self, worker: _Worker) -> None:
        """Raises TitanError."""
        worker.began = time.monotonic()
        try:
            self._launch("worker", worker.options)
        except TitanError:
            child = self._working.pop()
            os.close(child.hold)
            child.process.kill()
            child.process.wait()
            raise
        worker.child = self._working[-1]

    def _launch(self, role: str, options: list[str]) -> str:
        quiet = ["--quiet"] if self._quiet else []
        words = [role, *options, *quiet]
        waiting = self._crew.take(role) if self._crew is not None else None
        if waiting is not None:
            process: Process = waiting.process
            ready, hold = waiting.ready, waiting.hold
            waiting.begin([*words, "--parent-fd", str(waiting.parent_fd), "--ready-fd", str(waiting.ready_fd)])
        else:
            process, ready, hold = _spawn(words)
        (self._master if role == "master" else self._working).append(_Child(process, hold))
        try:
            return self._await_ready(role, process, ready)
        finally:
            os.close(ready)

    def _await_ready(self, role: str, process: Process, ready: int) -> str:
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


def _spawn(words: list[str]) -> tuple[Process, int, int]:
    """Start `titan` with a fresh interpreter; return (process, end of the ready pipe, end of the
    hold pipe)."""
    held, hold = os.pipe()
    ready, told = os.pipe()
    command = [sys.executable, "-m", "titan", *words, "--parent-fd", str(held), "--ready-fd", str(told)]
    # they are nothing for what runs jobs
    keys, fds = hand_on() if words[0] == "master" else ({}, ())
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
    return process, ready, hold


def _how(process: Process) -> str:
    """How a process ended, which it has."""
    code = process.wait()
    if code >= 0:
        return f"ended with code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"


def _say(text: str) -> None:
    print(f"titan: {text}", file=sys.stderr, flush=True)


def _forward(process: Process) -> None:
    """What the child says from now on goes to this process's stderr."""

    def copy() -> None:
        assert process.stderr is not None
        for line in process.stderr:
            with contextlib.suppress(OSError, ValueError):
                sys.stderr.write(line.decode(errors="replace"))
                sys.stderr.flush()

    threading.Thread(target=copy, daemon=True).start()
