"""A cluster on this machine: a master and workers as child processes that never outlive this one.

`watch` restarts a worker that was killed or that ended with an error, but not a worker that was
drained or stopped. The pause before a restart doubles each time. After `MAX_RESTARTS` restarts in a
row the worker is given up. These events are reported on stderr.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, NamedTuple, Self

from titan.cli.prefork import Adopted, ForkedServers, Process, await_end, open_pidfd
from titan.errors import Conflict, EnvironmentFault, PortInUse, TitanError
from titan.host.privacy import hand_on

START_S = 60.0
STOP_S = 10.0
MAX_RESTARTS = 5
"""Restarts of a worker in a row, at most."""
FIRST_PAUSE_S = 0.5
STEADY_S = 30.0
"""A worker that has run for this long counts its restarts from zero again."""


class _Child(NamedTuple):
    process: Process
    hold: int
    """The write end of the pipe whose end-of-file stops the child."""


class PassedProcess(NamedTuple):
    """A process of a cluster that is passed on, with the descriptors that belong to it."""

    pid: int
    hold: int
    stderr: int
    name: str = ""
    """Name of a worker; "" for the master."""
    options: list[str] = []
    """Command line of a worker, behind `titan worker`."""


class _Worker:
    """A worker of the cluster, across restarts of its process."""

    def __init__(self, name: str, options: list[str]) -> None:
        self.name = name
        self.options = options
        self.child: _Child | None = None
        self.began = 0.0
        self.restarts = 0
        """Restarts in a row."""
        self.due: float | None = None
        """Time of the next restart, None if none is planned."""


class LocalCluster:
    """A cluster as a context manager: `with LocalCluster(home) as cluster:`.

    `cluster.address` is the address of the master. Each child holds the read end of a pipe, and
    this process holds the write end. A child therefore stops when this process ends, however it
    ends.
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
        worker_options: Sequence[str] = (),
        forks: ForkedServers | None = None,
    ) -> None:
        """Set up a cluster. `worker_options`: further options of each `titan worker`. `forks` are
        used for the first start of each process."""
        self._worker_options = list(worker_options)
        self._forks = forks
        self.home = home
        self.address = ""
        self._port = port
        self._worker_count = workers
        self._slots = slots
        self._fsync = fsync
        self._quiet = quiet
        self._settings = [argument for name, value in settings.items() for argument in ("--set", f"{name}={value}")]
        self._settings += [argument for rule in scale for argument in ("--scale", rule)]
        self._settings += [argument for rule in webhook_allow for argument in ("--webhook-allow", rule)]
        self._master: list[_Child] = []
        self._worker_children: list[_Child] = []
        self._workers: list[_Worker] = []
        self._stopping = False
        self._watcher: threading.Thread | None = None
        self._woken, self._wake = -1, -1

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def start(self) -> None:
        """Start the master and the workers; return once all of them are ready.

        Raises Conflict, PortInUse, EnvironmentFault.
        """
        try:
            options = ["--home", str(self.home), "--port", str(self._port), "--fsync", self._fsync, *self._settings]
            self.address = self._launch("master", options)
            for n in range(1, self._worker_count + 1):
                slots = ["--slots", str(self._slots)] if self._slots else []
                name = f"w{n}"
                folders = ["--home", str(self.home / "workers" / name), "--shared", str(self.home / "shared")]
                worker = _Worker(name, ["--master", self.address, "--name", name, *folders, *slots, *self._worker_options])
                self._workers.append(worker)
                self._begin(worker)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop the workers, which kill their jobs and hand them back; then stop the master.

        A process that has not ended after about 10 s gets SIGKILL.
        """
        until = time.monotonic() + STOP_S
        self._end_watch()
        for children in (self._worker_children, self._master):
            for child in children:
                os.close(child.hold)
            for child in children:
                if child.process.returncode is None and not await_end(child.process.pid, max(0.1, until - time.monotonic())):
                    child.process.kill()
                child.process.wait()
            children.clear()

    def _end_watch(self) -> None:
        self._stopping = True
        if self._watcher is not None:
            os.close(self._wake)
            self._watcher.join()  # waits at most for the start of one worker
            self._watcher = None
            os.close(self._woken)

    # -- passing it on -----------------------------------------------------------------------------
    def pass_on(self) -> None:
        """Give the running cluster to a new process, `titan linger`, which adopts it."""
        self._end_watch()
        (master,) = self._master
        passed = [_passed(master)]
        passed += [
            _passed(worker.child)._replace(name=worker.name, options=worker.options) for worker in self._workers if worker.child
        ]
        null: Any = subprocess.DEVNULL
        subprocess.Popen(
            [sys.executable, "-m", "titan", "linger", str(self.home), self.address, json.dumps(passed)],
            stdin=null,
            stdout=null,
            stderr=null,
            pass_fds=[fd for process in passed for fd in (process.hold, process.stderr)],
            start_new_session=True,
        )
        for process in passed:
            os.close(process.hold)
        self._master.clear()
        self._worker_children.clear()

    @classmethod
    def adopt(cls, home: Path, address: str, passed: Sequence[PassedProcess], has_left: Callable[[str], bool]) -> Self:
        """Return a running cluster that another process has passed on to this one.

        `has_left(name)`: the worker has left its master, and has not just ended.
        """
        cluster = cls(home)
        cluster.address = address
        for process in passed:
            adopted = Adopted(process.pid, open(process.stderr, "rb"), partial(has_left, process.name))
            child = _Child(adopted, process.hold)
            _forward_stderr(adopted)
            if not process.name:
                cluster._master.append(child)
                continue
            worker = _Worker(process.name, process.options)
            worker.child, worker.began = child, time.monotonic()
            cluster._worker_children.append(child)
            cluster._workers.append(worker)
        return cluster

    @property
    def processes(self) -> list[Process]:
        """The process of the master, then those of the workers."""
        return [child.process for child in (*self._master, *self._worker_children)]

    # -- while it runs -----------------------------------------------------------------------------
    def watch_in_thread(self, on_end: Callable[[str], None]) -> None:
        """Call `watch` in a separate thread until `stop`.

        If the cluster fails meanwhile, that thread calls `on_end` once, with the reason.
        """
        self._woken, self._wake = os.pipe()

        def watch() -> None:
            why = self.watch(needs_workers=True)
            if why:
                on_end(why)

        self._watcher = threading.Thread(target=watch, name="cluster", daemon=True)
        self._watcher.start()

    def watch(self, *, needs_workers: bool = False) -> str:
        """Restart workers until the cluster fails; return the reason, "" if `stop` was called.

        The cluster fails when the master ends or, with `needs_workers`, when no worker is left.
        """
        reported = False
        while True:
            ended = self._await_end(min((w.due for w in self._workers if w.due is not None), default=None))
            if self._stopping:
                return ""
            if self._master[0].process in ended:
                return f"the master {_end_text(self._master[0].process)}"
            for worker in self._workers:
                if worker.child is not None and worker.child.process in ended:
                    self._on_worker_ended(worker)
                if worker.due is not None and worker.due <= time.monotonic():
                    self._restart(worker)
            if self._workers and all(worker.child is None and worker.due is None for worker in self._workers):
                if needs_workers:
                    return "no worker is left"
                if not reported:
                    reported = True
                    _print_notice(
                        f"no worker is left: jobs wait for a new one (titan worker --master {self.address})."
                        " Ctrl-C stops the cluster."
                    )

    def _await_end(self, due: float | None) -> list[Process]:
        """Wait for a process to end, the time `due`, or `stop`; return the ended processes."""
        processes = [child.process for child in (*self._master, *[w.child for w in self._workers if w.child is not None])]
        opened = [(open_pidfd(process.pid), process) for process in processes]
        fds = {fd: process for fd, process in opened if fd is not None}
        woken = [self._woken] if self._woken >= 0 else []
        try:
            if len(fds) < len(processes):
                return [process for fd, process in opened if fd is None]
            ready, _, _ = select.select([*fds, *woken], [], [], None if due is None else max(0.0, due - time.monotonic()))
            return [fds[fd] for fd in ready if fd in fds]
        finally:
            for fd in fds:
                os.close(fd)

    def _on_worker_ended(self, worker: _Worker) -> None:
        child, worker.child = worker.child, None
        assert child is not None
        code = child.process.wait()
        self._worker_children.remove(child)
        os.close(child.hold)
        if code == 0:
            _print_notice(f"worker {worker.name} has left after a drain or a stop: it is not started again")
            return
        if time.monotonic() - worker.began >= STEADY_S:
            worker.restarts = 0
        self._plan_restart(worker, f"worker {worker.name} {_end_text(child.process)}")

    def _plan_restart(self, worker: _Worker, reason: str) -> None:
        if worker.restarts >= MAX_RESTARTS:
            _print_notice(f"{reason}: worker {worker.name} is not started again, after {MAX_RESTARTS} times in a row")
            return
        pause_s = FIRST_PAUSE_S * 2**worker.restarts
        worker.due = time.monotonic() + pause_s
        worker.restarts += 1
        _print_notice(f"{reason}: it is started again in {pause_s:g} s; its jobs go back to the queue")

    def _restart(self, worker: _Worker) -> None:
        worker.due = None
        try:
            self._begin(worker)
        except TitanError as error:
            self._plan_restart(worker, f"worker {worker.name} did not start ({error})")
        else:
            _print_notice(f"worker {worker.name} is started again")

    def _begin(self, worker: _Worker) -> None:
        """Start the worker's process. Raises TitanError."""
        worker.began = time.monotonic()
        try:
            self._launch("worker", worker.options)
        except TitanError:
            child = self._worker_children.pop()
            os.close(child.hold)
            child.process.kill()
            child.process.wait()
            raise
        worker.child = self._worker_children[-1]

    def _launch(self, role: str, options: list[str]) -> str:
        quiet = ["--quiet"] if self._quiet else []
        arguments = [role, *options, *quiet]
        waiting = self._forks.take(role) if self._forks is not None else None
        if waiting is not None:
            process: Process = waiting.process
            ready, hold = waiting.ready, waiting.hold
            waiting.begin([*arguments, "--parent-fd", str(waiting.parent_fd), "--ready-fd", str(waiting.ready_fd)])
        else:
            process, ready, hold = _spawn(arguments)
        (self._master if role == "master" else self._worker_children).append(_Child(process, hold))
        try:
            return self._await_ready(role, process, ready)
        finally:
            os.close(ready)

    def _await_ready(self, role: str, process: Process, ready: int) -> str:
        assert process.stderr is not None
        readable, _, _ = select.select([ready], [], [], START_S)
        address = os.read(ready, 4096).decode().strip() if readable else ""
        if address:
            _forward_stderr(process)
            return address
        if not readable:
            raise EnvironmentFault(f"the {role} was not ready within {START_S:g} s")
        code = process.wait()
        output = process.stderr.read().decode(errors="replace").strip()
        has_error = output.rpartition("\n")[2].startswith("titan: ")
        log, _, error = output.rpartition("titan: ") if has_error else (output, "", "")
        if log:
            print(log.rstrip(), file=sys.stderr)
        if "is in use by the process" in error:
            raise Conflict(error)
        if "is in use by another program" in error:
            raise PortInUse(error)
        raise EnvironmentFault(error or f"the {role} ended with code {code}")


