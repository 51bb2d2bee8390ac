"""The folders of runs, jobs/RUN and shared/RUN: there while an attempt of the run is here, gone
with the last if it left nothing.

A worker that ran a hundred thousand runs which left nothing has no folders of them. What is not
empty stays for the sweep. The shared folder may be that of other workers of this node too: who has
attempts of a run holds a shared lock on it, and only who gets the exclusive one removes it. `tidy`
may run in a thread beside the rest.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import threading

TIDY_S = 1.0


class RunFolders:
    def __init__(self, jobs: str, shared: str) -> None:
        self._jobs, self._shared = jobs, shared
        self._lock = threading.Lock()
        self._run_of: dict[int, str] = {}
        self._users: dict[str, set[int]] = {}
        self._held: dict[str, int] = {}
        """Run -> descriptor of its shared folder, which has the lock."""
        self.idle: dict[str, None] = dict.fromkeys((*os.listdir(jobs), *os.listdir(shared)))
        """Runs that nobody uses, and whose folders may be empty."""
        self.wanted = asyncio.Event()
        """There are some."""
        if self.idle:
            self.wanted.set()

    def use(self, run: str, lease: int) -> str:
        """Its shared folder, which is there until all its attempts are `done`. Raises OSError."""
        with self._lock:
            path = f"{self._shared}/{run}"
            if run not in self._users:
                self._held[run] = _hold(path)
                with contextlib.suppress(FileExistsError):
                    os.mkdir(f"{self._jobs}/{run}")
                self._users[run] = set()
                self.idle.pop(run, None)
            self._users[run].add(lease)
            self._run_of[lease] = run
            return path

    def uses(self, run: str) -> bool:
        return run in self._users

    def done(self, lease: int) -> None:
        run = self._run_of.pop(lease, None)
        if run is None:
            return
        with self._lock:
            users = self._users[run]
            users.discard(lease)
            if not users:
                del self._users[run]
                os.close(self._held.pop(run))
                self.idle[run] = None
                self.wanted.set()

    def emptied(self, run: str) -> None:
        """What was kept in jobs/RUN has gone elsewhere."""
        if run not in self._users:
            self.idle[run] = None
            self.wanted.set()

    def tidy(self) -> None:
        """Removes what is empty of runs that nobody uses."""
        for run in list(self.idle):
            with self._lock:
                self.idle.pop(run, None)
                if run in self._users:
                    continue
                with contextlib.suppress(OSError):  # something is in it, or it is gone
                    os.rmdir(f"{self._jobs}/{run}")
                _remove_shared(f"{self._shared}/{run}")


async def keep_tidy(folders: RunFolders) -> None:
    """Until it is cancelled. It waits a moment: the next job of a run may be about to come."""
    while True:
        await folders.wanted.wait()
        await asyncio.sleep(TIDY_S)
        folders.wanted.clear()
        await asyncio.to_thread(folders.tidy)


def _hold(path: str) -> int:
    """The folder is there and this process has a lock on it. Raises OSError."""
    while True:
        with contextlib.suppress(FileExistsError):
            os.mkdir(path)
        try:
            fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        try:
            fcntl.flock(fd, fcntl.LOCK_SH)
            if os.path.samestat(os.fstat(fd), os.stat(path)):
                return fd
        except FileNotFoundError:  # it was removed between; again
            pass
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)


def _remove_shared(path: str) -> None:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.rmdir(path)
    except OSError:  # another worker uses it, or something is in it
        pass
    finally:
        os.close(fd)
