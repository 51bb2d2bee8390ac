"""Lock that allows one compaction per journal at a time, and none while a starting master replays.

Owns the lock file in the journal's directory and the identity of its holder. Must not know
snapshots or segments. The kernel releases the lock when its holder ends in any way. The file is
never deleted, because two processes could then lock two different files of the same name.

A compaction holds the lock from its first read until it has pruned. A starting master takes the
lock before it reads the directory, so that no file vanishes during the replay.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
import time
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from titan.errors import Conflict, EnvironmentFault

LOCK_NAME = "compaction.lock"
PATIENCE_S = 2.0
"""Seconds that a starting master waits for a compaction of the previous master before it kills the
compaction. The kernel normally kills a compaction when its master ends."""
KILL_S = 10.0
"""Seconds to wait for the end of a process after SIGKILL."""
_POLL_S = 0.01


class Holder(NamedTuple):
    """Unique identity of a process. The kernel reuses a pid, but not with the same start time."""

    pid: int
    birth: str
    """Start time in clock ticks since the boot, from /proc."""
    module: str
    """Module that the process runs. A process whose command line lacks this word is not killed."""

    def __str__(self) -> str:
        return f"{self.pid} {self.birth} {self.module}"


class CompactionLock:
    """Exclusive lock on `directory`, which must exist. The lock is not inherited over exec.

    `module`: a word in the command line of this process. With this word, a starting master that
    needs the lock may kill this process; without it, no process is killed.
    """

    def __init__(self, directory: Path, *, module: str = "-") -> None:
        self.path = directory / LOCK_NAME
        self._module = module
        self._fd = -1

    def take(self) -> None:
        """Take the lock. Raises Conflict if another process holds it."""
        if not self._try():
            raise Conflict(f"{self.path.parent} is being compacted by {self._described()}: try again when that has ended")

    def take_over(self, patience_s: float = PATIENCE_S) -> None:
        """Take the lock. Wait `patience_s` seconds for it, then kill the holder if it is provably a
        compaction.

        Raises EnvironmentFault if the holder is another program or does not end.
        """
        if self._wait(patience_s):
            return
        holder = self._holder()
        if holder is None or not _kill(holder):
            raise EnvironmentFault(
                f"{self.path} is held by {self._described()}, which is not a compaction of Titan: end that process and start again"
            )
        if not self._wait(KILL_S):
            raise EnvironmentFault(
                f"{self.path} is still held by {self._described()}, {KILL_S:g} s after SIGKILL: check the disk that it waits for"
            )

    def release(self) -> None:
        """Release the lock. May be called twice."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Self:
        if self._fd < 0:
            self.take()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.release()

    def _wait(self, patience_s: float) -> bool:
        give_up = time.monotonic() + patience_s
        while not self._try():
            if time.monotonic() >= give_up:
                return False
            time.sleep(_POLL_S)
        return True

    def _try(self) -> bool:
        fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(fd, 0)
            os.pwrite(fd, f"{Holder(os.getpid(), _birth(os.getpid()), self._module)}\n".encode(), 0)
        except BlockingIOError:
            os.close(fd)
            return False
        except BaseException:
            os.close(fd)
            raise
        self._fd = fd
        return True

    def _holder(self) -> Holder | None:
        with contextlib.suppress(OSError, ValueError):
            pid, birth, module = self.path.read_text(errors="replace").split()
            return Holder(int(pid), birth, module)
        return None

    def _described(self) -> str:
        holder = self._holder()
        return f"the process with pid {holder.pid}" if holder else "an unknown process"


def _kill(holder: Holder) -> bool:
    """Kill exactly this process and wait for its end. Return False if the process with this pid is
    not provably the holder."""
    try:
        # From here on the pid cannot be reused.
        handle = os.pidfd_open(holder.pid)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    try:
        if holder.module == "-" or _birth(holder.pid) != holder.birth or holder.module not in _command(holder.pid):
            return False
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(handle, signal.SIGKILL)
        select.select([handle], [], [], KILL_S)
        return True
    except OSError:
        return False
    finally:
        os.close(handle)


def _birth(pid: int) -> str:
    """Return field 22 of /proc/PID/stat; "" if there is no such process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    return stat[stat.rindex(")") + 2 :].split()[19]


def _command(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return []
