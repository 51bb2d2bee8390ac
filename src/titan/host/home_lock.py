"""Lock that allows one process per home. The kernel releases the lock when the process ends in any
way.

Owns the lock file. Must not know the other files of the home. The lock file is never deleted,
because two processes could then lock two different files of the same name.
"""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from titan.errors import Conflict

TRIES, PAUSE_S = 6, 0.01


def _take(fd: int) -> None:
    """Take an exclusive lock. Raises BlockingIOError."""
    for attempt in range(1, TRIES + 1):
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if attempt == TRIES:
                raise
            time.sleep(PAUSE_S)


def is_locked(path: Path) -> bool:
    """Return whether a process holds the lock at `path`. If no process holds the lock, this takes
    the lock for a moment."""
    try:
        fd = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(fd)
    return False


class HomeLock:
    """Exclusive lock on the file at `path`, which then contains the pid of its holder. The lock is
    not inherited over exec.

    >>> with HomeLock(home / "lock"):       # doctest: +SKIP
    ...     run_master()
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd = -1

    def acquire(self) -> None:
        """Take the lock. If another process, or another HomeLock of this process, has the lock for
        50 ms, raise Conflict with the holder's pid. The wait is needed because `is_locked` takes
        the lock for a moment."""
        if self._fd >= 0:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        fd = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            _take(fd)
            os.ftruncate(fd, 0)
            os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        except BlockingIOError:
            holder = os.pread(fd, 32, 0).decode(errors="replace").strip() or "unknown"
            os.close(fd)
            raise Conflict(
                f"{self.path.parent} is in use by the process with pid {holder}: stop it, or use another home (--home)"
            ) from None
        except BaseException:
            os.close(fd)
            raise
        self._fd = fd

    def release(self) -> None:
        """Release the lock. May be called twice."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.release()
