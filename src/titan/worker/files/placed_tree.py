"""Placed trees: the files that the worker put into a job's folder, with the seal of each.

After the attempt, a comparison of the seals shows what the attempt left unchanged. A seal is the
inode, size, time of modification and time of change (ctime) of a file. No process can set the ctime
back, so nothing is hashed. There are two exceptions:

- The kernel's clock for ctime has coarse ticks. So `note_tree` returns only after a tick that
  follows the last ctime.
- On some file systems (tmpfs) a write through a memory mapping changes no time. There the seal also
  has a SHA-256.

Jobs can replace folders by links. So paths are opened one component at a time, and no link is
followed.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import stat
import time
from collections.abc import Container, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from titan.host.remove_folder import remove_folder

BYTECODE = b"__pycache__"
"""Folder of Python's compiled modules. Python makes it beside a placed module, and makes it again
when it is missing. So it counts as placed."""
_COARSE_CLOCK = 5
"""CLOCK_REALTIME_COARSE, from which the kernel takes ctimes."""
_MOST_TICK_S = 0.05
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

Seal = tuple[int, int, int, int]


class Entry(NamedTuple):
    """A placed file, link or folder. Folders precede their content."""

    path: bytes
    """Relative to the job's folder."""
    mode: int
    seal: Seal
    """Seal of the entry. For a folder only the inode counts."""
    sha256: bytes = b""


def note_tree(folder: str, *, hashed: bool, outside: Container[bytes] = ()) -> list[Entry]:
    """Return the entries of a folder, without the files `outside`. `hashed`: seals have a SHA-256.
    Raises OSError."""
    found: list[Entry] = []
    pending = [b""]
    root = os.fsencode(folder)
    while pending:
        below = pending.pop()
        with os.scandir(os.path.join(root, below) if below else root) as entries:
            for entry in entries:
                if entry.path in outside:
                    continue
                path = os.path.join(below, entry.name) if below else entry.name
                status = entry.stat(follow_symlinks=False)
                digest = _digest(entry.path, None) if hashed and stat.S_ISREG(status.st_mode) else b""
                found.append(Entry(path, status.st_mode, _seal(status), digest))
                if stat.S_ISDIR(status.st_mode):
                    pending.append(path)
    _await_tick(max((entry.seal[3] for entry in found), default=0))
    return found


class PlacedTree:
    """Tree of entries beneath a folder. Raises ValueError for a path that leads out of it."""

    def __init__(self, folder: str, entries: Iterable[Entry]) -> None:
        self.folder = folder
        self._below: dict[bytes, dict[bytes, Entry]] = {b"": {}}
        """Path of a placed folder -> its entries by name."""
        for entry in entries:
            parent, name = os.path.split(entry.path)
            if name in (b"", b".", b"..") or parent not in self._below:
                raise ValueError(f"{entry.path!r} is no path of a placed file")
            self._below[parent][name] = entry
            if stat.S_ISDIR(entry.mode):
                self._below[entry.path] = {}

    def is_unchanged(self) -> bool:
        """Return whether the folder holds all entries, unchanged, and nothing else. Compiled Python
        modules are removed."""
        try:
            with _opened(self.folder, None) as root:
                return self._is_unchanged(root, b"")
        except OSError:
            return False

    def _is_unchanged(self, folder: int, path: bytes) -> bool:
        entries = self._below[path]
        names = {os.fsencode(name) for name in os.listdir(folder)}
        if BYTECODE in names and BYTECODE not in entries:
            _remove_bytecode(folder)
            names.discard(BYTECODE)
        if names != entries.keys():
            return False
        for name, entry in entries.items():
            if not stat.S_ISDIR(entry.mode):
                if not _matches(folder, name, entry):
                    return False
                continue
            with _opened(name, folder) as below:
                status = os.fstat(below)
                if (status.st_ino, status.st_mode) != (entry.seal[0], entry.mode) or not self._is_unchanged(below, entry.path):
                    return False
        return True

    def remove_unchanged(self) -> None:
        """Remove the unchanged entries, then the folders that are empty, also the root. What cannot
        be removed stays."""
        with suppress(OSError):
            with _opened(self.folder, None) as root:
                self._remove_unchanged(root, b"")
            os.rmdir(self.folder)

    def _remove_unchanged(self, folder: int, path: bytes) -> None:
        entries = self._below[path]
        if BYTECODE not in entries:
            _remove_bytecode(folder)
        for name, entry in entries.items():
            with suppress(OSError):
                if not stat.S_ISDIR(entry.mode):
                    if _matches(folder, name, entry):
                        os.unlink(name, dir_fd=folder)
                    continue
                with _opened(name, folder) as below:
                    if os.fstat(below).st_ino != entry.seal[0]:
                        continue
                    self._remove_unchanged(below, entry.path)
                os.rmdir(name, dir_fd=folder)


def mapping_shows(folder: Path) -> bool:
    """Return whether a write through a memory mapping changes the times of a file in this folder.
    Raises OSError."""
    path = folder / "probe"
    try:
        with path.open("w+b") as file:
            file.write(b"0")
            file.flush()
            os.utime(file.fileno(), (0, 0))
            with mmap.mmap(file.fileno(), 1) as mapped:
                mapped[0:1] = b"1"
                mapped.flush()
        return path.stat().st_mtime_ns != 0
    finally:
        path.unlink(missing_ok=True)


@contextmanager
def _opened(name: str | bytes, beneath: int | None) -> Iterator[int]:
    fd = os.open(name, _FOLDER, dir_fd=beneath)
    try:
        yield fd
    finally:
        os.close(fd)


def _remove_bytecode(folder: int) -> None:
    with suppress(OSError):
        if stat.S_ISDIR(os.stat(BYTECODE, dir_fd=folder, follow_symlinks=False).st_mode):
            remove_folder(f"/proc/self/fd/{folder}/{BYTECODE.decode()}", ignore_errors=True)


def _seal(status: os.stat_result) -> Seal:
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _matches(folder: int, name: bytes, entry: Entry) -> bool:
    """Return whether a file is unchanged. Raises OSError."""
    status = os.stat(name, dir_fd=folder, follow_symlinks=False)
    if (status.st_mode, _seal(status)) != (entry.mode, entry.seal):
        return False
    return not entry.sha256 or _digest(name, folder) == entry.sha256


def _digest(name: bytes, folder: int | None) -> bytes:
    with open(os.open(name, _FILE, dir_fd=folder), "rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def _await_tick(newest_ns: int) -> None:
    """Wait until a change of a file gets a ctime above `newest_ns`."""
    until = time.monotonic() + _MOST_TICK_S  # the clock of a network file system may be ahead
    while time.clock_gettime_ns(_COARSE_CLOCK) <= newest_ns and time.monotonic() < until:
        time.sleep(0.0005)
