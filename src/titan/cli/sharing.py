"""Sharing of a private cluster by several `titan run` in one home.

The first `titan run` starts the cluster; those that come while it runs join it. Each has a shared
lock on the file `users` of the home. At its end the one that started the cluster stops it if nobody
else has the lock. Otherwise it passes the cluster on to a process (`linger`) that waits until the
others are gone, and ends itself. The kernel releases the locks of a process that dies.
"""

from __future__ import annotations

import fcntl
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

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

    def await_others(self) -> None:
        """Wait until no other process uses the cluster. Then nobody can join it any more."""
        fcntl.flock(self._fd, fcntl.LOCK_EX)

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
