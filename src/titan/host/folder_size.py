"""Disk space of folders, as `du` counts it."""

from __future__ import annotations

import math
import os
import stat
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_BLOCK = 512


class FolderSizes:
    """Sizes of several files and folders, in which a file with several names counts once.

    The count ends after `seconds`, or when another thread calls `stop`. Then `complete` is False,
    and sizes are too small.
    """

    def __init__(self, seconds: float = math.inf) -> None:
        self.complete = True
        self._until = time.monotonic() + seconds
        self._counted: set[tuple[int, int]] = set()

    def stop(self) -> None:
        self._until = -math.inf

    def bytes_of(self, path: str | os.PathLike[str]) -> int:
        """Return the bytes that a file, or a folder with its content, takes on the disk; 0 if it
        does not exist, or if its hard links were counted before.

        Clones are counted fully. Entries that vanish or cannot be read meanwhile are left out. No
        link is followed. May take long.
        """
        total = 0
        pending = [os.fspath(path)]
        while pending:
            if time.monotonic() > self._until:
                self.complete = False
                break
            here = pending.pop()
            with suppress(OSError):
                status = os.lstat(here)
                is_folder = stat.S_ISDIR(status.st_mode)
                if is_folder or self._is_new(status):
                    total += status.st_blocks * _BLOCK
                if is_folder:
                    pending += [os.path.join(here, name) for name in os.listdir(here)]
        return total

    def _is_new(self, status: os.stat_result) -> bool:
        if status.st_nlink == 1:
            return True
        inode = (status.st_dev, status.st_ino)
        known = inode in self._counted
        self._counted.add(inode)
        return not known


def entries_of(folder: Path) -> Iterator[Path]:
    """Yield the entries of a folder, none if it does not exist or cannot be read."""
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            yield folder / entry.name


def folder_bytes(path: str | os.PathLike[str]) -> int:
    """Return the bytes that one file or folder takes. See `FolderSizes.bytes_of`."""
    return FolderSizes().bytes_of(path)
