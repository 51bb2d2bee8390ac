"""Removal of control groups, with the groups that jobs created in them and the processes that are
left in them.

The kernel removes a group only if it contains neither processes nor groups. So the innermost groups
are removed first. A job can nest groups to any depth. So the walk through them keeps one descriptor
open at a time, and one pass handles at most `MOST` groups. The next pass handles the rest. No pass
waits until a killed process is gone.
"""

from __future__ import annotations

import contextlib
import os
import signal

MOST = 1000
PROCS_BYTES = 1 << 20
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def _rmdir(name: str, parent: int) -> None:
    os.rmdir(name, dir_fd=parent)


def empty(group: str | os.PathLike[str], most: int = MOST) -> int:
    """Kill the processes in a group and in the groups below it. Remove the groups below it,
    innermost first. Return the number of removed groups."""
    try:
        here = os.open(group, _FOLDER)
    except OSError:  # the group is gone
        return 0
    names: list[str] = []
    # For each level from `group` down to `here`: names of the groups that this pass cannot remove.
    stay: list[set[str]] = [set()]
    gone = 0
    try:
        _kill_all(here)
        looked = 0
        while looked < most:
            inner = _first_in(here, stay[-1])
            if inner:
                below = _opened(inner, here)
                if below < 0:
                    looked += 1
                    stay[-1].add(inner)
                    continue
                os.close(here)
                here = below
                names.append(inner)
                stay.append(set())
                # Steps down do not count towards `most`: otherwise a pass could end before it
                # reaches the innermost group, and would remove no group.
                _kill(here)
            elif names:
                above = os.open("..", _FOLDER, dir_fd=here)
                os.close(here)
                here = above
                name = names.pop()
                stay.pop()
                looked += 1
                try:
                    _rmdir(name, here)
                    gone += 1
                except OSError:
                    stay[-1].add(name)
            else:
                break
    finally:
        os.close(here)
    return gone


def kill_all(group: str | os.PathLike[str]) -> None:
    """Kill the processes in a group."""
    try:
        here = os.open(group, _FOLDER)
    except OSError:
        return
    try:
        _kill_all(here)
    finally:
        os.close(here)


def _opened(name: str, parent: int) -> int:
    try:
        return os.open(name, _FOLDER, dir_fd=parent)
    except OSError:
        return -1


def _first_in(folder: int, passed: set[str]) -> str:
    """Return the name of a group in `folder` that is not in `passed`, "" if there is none."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name not in passed and entry.is_dir(follow_symlinks=False):
                return entry.name
    return ""


def _kill_all(group: int) -> None:
    """Kill the processes in a group. In version 2 from Linux 5.14 on, this also kills the processes
    in all groups below."""
    with contextlib.suppress(OSError):
        fd = os.open("cgroup.kill", os.O_WRONLY | os.O_CLOEXEC, dir_fd=group)
        try:
            os.write(fd, b"1")
            return
        finally:
            os.close(fd)
    _kill(group)


def _kill(group: int) -> None:
    try:
        fd = os.open("cgroup.procs", os.O_RDONLY | os.O_CLOEXEC, dir_fd=group)
    except OSError:
        return
    try:
        pids = os.read(fd, PROCS_BYTES).split()
    except OSError:  # a threaded group, whose processes are listed in the group above it
        return
    finally:
        os.close(fd)
    for pid in pids:
        if pid.isdigit() and int(pid) not in (0, os.getpid()):
            with contextlib.suppress(OSError):
                os.kill(int(pid), signal.SIGKILL)
