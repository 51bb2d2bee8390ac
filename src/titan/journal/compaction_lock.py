"""One compaction per journal, and none while a start replays.

Owns the lock file in the journal's directory and the identity of its holder. It must not know
snapshots or segments. The kernel drops the lock with its holder, however that ends. The file is
never deleted, as deleting it would let two processes lock two files of one name.

A compactor prunes, so it holds the lock from before it reads until it has pruned. A start takes the
lock before it looks at the directory: then nothing vanishes while it replays.
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
"""A compactor whose master was killed is killed too. What is left of one gets so long to end before
it is killed again."""
KILL_S = 10.0
_POLL_S = 0.01


class Holder(NamedTuple):
    """A process, beyond doubt: a pid is given out again, a pid with its time of birth is not."""

    pid: int
    birth: str
    """In clock ticks since the machine started, as /proc says it."""
    module: str
    """What it runs: a holder whose command line does not name this is not killed."""

    def __str__(self) -> str:
        return f"{self.pid} {self.birth} {self.module}"


class CompactionLock:
    """An exclusive lock on `directory`, which must exist. Not inherited over exec.

    `module` is what the command line of this process names, if it may be killed by a start that
    finds it in the way.
    """

    def __init__(self, directory: Path, *, module: str = "-") -> None:
        self.path = directory / LOCK_NAME
        self._module = module
        self._fd = -1

    def take(self) -> None:
        """Raises Conflict if another process has it."""
        if not self._try():
            raise Conflict(f"{self.path.parent} is being compacted by {self._described()}: try again when that has ended")

    def take_over(self, patience_s: float = PATIENCE_S) -> None:
        """Waits `patience_s` for the holder to end, then kills it, if it is a compactor beyond
        doubt.

        Raises EnvironmentFault if it is something else, or does not end.
        """
        if self._wait(patience_s):
            return
        holder = self._holder()
        if holder is None or not _kill(holder):
            raise EnvironmentFault(
                f"{self.path} is held by {self._described()}, which is no compaction of Titan: end that process, then start again"
            )
        if not self._wait(KILL_S):
            raise EnvironmentFault(
                f"{self.path} is still held by {self._described()}, {KILL_S:g} s after SIGKILL: see to the disk that it waits for"
            )

    def release(self) -> None:
        """May be called twice."""
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
        return f"the process with pid {holder.pid}" if holder else "a process that did not say which it is"


def _kill(holder: Holder) -> bool:
    """Kills exactly that process and waits for its end. False if it is not, or not provably, the
    one that wrote its name."""
    try:
        # from here on the pid cannot be given to another process
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
    """Field 22 of /proc/PID/stat; "" if there is no such process."""
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
