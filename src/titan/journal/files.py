"""The journal's directory: the names of its files, and the durable way to make, cut and delete
them.

It must not know records: sizes and names only. A name is durable once its directory is synced, so
everything here that changes a name syncs the directory before it returns.
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
    """A segment (`seq` is its first sequence) or a snapshot (`seq` is the last sequence it covers)."""

    path: Path
    seq: int


def segment_name(first_seq: int) -> str:
    return f"{first_seq:020d}.seg"


def snapshot_name(seq: int) -> str:
    return f"{seq:020d}.snap"


def list_segments(directory: Path) -> list[JournalFile]:
    """By first sequence. A directory that does not exist holds none; other names are left alone."""
    return _list(directory, _SEGMENT_NAME)


def list_snapshots(directory: Path) -> list[JournalFile]:
    """By sequence, the oldest first."""
    return _list(directory, _SNAPSHOT_NAME)


def sync_directory(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def allocate(path: Path, size: int) -> int:
    """A new file of `size` bytes that are backed by disk space and read as zeros; returns its
    descriptor.

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
    """Gives a file of this directory its durable name; replaces what had it."""
    os.rename(old, new)
    sync_directory(new.parent)


def trim(path: Path, size: int, *, end: bytes = b"") -> None:
    """Cuts the file to `size` and `end` behind it, and syncs it, whatever its size was.

    `end` is synced before the cut: a file that was cut and has no end would count as damaged.
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
    """Deletes in the order given, so that a crash in between leaves the rest of that order."""
    directories = {path.parent: None for path in paths}
    for path in paths:
        path.unlink(missing_ok=True)
    for directory in directories:
        sync_directory(directory)


def remove_half_made(directory: Path) -> None:
    """Deletes half-made files of a process that is gone."""
    for path in sorted(directory.glob("*" + TEMPORARY_SUFFIX)):
        path.unlink(missing_ok=True)


def _list(directory: Path, pattern: re.Pattern[str]) -> list[JournalFile]:
    if not directory.is_dir():
        return []
    found = ((path, pattern.fullmatch(path.name)) for path in directory.iterdir())
    return sorted((JournalFile(path, int(match[1])) for path, match in found if match), key=lambda file: file.seq)
