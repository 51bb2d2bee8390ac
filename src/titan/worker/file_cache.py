"""titan_workspace/files/: files of jobs by content, what they left and what they are given, and how these come into their folders.

    files/HASH         read-only; large ones are the same file in the folder of each job that has it
    files/KEY.part     on its way, from a job's folder or from the master

There is a limit on all of them together: above it those that were not used for the longest time go, and never what an attempt here
needs. Owns paths, room and copies; must not know when something runs. All but the bookkeeping may take as long as the disk does.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import secrets
import stat
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from titan.archive import build_archive, survey, unpack_archive
from titan.errors import EnvironmentFault, TitanError
from titan.folders import remove_folder
from titan.model.files import FILE, FOLDER, PROGRAM, StoredFile
from titan.model.sizes import format_size

COPY_BELOW = 1 << 20
"""A smaller file is copied into a job's folder: it costs little, and is the job's own."""
MOST_BYTES = 10 << 30
SHARE_OF_DISK = 0.8
MAX_FOLDER_BYTES = 64 << 30
MAX_FOLDER_MEMBERS = 1_000_000
_FICLONE = 0x40049409
_HASH = re.compile(r"[0-9a-f]{64}")


class Given(NamedTuple):
    """A file that was put into a job's folder as a further name of the one here."""

    path: str
    inode: int


class Left(NamedTuple):
    """Something that a job left, out of its folder and not yet stored."""

    name: str
    key: str
    """Of its sending."""
    path: Path
    size: int
    kind: int


class OutputMissing(TitanError):
    """What a job was to leave is not there, or cannot be taken."""

    code = "output_missing"


