"""Sharing of a private cluster by several `titan run` in one home.

The first `titan run` starts the cluster; those that come while it runs join it. Each has a shared
lock on the file `users` of the home. At its end the one that started the cluster stops it if nobody
else has the lock. Otherwise it passes the cluster on to a process that waits until the others are
gone, and ends itself. The kernel releases the locks of a process that dies.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import click

from titan.cli.spawning import FIRST_PAUSE_S, MAX_RESTARTS, spawn_server
from titan.host.privacy import open_home

NOTICE_S = 1.0


class SharedHome:
    """Lock of a command that uses the private cluster of a home."""

    def __init__(self, home: Path) -> None:
        """Take the lock. Waits while another process stops a cluster there. Raises
        EnvironmentFault."""
        open_home(home)
        self.home = home
        self._fd = os.open(home / "users", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        with _notice(f"titan: waiting for the cluster in {home} to stop"):
            fcntl.flock(self._fd, fcntl.LOCK_SH)

    @contextmanager
    def starting(self) -> Iterator[None]:
        """Let one process at a time find out whether a master runs, and start one."""
        fd = os.open(self.home / "starting", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            with _notice(f"titan: waiting for another command that starts a cluster in {self.home}, or reads it"):
                fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)

    def take_alone(self) -> bool:
        """Return whether no other process uses the cluster. Then nobody can join it any more, until
        `close`."""
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


@contextmanager
def _notice(text: str) -> Iterator[None]:
    """Print a line if the block takes longer than a second."""
    timer = threading.Timer(NOTICE_S, lambda: print(text, file=sys.stderr, flush=True))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


class PassedWorker(NamedTuple):
    """A worker of a cluster that is passed on."""

    name: str
    pid: int
    options: list[str]
    """Its command line, behind `titan worker`."""


def pass_on(home: Path, holds: Sequence[int], outputs: Sequence[int], workers: Sequence[PassedWorker]) -> None:
    """Start a process that keeps the cluster of a home until its users are gone, and starts killed
    workers again. `holds` are the pipes whose end stops the cluster's processes; `outputs` are the
    ends of their stderr."""
    fds = ("--holds", _joined(holds), "--outputs", _joined(outputs))
    command = [sys.executable, "-m", "titan", "linger", str(home), *fds, "--workers", json.dumps(workers)]
    null: Any = subprocess.DEVNULL
    subprocess.Popen(command, stdin=null, stdout=null, stderr=null, pass_fds=(*holds, *outputs), start_new_session=True)


def _joined(fds: Sequence[int]) -> str:
    return ",".join(map(str, fds))


@click.command(hidden=True)
@click.argument("home", type=click.Path(path_type=Path))
@click.option("--holds", required=True)
@click.option("--outputs", default="")
@click.option("--workers", default="[]")
def linger(home: Path, holds: str, outputs: str, workers: str) -> None:
    """Keep the private cluster of a home until no `titan run` uses it."""
    for text in filter(None, outputs.split(",")):
        threading.Thread(target=_drain, args=(int(text),), daemon=True).start()
    held = [int(text) for text in holds.split(",")]
    for worker in json.loads(workers):
        threading.Thread(target=_keep_alive, args=(home, PassedWorker(*worker), held), daemon=True).start()
    users = os.open(home / "users", os.O_RDWR | os.O_CLOEXEC)
    fcntl.flock(users, fcntl.LOCK_EX)
    for fd in held:
        os.close(fd)
    with contextlib.suppress(OSError):  # a new cluster may start when the master has released the home
        lock = os.open(home / "lock", os.O_RDONLY | os.O_CLOEXEC)
        fcntl.flock(lock, fcntl.LOCK_SH)


def _keep_alive(home: Path, worker: PassedWorker, held: list[int]) -> None:
    """Start a worker again each time it was killed, up to `MAX_RESTARTS` times. One that was
    drained or stopped has left, and stays away."""
    pid = worker.pid
    for restarts in range(MAX_RESTARTS):
        with contextlib.suppress(ProcessLookupError):
            fd = os.pidfd_open(pid)
            select.select([fd], [], [])
            os.close(fd)
        time.sleep(FIRST_PAUSE_S * 2**restarts)
        if _has_left(home, worker.name):
            return
        process, ready, hold = spawn_server(["worker", *worker.options, "--quiet"])
        held.append(hold)
        os.close(ready)
        assert process.stderr is not None
        threading.Thread(target=_drain, args=(process.stderr.fileno(),), daemon=True).start()
        pid = process.pid


def _has_left(home: Path, worker: str) -> bool:
    """Return whether a worker has left its master, or no master runs any more."""
    from titan.errors import TitanError
    from titan.sdk.address import address_of_home
    from titan.sdk.client import Client

    address = address_of_home(home)
    if not address:
        return True
    try:
        with Client(address, patience_s=1.0) as client:
            return all(row.state == "LEFT" for row in client.workers() if row.name == worker)
    except TitanError:
        return True


def _drain(fd: int) -> None:
    with contextlib.suppress(OSError):
        while os.read(fd, 65536):
            pass
