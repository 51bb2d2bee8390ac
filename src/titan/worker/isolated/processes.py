"""Functions that find processes in /proc and kill them. With them the warden and the worker kill
all processes that a job left.

Part of the warden. Like the warden it imports nothing of Titan.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Iterable, Mapping
else:
    import _signal as signal

PR_SET_CHILD_SUBREAPER = 36
STAT_BYTES = 4096


class Process:
    """Process, read from /proc/PID/stat. `born_ticks` is its start time, counted from boot. Two
    processes that had the same pid differ in it."""

    __slots__ = ("born_ticks", "group", "parent", "pid", "session", "state")

    def __init__(self, pid: int, stat: bytes) -> None:
        # The name before the state may contain blanks and parentheses.
        fields = stat[stat.rindex(b")") + 2 :].split(None, 20)
        self.pid = pid
        self.state = fields[0]
        self.parent, self.group, self.session = int(fields[1]), int(fields[2]), int(fields[3])
        self.born_ticks = int(fields[19])

    @property
    def alive(self) -> bool:
        return self.state not in (b"Z", b"X")


def read_process(pid: int) -> Process | None:
    try:
        fd = os.open(f"/proc/{pid}/stat", os.O_RDONLY)
    except OSError:
        return None
    try:
        return Process(pid, os.read(fd, STAT_BYTES))
    except (OSError, ValueError):  # the process ended meanwhile
        return None
    finally:
        os.close(fd)


def scan_processes() -> dict[int, Process]:
    """Return every process of this pid namespace by its pid. The scan takes about 15 microseconds
    per process. The result is not a consistent snapshot, because processes fork during the scan."""
    found = {}
    for name in os.listdir("/proc"):
        if name.isdigit() and (process := read_process(int(name))) is not None:
            found[process.pid] = process
    return found


def children_by_parent(processes: Mapping[int, Process]) -> dict[int, list[int]]:
    children: dict[int, list[int]] = {}
    for process in processes.values():
        children.setdefault(process.parent, []).append(process.pid)
    return children


def subtree(children: Mapping[int, list[int]], root: int, spared: Iterable[int] = ()) -> list[int]:
    """Return `root` and its descendants, parents first. The processes in `spared` and their
    descendants are left out."""
    found, known = [root], {root, *spared}
    for pid in found:
        fresh = [child for child in children.get(pid, ()) if child not in known]
        known.update(fresh)
        found.extend(fresh)
    return found


def environ_value(pid: int, name: bytes) -> bytes | None:
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            entries = file.read().split(b"\0")
    except OSError:
        return None
    prefix = name + b"="
    return next((entry[len(prefix) :] for entry in entries if entry.startswith(prefix)), None)


def kill(pid: int) -> bool:
    try:
        os.kill(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def signal_group(group: int, number: int) -> bool:
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return False
    except PermissionError:  # members exist, and all belong to another user
        return True
    return True


def become_subreaper(*, on: bool = True) -> None:
    """Make this process a subreaper: orphaned descendants become its children. The setting survives
    exec, and children do not inherit it. Raises OSError."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_CHILD_SUBREAPER, int(on), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER) failed")
