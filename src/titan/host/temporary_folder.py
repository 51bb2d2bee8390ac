"""Temporary folders that nothing leaves behind, kill -9 included.

All temporary folders of a user are entries of one folder, `titan-UID` in the folder for temporary
files. A process holds a lock on each entry that it made, and the kernel releases the lock when the
process ends in any way. So an entry without a lock belongs to nobody, and the next process of the
user that makes an entry removes it. The lock also keeps systemd-tmpfiles away.
"""

from __future__ import annotations

import fcntl
import os
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from titan.host.remove_folder import remove_folder

SWEEP_S = 1.0
"""Time after which a process leaves the other dead entries to the next one."""
SHORT_BYTES = 60
"""Longest path of the folder for temporary files that leaves room for the path of a socket, of at
most 107 bytes."""
_TRIES = 100
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class TemporaryFolder:
    """An empty folder with mode 0700, until `close` or the end of the process.

    With `short`, the path has at most 90 bytes, so that a socket in it can be connected. Raises
    OSError. Must be closed.
    """

    def __init__(self, *, short: bool = False) -> None:
        folder = tempfile.gettempdir()
        if short and len(os.fsencode(folder)) > SHORT_BYTES:
            folder = "/tmp"
        for _ in range(_TRIES):
            try:
                self.path, self._lock = _make(folder)
                return
            except (FileNotFoundError, BlockingIOError):  # another process took the entry for one of an ended process
                os.stat(folder)
        raise BlockingIOError(f"no temporary folder can be made in {folder}: other processes remove it at once")

    def close(self) -> None:
        """Remove the folder, as far as this is possible. May be called twice."""
        if self._lock >= 0:
            remove_folder(self.path, ignore_errors=True)
            os.close(self._lock)
            self._lock = -1


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """Make a folder for the duration of the context. A folder that cannot be removed is left to a
    later process."""
    folder = TemporaryFolder()
    try:
        yield folder.path
    finally:
        folder.close()


def _make(folder: str) -> tuple[Path, int]:
    """Return a new entry and the descriptor that holds its lock. Raises FileNotFoundError or
    BlockingIOError if another process removed or locked the entry meanwhile."""
    shared = os.path.join(folder, f"titan-{os.geteuid()}")
    if _is_own(shared):
        _sweep(shared)
        path = tempfile.mkdtemp(prefix="", dir=shared)
    else:  # the folder belongs to another user, who must not be able to stop this process
        path = tempfile.mkdtemp(prefix="titan-", dir=folder)
    lock = os.open(path, _FOLDER)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(lock).st_ino != os.lstat(path).st_ino:
            raise FileNotFoundError(path)
    except OSError:
        os.close(lock)
        raise
    return Path(path), lock


def _is_own(shared: str) -> bool:
    """Make the user's folder if it is missing. Return whether nobody else can write into it."""
    with suppress(FileExistsError):
        os.mkdir(shared, 0o700)
    status = os.lstat(shared)
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid() and not status.st_mode & 0o077


def _sweep(shared: str) -> None:
    """Remove the entries whose processes have ended."""
    give_up = time.monotonic() + SWEEP_S
    for name in os.listdir(shared):
        path = os.path.join(shared, name)
        with suppress(OSError):
            lock = os.open(path, _FOLDER)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                remove_folder(path, ignore_errors=True)
            finally:
                os.close(lock)
        if time.monotonic() > give_up:
            return
