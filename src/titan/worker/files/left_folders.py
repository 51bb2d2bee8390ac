"""Folders of attempts as users read them after the job: lists in pages, and files.

    jobs/RUN/JOB.ATTEMPT/       the folder of an attempt
    shared/RUN/                 that of jobs that run in the folder that the jobs of a run share

Users' code wrote these folders, and may still write them. No link in them is followed, also not one
in the place of a folder. `removed` knows which folders the worker removed, and why. All functions
may block.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from titan.content.files import FileReader
from titan.errors import CallerError, EnvironmentFault, NotFound
from titan.model.files import FILE, PROGRAM
from titan.model.left_files import LINK, OTHER, PAGE, is_path_inside
from titan.model.names import is_name
from titan.model.plain import plain
from titan.worker.files.open_beneath import open_beneath, reopen
from titan.worker.files.removed_folders import Removed, RemovedFolders

MAX_DEPTH = 64
_GONE = (errno.ENOENT, errno.ENOTDIR)
_LINKS = (errno.ELOOP, errno.EXDEV)


class Folder(NamedTuple):
    """Name of a folder: of an attempt, or with `shared` of all jobs of the run."""

    run: str
    job: str
    attempt: int
    shared: bool


class Entry(NamedTuple):
    """A file of a folder. `target`: that of a link."""

    path: bytes
    size: int
    modified_at: float
    kind: int
    target: bytes = b""


class Page(NamedTuple):
    entries: list[Entry]
    more: bool
    """Other files follow after the last one."""
    remark: str = ""
    removed: Removed | None = None
    """Set if the worker removed the folder."""


class LeftFolders:
    def __init__(self, jobs: Path, shared: Path, removed: RemovedFolders) -> None:
        self._jobs, self._shared = jobs, shared
        self._removed = removed

    def page(self, folder: Folder, after: bytes, limit: int) -> Page:
        """Return at most `limit` files whose paths come after `after`, sorted by path. Raises
        CallerError, OSError."""
        root, path = self._place(folder)
        try:
            at = open_beneath(root, path, follow=False)
        except OSError as e:
            if e.errno not in (*_GONE, *_LINKS):
                raise
            return Page([], False, removed=self._removed.find(folder.run))
        try:
            walk = _Walk(at, tuple(after.split(b"/")) if after else ())
            entries: list[Entry] = []
            most = max(1, min(limit, PAGE))
            for entry in walk.entries():
                if len(entries) == most:
                    return Page(entries, True, walk.remark)
                entries.append(entry)
            return Page(entries, False, walk.remark)
        finally:
            os.close(at)

    def open(self, folder: Folder, path: bytes) -> FileReader:
        """Open a file of a folder. Raises CallerError, NotFound, EnvironmentFault."""
        root, place = self._place(folder)
        name = plain(os.fsdecode(path), 200)
        if not is_path_inside(path):
            raise CallerError(f"{name!r} is not a path inside the folder of a job")
        try:
            at = open_beneath(root, f"{place}/{os.fsdecode(path)}", follow=False)
        except OSError as e:
            raise _problem(e, name) from e
        try:
            if not stat.S_ISREG(os.fstat(at).st_mode):
                raise CallerError(f"{name!r} is not a file")
            return FileReader(f"/proc/self/fd/{at}")
        except OSError as e:
            raise _problem(e, name) from e
        finally:
            os.close(at)

    def _place(self, folder: Folder) -> tuple[str, str]:
        """Return a trusted folder and the path in it. Raises CallerError."""
        if not is_name(folder.run) or not is_name(folder.job):
            raise CallerError("the names of the run and the job are not valid")
        if folder.shared:
            return str(self._shared), folder.run
        return str(self._jobs), f"{folder.run}/{folder.job}.{folder.attempt}"


class _Walk:
    """Files of a folder in the order of their paths, after one of them."""

    def __init__(self, root: int, after: tuple[bytes, ...]) -> None:
        self._root = root
        self._after = after
        self.remark = ""

    def entries(self) -> Iterator[Entry]:
        yield from self._below((), self._after)

    def _below(self, at: tuple[bytes, ...], after: tuple[bytes, ...]) -> Iterator[Entry]:
        """Yield the files of a folder. `after`: what remains of the path after which they come."""
        path = b"/".join(at)
        try:
            place = open_beneath(f"/proc/self/fd/{self._root}", os.fsdecode(path or b"."), follow=False)
        except OSError:  # it was removed, or a link took its place, since it was listed
            return
        try:
            names = self._names(place)
            if names is None:
                yield Entry(path, 0, os.fstat(place).st_mtime, OTHER)
                return
            for name in sorted(name for name in names if not after or name >= after[0]):
                is_last = bool(after) and name == after[0]
                try:
                    status = os.lstat(name, dir_fd=place)
                except OSError:
                    continue
                if stat.S_ISDIR(status.st_mode) and len(at) < MAX_DEPTH:
                    yield from self._below((*at, name), after[1:] if is_last else ())
                elif not is_last:
                    yield self._entry(place, name, b"/".join((*at, name)), status)
        finally:
            os.close(place)

    @staticmethod
    def _names(place: int) -> list[bytes] | None:
        """Return the names in a folder; None if it cannot be read."""
        try:
            folder = reopen(place)
        except OSError:
            return None
        try:
            return [os.fsencode(name) for name in os.listdir(folder)]
        except OSError:
            return None
        finally:
            os.close(folder)

    def _entry(self, place: int, name: bytes, path: bytes, status: os.stat_result) -> Entry:
        mode, target = status.st_mode, b""
        if stat.S_ISREG(mode):
            return Entry(path, status.st_size, status.st_mtime, PROGRAM if mode & stat.S_IXUSR else FILE)
        if stat.S_ISLNK(mode):
            try:
                target = os.readlink(name, dir_fd=place)
            except OSError:
                target = b""
            return Entry(path, 0, status.st_mtime, LINK, target)
        if stat.S_ISDIR(mode):
            self.remark = f"folders below {MAX_DEPTH} others are listed without their files"
        return Entry(path, 0, status.st_mtime, OTHER)


def _problem(error: OSError, name: str) -> CallerError | EnvironmentFault:
    if error.errno in _LINKS:
        return CallerError(f"{name!r} is a link, or lies behind one: links are listed, and never followed")
    if error.errno in _GONE:
        return NotFound(f"there is no file {name!r} any more")
    return EnvironmentFault(f"{name!r} cannot be read: {error.strerror}")