def _spawn(arguments: list[str]) -> tuple[Process, int, int]:
    """Start `titan` in a fresh interpreter.

    Returns the process, the read end of the ready pipe and the write end of the hold pipe.
    """
    held, hold = os.pipe()
    ready, ready_out = os.pipe()
    command = [sys.executable, "-m", "titan", *arguments, "--parent-fd", str(held), "--ready-fd", str(ready_out)]
    # workers must not get the keys, since they run jobs
    keys, fds = hand_on() if arguments[0] == "master" else ({}, ())
    process = subprocess.Popen(
        command,
        env={**os.environ, **keys},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        pass_fds=(held, ready_out, *fds),
        process_group=0,
    )
    for fd in (ready_out, held, *fds):
        os.close(fd)
    return process, ready, hold


def _passed(child: _Child) -> PassedProcess:
    assert child.process.stderr is not None
    return PassedProcess(child.process.pid, child.hold, child.process.stderr.fileno())


def _end_text(process: Process) -> str:
    """Return a text on how an ended process has ended."""
    code = process.wait()
    if code >= 0:
        return f"ended with code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"


def _print_notice(text: str) -> None:
    print(f"titan: {text}", file=sys.stderr, flush=True)


def _forward_stderr(process: Process) -> None:
    """Copy the child's stderr to this process's stderr from now on."""

    def copy() -> None:
        assert process.stderr is not None
        for line in process.stderr:
            with contextlib.suppress(OSError, ValueError):
                sys.stderr.write(line.decode(errors="replace"))
                sys.stderr.flush()

    threading.Thread(target=copy, daemon=True).start()
