"""Disk space of folders, as `du` counts it."""

from __future__ import annotations

import os
import stat
from contextlib import suppress

_BLOCK = 512


def folder_bytes(path: str | os.PathLike[str]) -> int:
    """Return the bytes that a file, or a folder with its content, takes on the disk; 0 if it does
    not exist.

    Hard links are counted once. Clones are counted fully. Entries that vanish or cannot be read
    meanwhile are left out. No link is followed. May take long.
    """
    total = 0
    counted: set[tuple[int, int]] = set()
    pending = [os.fspath(path)]
    while pending:
        here = pending.pop()
        with suppress(OSError):
            status = os.lstat(here)
            if status.st_nlink > 1 and not stat.S_ISDIR(status.st_mode):
                if (status.st_dev, status.st_ino) in counted:
                    continue
                counted.add((status.st_dev, status.st_ino))
            total += status.st_blocks * _BLOCK
            if stat.S_ISDIR(status.st_mode):
                pending += [os.path.join(here, name) for name in os.listdir(here)]
    return total
