"""Projects in the folders of jobs, and the removal of all placed files that an attempt left
unchanged.

    projects/N/                 a project of the cache, unpacked
    jobs/RUN/JOB.ATTEMPT.placed the files that the worker put into the attempt's folder

A job may change the files of its project in place, so each attempt needs its own. On a file system
with clones (Btrfs, XFS) the worker unpacks a project once, and each attempt gets clones. On other
file systems (ext4) each attempt gets a full copy while it runs. If the attempt left the copy
unchanged, a later attempt reuses it.

Hard links are no alternative, because a job that writes in place would write for all. An overlay
needs a mount per attempt, and the rights to make one.

After the attempt, the worker removes what the attempt left unchanged. The list of placed files is a
file, so that a worker that was killed does this at its next start. Owns the unpacked projects and
these lists. This module must not know when attempts run. All methods but `ended` may
block.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import stat
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import msgspec

from titan.content.archive import unpack_archive
from titan.host.remove_folder import remove_folder
from titan.worker.files.copies import can_clone, clone
from titan.worker.files.placed_tree import Entry, PlacedTree, mapping_shows, note_tree

PROJECTS = 8
"""Unpacked projects in the cache, at most. The least recently used are removed."""
PROJECT_BYTES = 2 << 30
"""Bytes of the unpacked projects in the cache, at most."""
SUFFIX = ".placed"


class _Unpacked(NamedTuple):
    """An unpacked project in the cache."""

    hash: str
    folder: str
    entries: list[Entry]

    @property
    def bytes(self) -> int:
        return sum(entry.seal[1] for entry in self.entries if stat.S_ISREG(entry.mode))


class Projects:
    def __init__(self, root: Path, jobs: str, cache: str) -> None:
        self._root = root / "projects"
        remove_folder(self._root)  # an earlier process of the worker left it
        self._root.mkdir()
        self._jobs, self._cache = jobs, cache
        self._numbers = itertools.count(1)
        self._kept: list[_Unpacked] = []
        """Unpacked projects, least recently used first."""
        self._lock = threading.Lock()
        """Lock of `_kept`."""
        self._cloning = threading.Lock()
        self._cleaning = threading.Lock()
        """Held while a folder is cleaned. An attempt that begins again in that folder waits."""
        self._running: set[str] = set()
        """Folders of attempts that are not over."""
        self._ended: dict[str, str] = {}
        """Folder of an attempt that is over -> hash of the project to be reused, "" for none."""
        self.wanted = asyncio.Event()
        """Set while `clean` has work."""

    @cached_property
    def clones(self) -> bool:
        return can_clone(self._root)

    @cached_property
    def _hashes(self) -> bool:
        return not mapping_shows(self._root)

    # -- before an attempt -------------------------------------------------------------------------
    def begin(self, cwd: str) -> None:
        """Note that an attempt begins in this folder, so that the folder is not cleaned."""
        with self._cleaning:
            self._running.add(cwd)
            self._ended.pop(cwd, None)

    def place(self, hash_: str, cwd: str) -> None:
        """Put a project into the empty folder `cwd`. Raises OSError, TitanError."""
        if self.clones:
            with self._cloning:
                if self._clone(hash_, cwd):
                    return
        elif (spare := self._take(hash_)) is not None:
            if PlacedTree(spare.folder, spare.entries).is_unchanged():
                os.rename(spare.folder, cwd)
                return
            remove_folder(spare.folder, ignore_errors=True)
        unpack_archive(Path(self._cache, hash_), Path(cwd))

    def note(self, cwd: str, outside: Iterable[str] = ()) -> None:
        """Write the list of the files in a job's folder, before its process starts. The files
        `outside` are removed by other code. Raises OSError."""
        entries = note_tree(cwd, hashed=self._hashes, outside={os.fsencode(path) for path in outside})
        Path(cwd + SUFFIX).write_bytes(msgspec.msgpack.encode(entries))

    def _clone(self, hash_: str, cwd: str) -> bool:
        """Put clones of a project's files into the empty folder `cwd`. Return False, with the
        folder empty, if some file cannot be cloned or was changed by a job. Raises OSError,
        TitanError."""
        unpacked = self._take(hash_) or self._unpack(hash_)
        if _clone_tree(unpacked, cwd):
            self._keep(unpacked)
            return True
        remove_folder(unpacked.folder, ignore_errors=True)
        remove_folder(cwd)
        os.mkdir(cwd)
        return False

    def _unpack(self, hash_: str) -> _Unpacked:
        folder = self._new_folder()
        try:
            unpack_archive(Path(self._cache, hash_), Path(folder))
            return _Unpacked(hash_, folder, note_tree(folder, hashed=False))
        except BaseException:
            remove_folder(folder, ignore_errors=True)
            raise

    # -- the cache ---------------------------------------------------------------------------------
    def _new_folder(self) -> str:
        return f"{self._root}/{next(self._numbers)}"

    def _take(self, hash_: str) -> _Unpacked | None:
        """Take a project out of the cache."""
        with self._lock:
            found = next((unpacked for unpacked in self._kept if unpacked.hash == hash_), None)
            if found is not None:
                self._kept.remove(found)
            return found

    def _keep(self, unpacked: _Unpacked) -> None:
        """Put a project into the cache, and remove others if the cache is full."""
        with self._lock:
            self._kept.append(unpacked)
            dropped = []
            while len(self._kept) > PROJECTS or sum(kept.bytes for kept in self._kept) > PROJECT_BYTES:
                dropped.append(self._kept.pop(0))
        for old in dropped:
            remove_folder(old.folder, ignore_errors=True)

    def forget(self, hashes: Iterable[str]) -> None:
        """Remove projects from the cache."""
        for hash_ in hashes:
            while (unpacked := self._take(hash_)) is not None:
                remove_folder(unpacked.folder, ignore_errors=True)

    # -- after an attempt --------------------------------------------------------------------------
    def ended(self, cwd: str, archive: str = "") -> None:
        """Note that an attempt is over, and that its outputs were taken out of its folder.
        `archive` is the hash of its project, if the folder may be reused."""
        if cwd in self._running:
            self._running.remove(cwd)
            self._ended[cwd] = archive
            self.wanted.set()

    def clean(self) -> list[str]:
        """Remove what the attempts that are over left unchanged. Return their runs."""
        runs = []
        while self._ended:
            with self._cleaning:
                if self._ended:
                    runs.append(self._clean(*self._ended.popitem()))
        return runs

    def clean_leftovers(self) -> list[str]:
        """Clean the folders of attempts that an earlier process of the worker left. Return their
        runs."""
        runs = []
        for folder in self._placed_folders():
            with self._cleaning:
                if folder not in self._running and folder not in self._ended:
                    runs.append(self._clean(folder, ""))
        return runs

    def _placed_folders(self) -> list[str]:
        """Return the folders of attempts that have a list of placed files. The sweep may remove the
        folders of runs meanwhile."""
        folders = []
        for run in os.listdir(self._jobs):
            with suppress(OSError):
                parent = os.path.join(self._jobs, run)
                folders += [os.path.join(parent, name.removesuffix(SUFFIX)) for name in os.listdir(parent) if name.endswith(SUFFIX)]
        return folders

    def _clean(self, folder: str, archive: str) -> str:
        """Clean a folder. Return its run."""
        run, listed = os.path.basename(os.path.dirname(folder)), Path(folder + SUFFIX)
        try:
            entries = msgspec.msgpack.decode(listed.read_bytes(), type=list[Entry])
            tree = PlacedTree(folder, entries)
        except (OSError, ValueError):  # the list is missing, or a job changed it
            tree = None
        with suppress(OSError):
            listed.unlink(missing_ok=True)
        if tree is not None and not (archive and not self.clones and self._reuse(tree, _Unpacked(archive, folder, entries))):
            tree.remove_unchanged()
        return run

    def _reuse(self, tree: PlacedTree, unpacked: _Unpacked) -> bool:
        """Move an unchanged project into the cache. Return False if it is changed."""
        if not tree.is_unchanged():
            return False
        folder = self._new_folder()
        try:
            os.rename(unpacked.folder, folder)
        except OSError:
            return False
        self._keep(unpacked._replace(folder=folder))
        return True


def _clone_tree(unpacked: _Unpacked, cwd: str) -> bool:
    try:
        for entry in unpacked.entries:
            source = os.fsdecode(os.path.join(os.fsencode(unpacked.folder), entry.path))
            target = os.path.join(cwd, os.fsdecode(entry.path))
            if stat.S_ISDIR(entry.mode):
                os.mkdir(target)
                os.chmod(target, stat.S_IMODE(entry.mode))
            elif stat.S_ISLNK(entry.mode):
                os.symlink(os.readlink(source), target)
            elif not _clone_file(source, Path(target), entry):
                return False
    except FileNotFoundError:  # a job removed a file of the cache
        return False
    return True


def _clone_file(source: str, target: Path, entry: Entry) -> bool:
    fd = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        status = os.fstat(fd)
        seal = (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        return seal == entry.seal and clone(fd, target, stat.S_IMODE(entry.mode))
    finally:
        os.close(fd)


async def keep_clean(projects: Projects, emptied: Callable[[str], None]) -> None:
    """Clean the folders of attempts that are over, until cancelled. `emptied(run)` is called when
    jobs/RUN may be empty."""
    for run in await asyncio.to_thread(projects.clean_leftovers):
        emptied(run)
    while True:
        await projects.wanted.wait()
        projects.wanted.clear()
        for run in await asyncio.to_thread(projects.clean):
            emptied(run)
