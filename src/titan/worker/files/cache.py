"""titan_workspace/files/: the cache of job files, both outputs and inputs, and the copies between
the cache and the folders of jobs.

    files/HASH         A complete file, read-only. Jobs get clones of it (if the file system
                       supports them) or copies.
    files/KEY.part     An incomplete file, from a job's folder or from the master.

A copy of 64 MiB or more takes too long, and the disk may have no room for a copy. In both cases the
cache *lends* the file: the job gets a hard link to the cached file itself. A large file is lent
only if no other attempt on this worker needs it. A job can change a file that is lent to it. So
such a file is hashed before another job gets it: either when the lending is over, or by a hash of
the copy. Files that an earlier process of the worker left in the cache are hashed, too. For all
other files the cache compares the time of change (ctime), which no process can set back.

The total size of the cache is limited. Above the limit the least recently used files are removed,
except files that an attempt on this worker needs. Owns paths, disk space and copies. This module
must not know when attempts run. All methods except the bookkeeping access the disk, and may block
for as long as the disk takes.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import secrets
import stat
import threading
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from titan.content.archive import build_archive, survey, unpack_archive
from titan.content.nearby import has_no_writers
from titan.errors import EnvironmentFault, PeerError, TitanError
from titan.host.remove_folder import remove_folder
from titan.model.dag import JobTemplate
from titan.model.files import FILE, FOLDER, PROGRAM, StoredFile
from titan.model.sizes import format_size
from titan.worker.files.copies import clone, copy
from titan.worker.files.left_files import OutputMissing, files_of_outputs, open_inside
from titan.worker.files.open_beneath import LEADS_OUT, open_place, path_of, reopen

LEND_FROM = 64 << 20
"""Files of at least this size are lent instead of copied. The copy of a smaller file takes no
noticeable time."""
TAKE_BACK_FROM = 1 << 20
"""Inputs of at least this size are removed from the job's folder when the attempt is over."""
MOST_BYTES = 10 << 30
SHARE_OF_DISK = 0.8
MAX_FOLDER_BYTES = 64 << 30
MAX_FOLDER_MEMBERS = 1_000_000
_HASH = re.compile(r"[0-9a-f]{64}")


class PlacedFile(NamedTuple):
    """A large input in a job's folder, to be removed when the attempt is over."""

    path: str
    inode: int
    linked: str = ""
    """Hash of the cached file if the file was lent, "" if it was copied."""


_Seal = tuple[int, int, int, int]
_UNSURE: _Seal = (0, 0, 0, 0)
"""Seal of a file that a job may have changed. The file is hashed before its next use."""


class TakenOutput(NamedTuple):
    """An output that was moved or copied out of a job's folder, and that the master has not stored
    yet."""

    name: str
    key: str
    """Key of its upload."""
    path: Path
    size: int
    kind: int
    of: str = ""
    """Name of the output whose pattern the file matched."""


