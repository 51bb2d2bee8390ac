"""Free space of a file system."""

from __future__ import annotations

import os
from typing import NamedTuple


class Space(NamedTuple):
    free: int
    """Bytes that a user without rights can still write."""
    total: int


def free_space(path: str | os.PathLike[str]) -> Space:
    """Return the space of the file system of a path; 0 and 0 if it does not count space, or the
    path does not exist."""
    try:
        disk = os.statvfs(path)
    except OSError:
        return Space(0, 0)
    return Space(disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize)
