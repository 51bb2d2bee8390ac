"""Files of the journal's directory: names, and functions that allocate, rename, cut and delete.

Must not know records, only sizes and names. A name is durable after its directory is synced. So
`rename` and `delete` sync the directory before they return. Names of temporary files need not be
durable.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

TEMPORARY_SUFFIX = ".tmp"

_SEGMENT_NAME = re.compile(r"(\d{20})\.seg")
_SNAPSHOT_NAME = re.compile(r"(\d{20})\.snap")


class JournalFile(NamedTuple):
    """Segment (`seq` is its first sequence) or snapshot (`seq` is the last sequence it covers)."""

    path: Path
    seq: int


def segment_name(first_seq: int) -> str:
    return f"{first_seq:020d}.seg"


def snapshot_name(seq: int) -> str:
    return f"{seq:020d}.snap"


def list_segments(directory: Path) -> list[JournalFile]:
    """Return the segments, sorted by first sequence; [] if the directory does not exist. Files with
    other names are ignored."""
    return _list(directory, _SEGMENT_NAME)


def list_snapshots(directory: Path) -> list[JournalFile]:
    """Return the snapshots, oldest first."""
    return _list(directory, _SNAPSHOT_NAME)


def sync_directory(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def allocate(path: Path, size: int) -> int:
    """Create a file of `size` zero bytes with allocated disk space, and return its descriptor.

    Raises OSError (ENOSPC, EDQUOT, ...) and then leaves no file behind.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
    try:
        os.posix_fallocate(fd, 0, size)
    except BaseException:
        os.close(fd)
        path.unlink(missing_ok=True)
        raise
    return fd


def rename(old: Path, new: Path) -> None:
    """Rename a file durably. Replace the file that has the new name, if there is one."""
    os.rename(old, new)
    sync_directory(new.parent)


def trim(path: Path, size: int, *, end: bytes = b"") -> None:
    """Cut the file to `size` bytes, append `end`, and sync the file even if its size was right.

    `end` is synced before the cut, because a cut file without an end mark counts as damaged.
    """
    fd = os.open(path, os.O_RDWR)
    try:
        if end:
            os.pwrite(fd, end, size)
            os.fdatasync(fd)
        os.ftruncate(fd, size + len(end))
        os.fsync(fd)
    finally:
        os.close(fd)


def delete(paths: Sequence[Path]) -> None:
    """Delete files durably, in the order of `paths`. A crash in between leaves the last files."""
    directories = {path.parent: None for path in paths}
    for path in paths:
        path.unlink(missing_ok=True)
    for directory in directories:
        sync_directory(directory)


def remove_half_made(directory: Path) -> None:
    """Delete the temporary files that an earlier process did not finish."""
    for path in sorted(directory.glob("*" + TEMPORARY_SUFFIX)):
        path.unlink(missing_ok=True)


def _list(directory: Path, pattern: re.Pattern[str]) -> list[JournalFile]:
    if not directory.is_dir():
        return []
    matches = ((path, pattern.fullmatch(path.name)) for path in directory.iterdir())
    return sorted((JournalFile(path, int(match[1])) for path, match in matches if match), key=lambda file: file.seq)