class FileCache:
    def __init__(self, folder: Path, *, most_bytes: int = 0, distrusted: bool = False) -> None:
        """`most_bytes` 0: 10 GiB, or 80 % of what the disk has free if that is less. `distrusted`: what is there may be damaged."""
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        for leftover in folder.glob("*.part"):
            leftover.unlink(missing_ok=True)
        self._entries: dict[str, tuple[int, int]] = {}
        """hash -> (size, mtime in ns when it came), the one used last at the end."""
        for entry in sorted(os.scandir(folder), key=lambda e: e.stat().st_atime_ns):
            if _HASH.fullmatch(entry.name) is None or distrusted:
                Path(entry.path).unlink(missing_ok=True)
            else:
                about = entry.stat()
                self._entries[entry.name] = (about.st_size, about.st_mtime_ns)
        self.bytes = sum(size for size, _ in self._entries.values())
        disk = os.statvfs(folder)
        free = disk.f_bavail * disk.f_frsize + self.bytes
        self.most_bytes = most_bytes or min(MOST_BYTES, int(free * SHARE_OF_DISK))

    # -- bookkeeping ----------------------------------------------------------------------------------------------------
    def all(self) -> list[str]:
        return list(self._entries)

    def path(self, hash_: str) -> Path:
        return self.folder / hash_

    def use(self, hash_: str) -> None:
        entry = self._entries.pop(hash_, None)
        if entry is not None:
            self._entries[hash_] = entry

    def is_intact(self, hash_: str) -> bool:
        """Whether it is as it came: a job that changed a file that it was given, against its mode, changed it for all."""
        try:
            about = os.stat(self.folder / hash_)
        except OSError:
            return False
        return self._entries.get(hash_) == (about.st_size, about.st_mtime_ns)

    def drop(self, hash_: str) -> None:
        self.bytes -= self._entries.pop(hash_, (0, 0))[0]
        (self.folder / hash_).unlink(missing_ok=True)

    def enter(self, part: Path, hash_: str) -> None:
        """A part that is whole becomes the file of that content. Raises OSError."""
        os.chmod(part, 0o444)
        part.rename(self.folder / hash_)
        about = os.stat(self.folder / hash_)
        self.bytes += about.st_size - self._entries.pop(hash_, (0, 0))[0]
        self._entries[hash_] = (about.st_size, about.st_mtime_ns)

    def make_room(self, needed: Callable[[], Iterable[str]]) -> list[str]:
        """Removes what was not used for the longest time and is not needed, while there is too much; returns the hashes."""
        if self.bytes <= self.most_bytes:
            return []
        keep, gone = set(needed()), []
        for hash_ in [h for h in self._entries if h not in keep]:
            self.drop(hash_)
            gone.append(hash_)
            if self.bytes <= self.most_bytes:
                break
        return gone

    def new_part(self) -> tuple[str, Path]:
        key = secrets.token_hex(16)
        return key, self.folder / f"{key}.part"

    # -- into a job's folder --------------------------------------------------------------------------------------------
    def give(self, files: tuple[StoredFile, ...], folder: str) -> tuple[Given, ...]:
        """Puts them into a job's folder. Raises OSError, TitanError."""
        given = []
        for file in files:
            target = os.path.join(folder, file.name)
            os.makedirs(os.path.dirname(target), exist_ok=True)
            if os.path.lexists(target):
                _remove(target)
            inode = self.copy_out(file.hash, Path(target), file.kind)
            if inode:
                given.append(Given(target, inode))
        return tuple(given)

    def copy_out(self, hash_: str, target: Path, kind: int) -> int:
        """To a path that is free; returns the inode if it is the file here, 0 for a copy."""
        source = self.folder / hash_
        if kind == FOLDER:
            unpack_archive(source, target, max_bytes=MAX_FOLDER_BYTES, max_members=MAX_FOLDER_MEMBERS)
            return 0
        mode = 0o555 if kind == PROGRAM else 0o444
        if kind == FILE and os.path.getsize(source) >= COPY_BELOW and not _clone(source, target, mode):
            try:
                os.link(source, target)
            except OSError as e:
                if e.errno not in (errno.EXDEV, errno.EMLINK, errno.EPERM):
                    raise
            else:
                return os.stat(target).st_ino
        if not target.exists():
            _copy(source, target, mode)
        return 0

    def copy_to(self, hash_: str, into: str, kind: int) -> None:
        """A copy that its owner may change. A file replaces what is there at once; a folder has to be empty or not there."""
        if kind == FOLDER:
            self.copy_out(hash_, Path(into), kind)
            return
        target = Path(into)
        part = target.with_name(f".{secrets.token_hex(6)}.part")
        mode = 0o755 if kind == PROGRAM else 0o644
        if not _clone(self.folder / hash_, part, mode):
            _copy(self.folder / hash_, part, mode)
        part.rename(target)

    def take_back(self, given: tuple[Given, ...]) -> None:
        """An attempt is over: what it was given takes up no more room than it does here."""
        for path, inode in given:
            try:
                if os.lstat(path).st_ino == inode:
                    os.unlink(path)
            except OSError:
                pass  # the job removed or moved it

    # -- out of a job's folder ------------------------------------------------------------------------------------------
    def take_outputs(self, outputs: Iterable[tuple[str, str]], folder: str) -> list[Left]:
        """What lies at these (name, path), each moved out of the folder or copied. Raises OutputMissing, OSError."""
        taken: list[Left] = []
        try:
            for name, path in outputs:
                taken.append(self.take(name, os.path.join(folder, path), folder, f"output {name!r} ({path})", move=True))
        except BaseException:
            for left in taken:
                left.path.unlink(missing_ok=True)
            raise
        return taken

    def take(self, name: str, path: str, folder: str, what: str, *, move: bool) -> Left:
        """`folder`: what leads out of it is refused; "" for anywhere. Raises OutputMissing, OSError."""
        missing = f"{what} was not written" if folder else f"{what}: there is no such file or folder"
        real = os.path.realpath(path)
        if folder and not real.startswith(os.path.realpath(folder) + "/"):
            raise OutputMissing(f"{what} is a link that leads out of the job's folder: copy the file there")
        try:
            about = os.stat(real)
        except FileNotFoundError:
            raise OutputMissing(missing) from None
        except NotADirectoryError:
            raise OutputMissing(f"{missing}: a part of its path is no folder") from None
        key, part = self.new_part()
        if stat.S_ISDIR(about.st_mode):
            self._pack(Path(real), part, what)
            return Left(name, key, part, part.stat().st_size, FOLDER)
        if not stat.S_ISREG(about.st_mode):
            raise OutputMissing(f"{what} is neither a file nor a folder")
        if not (move and about.st_nlink == 1 and _renamed(real, part)) and not _clone(Path(real), part, 0o600):
            _copy(Path(real), part, 0o600)
        return Left(name, key, part, part.stat().st_size, PROGRAM if about.st_mode & 0o100 else FILE)

    def _pack(self, folder: Path, part: Path, what: str) -> None:
        try:
            limits = {"max_bytes": MAX_FOLDER_BYTES, "max_members": MAX_FOLDER_MEMBERS}
            found = survey(folder, everything=True, **limits)
            archive = build_archive(folder, self.folder, found=found, level=1, **limits)
        except TitanError as e:
            raise OutputMissing(f"{what}: {str(e).replace('project ', '')}") from None
        archive.path.rename(part)


def full_disk(error: OSError, what: str) -> EnvironmentFault:
    if error.errno == errno.ENOSPC:
        return EnvironmentFault(f"{what}: the disk of this worker is full: free space there, or limit --file-cache")
    return EnvironmentFault(f"{what}: {error.strerror or error}")


def cache_size(text: str) -> int:
    """Of --file-cache. Raises ValueError."""
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


def _renamed(path: str, part: Path) -> bool:
    try:
        os.rename(path, part)
    except OSError as e:
        if e.errno != errno.EXDEV:
            raise
        return False
    return True


def _clone(source: Path, target: Path, mode: int) -> bool:
    """A copy that shares its blocks, where the file system can do that."""
    from_ = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
    try:
        to = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            fcntl.ioctl(to, _FICLONE, from_)
            os.fchmod(to, mode)
        except OSError:
            os.unlink(target)
            return False
        finally:
            os.close(to)
    finally:
        os.close(from_)
    return True


def _copy(source: Path, target: Path, mode: int) -> None:
    from_ = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
    try:
        to = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            left = os.fstat(from_).st_size
            while left and (count := os.copy_file_range(from_, to, min(left, 1 << 30))):
                left -= count
            os.fchmod(to, mode)
        except BaseException:
            os.unlink(target)
            raise
        finally:
            os.close(to)
    finally:
        os.close(from_)