class FileCache:
    def __init__(self, folder: Path, *, most_bytes: int = 0, distrusted: bool = False) -> None:
        """Open the cache. A `most_bytes` of 0 means 10 GiB, or 80 % of the free disk space if that
        is less. `distrusted` means that the cached files may be damaged, so they are removed."""
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        for leftover in folder.glob("*.part"):
            leftover.unlink(missing_ok=True)
        self._entries: dict[str, tuple[int, _Seal]] = {}
        """hash -> (size, seal of the file when it was entered), least recently used first."""
        for entry in sorted(os.scandir(folder), key=lambda e: e.stat().st_atime_ns):
            if _HASH.fullmatch(entry.name) is None or distrusted:
                Path(entry.path).unlink(missing_ok=True)
            else:
                self._entries[entry.name] = (entry.stat().st_size, _UNSURE)
        self._lent: Counter[str] = Counter()
        """hash -> number of attempts to which the file is lent."""
        self._lending = threading.Lock()
        self.bytes = sum(size for size, _ in self._entries.values())
        disk = os.statvfs(folder)
        free = disk.f_bavail * disk.f_frsize + self.bytes
        self.most_bytes = most_bytes or min(MOST_BYTES, int(free * SHARE_OF_DISK))

    # -- bookkeeping -------------------------------------------------------------------------------
    def all(self) -> list[str]:
        return list(self._entries)

    def path(self, hash_: str) -> Path:
        return self.folder / hash_

    def use(self, hash_: str) -> None:
        entry = self._entries.pop(hash_, None)
        if entry is not None:
            self._entries[hash_] = entry

    def is_intact(self, hash_: str) -> bool:
        """Return whether the file is unchanged since it was entered."""
        entry = self._entries.get(hash_)
        try:
            return entry is not None and entry[1] == _seal_of(self.folder / hash_)
        except OSError:
            return False

    def is_unsure(self, hash_: str) -> bool:
        return self._entries.get(hash_, (0, ()))[1] == _UNSURE

    def is_lent(self, hash_: str) -> bool:
        return hash_ in self._lent

    def verify(self, hash_: str) -> bool:
        """Hash a file and mark it as intact. Return False if the content does not match the hash,
        or if a process may still change it."""
        try:
            with open(self.folder / hash_, "rb") as file:
                before, status = _seal_of(self.folder / hash_), os.fstat(file.fileno())
                if status.st_nlink != 1 or not has_no_writers(file.fileno()):
                    return False
                if hashlib.file_digest(file, "sha256").hexdigest() != hash_ or _seal_of(self.folder / hash_) != before:
                    return False
        except OSError:
            return False
        self._entries[hash_] = (before[1], before)
        return True

    def drop(self, hash_: str) -> None:
        self.bytes -= self._entries.pop(hash_, (0, _UNSURE))[0]
        (self.folder / hash_).unlink(missing_ok=True)

    def enter(self, part: Path, hash_: str) -> None:
        """Move a complete KEY.part file to its place in the cache. Raises OSError."""
        os.chmod(part, 0o444)
        part.rename(self.folder / hash_)
        seal = _seal_of(self.folder / hash_)
        self.bytes += seal[1] - self._entries.pop(hash_, (0, _UNSURE))[0]
        self._entries[hash_] = (seal[1], seal)

    def make_room(self, needed: Callable[[], Iterable[str]]) -> list[str]:
        """Remove the least recently used files until the cache is within its limit, but keep the
        files that are `needed`. Return the hashes of the removed files."""
        if self.bytes <= self.most_bytes:
            return []
        keep, removed = set(needed()), []
        for hash_ in [h for h in self._entries if h not in keep]:
            self.drop(hash_)
            removed.append(hash_)
            if self.bytes <= self.most_bytes:
                break
        return removed

    def new_part(self) -> tuple[str, Path]:
        key = secrets.token_hex(16)
        return key, self.folder / f"{key}.part"

    # -- into a job's folder -----------------------------------------------------------------------
    def give(self, files: tuple[StoredFile, ...], folder: str, alone: Container[str] = ()) -> tuple[PlacedFile, ...]:
        """Put files into a job's folder. Large files whose hashes are in `alone`, which only this
        job needs, may be lent. Raises OSError, TitanError."""
        placed = []
        for file in files:
            target = os.path.join(folder, file.name)
            os.makedirs(os.path.dirname(target), exist_ok=True)
            if os.path.lexists(target):
                _remove(target)
            linked = self.copy_out(file.hash, Path(target), file.kind, may_lend=file.hash in alone)
            if file.kind != FOLDER and file.size >= TAKE_BACK_FROM:
                placed.append(PlacedFile(target, os.stat(target).st_ino, file.hash if linked else ""))
        return tuple(placed)

    def copy_out(self, hash_: str, target: Path, kind: int, *, may_lend: bool = False) -> bool:
        """Copy a file to a free path, or lend it there. Return whether it was lent.

        With `may_lend` a file is lent if its copy would take long. Without room for a copy a file
        is lent in any case.
        """
        source = self.folder / hash_
        if kind == FOLDER:
            unpack_archive(source, target, max_bytes=MAX_FOLDER_BYTES, max_members=MAX_FOLDER_MEMBERS)
            return False
        mode = 0o555 if kind == PROGRAM else 0o444
        size = os.path.getsize(source)
        if hash_ not in self._lent and clone(source, target, mode):
            return False
        if kind == FILE and size >= LEND_FROM and may_lend and self._lend(hash_, target, only=True):
            return True
        try:
            self._copy_checked(hash_, target, mode)
        except OSError as e:
            if e.errno not in (errno.ENOSPC, errno.EDQUOT) or kind != FILE or size < TAKE_BACK_FROM:
                raise
            return self._lend(hash_, target, only=False)
        return False

    def _lend(self, hash_: str, target: Path, *, only: bool) -> bool:
        """Lend a file. With `only`, return False if the file is already lent or cannot be linked to
        the target. Without `only`, raise OSError if it cannot be linked."""
        with self._lending:
            if only and hash_ in self._lent:
                return False
            try:
                os.link(self.folder / hash_, target)
            except OSError:
                if not only:
                    raise
                return False
            self._lent[hash_] += 1
            self._entries[hash_] = (self._entries[hash_][0], _UNSURE)
            return True

    def _copy_checked(self, hash_: str, target: Path, mode: int) -> None:
        """Copy a file. A job may change a lent file meanwhile, so the copy of a lent file is
        hashed. Raises OSError, and PeerError if the hash of the copy is wrong."""
        copy(self.folder / hash_, target, mode)
        if hash_ in self._lent:
            with target.open("rb") as copied:
                if hashlib.file_digest(copied, "sha256").hexdigest() == hash_:
                    return
            target.unlink()
            self.drop(hash_)
            raise PeerError(f"the file {hash_[:12]} was changed by a job that has it: it will be fetched again")

    def copy_to(self, hash_: str, into: str, kind: int, may: Callable[[str], bool] | None = None) -> None:
        """Write a copy, which its owner may change, to the path `into`. A file atomically replaces
        an existing file. A target folder has to be empty or absent.

        Raises OSError, TitanError, and PermissionError if `may` forbids the path.
        """
        parent, name = os.path.split(into)
        if not name:
            raise IsADirectoryError(errno.EISDIR, "a path that ends with / does not name a file", into)
        if may is not None and not may(os.path.realpath(into if kind == FOLDER else parent)):
            raise PermissionError(errno.EACCES, "the path lies in the home of this worker", into)
        if kind == FOLDER:
            os.makedirs(parent, exist_ok=True)
        place = os.open(parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            if may is not None and not may(path_of(place)):
                raise PermissionError(errno.EACCES, "the path lies in the home of this worker", into)
            self._copy_into(Path(f"/proc/self/fd/{place}"), name, hash_, kind)
        finally:
            os.close(place)

    def _copy_into(self, parent: Path, name: str, hash_: str, kind: int) -> None:
        target = parent / name
        if kind == FOLDER:
            self.copy_out(hash_, target, kind)
            return
        part = parent / f".{secrets.token_hex(6)}.part"
        mode = 0o755 if kind == PROGRAM else 0o644
        if hash_ in self._lent or not clone(self.folder / hash_, part, mode):
            self._copy_checked(hash_, part, mode)
        part.rename(target)

    def take_back(self, placed: tuple[PlacedFile, ...]) -> None:
        """Remove the large inputs from the folder of an attempt that is over. Files lent to the
        attempt are no longer lent to it."""
        for path, inode, linked in placed:
            with self._lending:
                self._lent -= Counter([linked] if linked else [])
            try:
                if os.lstat(path).st_ino == inode:
                    os.unlink(path)
            except OSError:
                pass  # the job removed or moved it

    # -- out of a job's folder ---------------------------------------------------------------------
    def take_outputs(self, template: JobTemplate, folder: str) -> list[TakenOutput]:
        """Move or copy a job's outputs out of its folder. Raises OutputMissing, LimitExceeded,
        OSError."""
        taken: list[TakenOutput] = []
        try:
            for left in files_of_outputs(template, folder):
                subject = f"output {left.name!r} ({left.path})"
                output = self.take(left.name, left.path, folder, subject, move=not left.shared)
                taken.append(output._replace(of=left.of))
        except BaseException:
            for output in taken:
                output.path.unlink(missing_ok=True)
            raise
        return taken

    def take(
        self,
        name: str,
        path: str,
        folder: str,
        subject: str,
        *,
        may: Callable[[str], bool] | None = None,
        move: bool = True,
    ) -> TakenOutput:
        """Take a file or folder as an output. `subject` is its description in error texts.

        If `folder` is set, the path has to lie beneath it, and with `move` the output is moved,
        because the job is over. Otherwise the path may lie anywhere that `may` allows, and the
        output is copied, because the job goes on. Raises OutputMissing, OSError.
        """
        missing = f"{subject} was not written" if folder else f"{subject}: no such file or folder"
        try:
            place = open_inside(folder, path) if folder else open_place(path)
        except FileNotFoundError:
            raise OutputMissing(missing) from None
        except NotADirectoryError:
            raise OutputMissing(f"{missing}: a part of its path is not a folder") from None
        except OSError as e:
            if e.errno not in LEADS_OUT:
                raise
            raise OutputMissing(f"{subject} is a link that leads out of the job's folder: copy the file there") from None
        try:
            real = path_of(place)
            if may is not None and not may(real):
                raise OutputMissing(f"{subject} lies in the home of this worker, outside of the job's folder and TITAN_SHARED")
            return self._take(name, place, real, subject, move=move and bool(folder))
        finally:
            os.close(place)

    def _take(self, name: str, place: int, real: str, subject: str, *, move: bool) -> TakenOutput:
        status = os.fstat(place)
        key, part = self.new_part()
        if stat.S_ISDIR(status.st_mode):
            self._pack(Path(real), part, subject)
            return TakenOutput(name, key, part, part.stat().st_size, FOLDER)
        if not stat.S_ISREG(status.st_mode):
            raise OutputMissing(f"{subject} is neither a file nor a folder")
        if not (move and status.st_nlink == 1 and _moved(place, real, part)):
            source = reopen(place)
            try:
                if not clone(source, part, 0o600):
                    copy(source, part, 0o600)
            finally:
                os.close(source)
        return TakenOutput(name, key, part, part.stat().st_size, PROGRAM if status.st_mode & 0o100 else FILE)

    def _pack(self, folder: Path, part: Path, subject: str) -> None:
        try:
            limits = {"max_bytes": MAX_FOLDER_BYTES, "max_members": MAX_FOLDER_MEMBERS}
            found = survey(folder, everything=True, **limits)
            archive = build_archive(folder, self.folder, found=found, level=1, **limits)
        except TitanError as e:
            raise OutputMissing(f"{subject}: {str(e).replace('project ', '')}") from None
        archive.path.rename(part)


def full_disk(error: OSError, subject: str) -> EnvironmentFault:
    return EnvironmentFault(f"{subject}: {disk_problem(error)}")


def disk_problem(error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "the disk of this worker is full: free space there, or limit --file-cache"
    return error.strerror or str(error)


@contextlib.contextmanager
def home_problems(home: Path) -> Iterator[None]:
    """Turn an OSError in the body of the `with` statement into an EnvironmentFault."""
    try:
        yield
    except OSError as e:
        raise EnvironmentFault(f"the home {home} cannot be used: {disk_problem(e)}, or choose another with --home") from e


def cache_size(text: str) -> int:
    """Return the bytes of a --file-cache option. Raises ValueError."""
    from titan.model.sizes import size_of

    size = size_of(text)
    if size < 1 << 20:
        raise ValueError(f"must be at least {format_size(1 << 20)}")
    return size


def _remove(path: str) -> None:
    if os.path.isdir(path) and not os.path.islink(path):
        remove_folder(path)
    else:
        os.unlink(path)


def _moved(place: int, path: str, part: Path) -> bool:
    """Move a file into the cache. Return False if the file has to be copied instead, because it is
    on another file system, was moved meanwhile, or a process can still write to it."""
    try:
        os.rename(path, part)
    except OSError as e:
        if e.errno not in (errno.EXDEV, errno.ENOENT):
            raise
        return False
    source = os.open(part, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if os.path.samestat(os.fstat(source), os.fstat(place)) and has_no_writers(source):
            return True
    finally:
        os.close(source)
    part.unlink()
    return False


def _seal_of(path: Path) -> _Seal:
    status = os.stat(path)
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
