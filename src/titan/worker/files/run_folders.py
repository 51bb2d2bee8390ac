"""Folders of runs, jobs/RUN and shared/RUN. They exist while this worker has an attempt of the run.
After the last attempt they are removed if they are empty.

So runs that left no files cost no folders, even a hundred thousand of them. Folders that are not
empty stay until the hourly sweep of the worker removes them. Several workers of this node may use
the same shared/RUN. A worker with attempts of the run holds a shared lock on that folder, and a
worker removes the folder only under an exclusive lock. `tidy` may run in a thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import threading

from titan.host.remove_folder import remove_folder

TIDY_S = 1.0


class RunFolders:
    def __init__(self, jobs: str, shared: str) -> None:
        self._jobs, self._shared = jobs, shared
        self._lock = threading.Lock()
        self._run_of: dict[int, str] = {}
        self._users: dict[str, set[int]] = {}
        self._held: dict[str, int] = {}
        """run -> descriptor of its shared folder. The open descriptor holds the shared lock."""
        self.idle: dict[str, None] = dict.fromkeys((*os.listdir(jobs), *os.listdir(shared)))
        """Runs without attempts on this worker, whose folders may be empty."""
        self.wanted = asyncio.Event()
        """Set while `idle` has entries."""
        if self.idle:
            self.wanted.set()

    def use(self, run: str, lease: int) -> str:
        """Create the folders of a run for an attempt. Return the shared folder. The folders stay
        until `done` was called for all attempts of the run. Raises OSError."""
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
        """Note that a folder was moved out of jobs/RUN or removed there, so jobs/RUN may be empty
        now."""
        if run not in self._users:
            self.idle[run] = None
            self.wanted.set()

    def remove(self, path: str) -> bool:
        """Remove jobs/RUN or shared/RUN with its content. Return False if an attempt of this worker
        uses the run, or another worker uses the shared folder. May take long."""
        parent, run = os.path.split(path)
        aside = f"{parent}/.{run}.removed"
        with self._lock:
            if run in self._users or not _set_aside(path, aside):
                return False
        remove_folder(aside, ignore_errors=True)
        return True

    def tidy(self) -> None:
        """Remove the empty folders of idle runs."""
        for run in list(self.idle):
            with self._lock:
                self.idle.pop(run, None)
                if run in self._users:
                    continue
                with contextlib.suppress(OSError):  # the folder is not empty, or is gone
                    os.rmdir(f"{self._jobs}/{run}")
                _remove_shared(f"{self._shared}/{run}")


async def keep_tidy(folders: RunFolders) -> None:
    """Remove empty folders until cancelled. Each pass waits TIDY_S first, because the next job of a
    run may come soon and needs the folders."""
    while True:
        await folders.wanted.wait()
        await asyncio.sleep(TIDY_S)
        folders.wanted.clear()
        await asyncio.to_thread(folders.tidy)


def _hold(path: str) -> int:
    """Create the folder if needed and take a shared lock on it. Return its descriptor. Raises
    OSError."""
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
        except FileNotFoundError:  # the folder was removed meanwhile: try again
            pass
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)


def _set_aside(path: str, aside: str) -> bool:
    """Rename a folder that no worker uses. Return whether it was renamed."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        remove_folder(aside, ignore_errors=True)
        os.rename(path, aside)
    except OSError:
        return False
    finally:
        os.close(fd)
    return True


def _remove_shared(path: str) -> None:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.rmdir(path)
    except OSError:  # another worker uses the folder, or it is not empty
        pass
    finally:
        os.close(fd)
