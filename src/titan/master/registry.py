"""perm_files/: the artifact registry. Scripts, binaries and archives by content hash, and by name.

    perm_files/NAME            what a person put there, or a client that was told to do so; what submissions stage has no name
    perm_files/.objects/HASH   the content, by SHA-256; immutable

A file that is dropped into perm_files/ is picked up when its name is asked for. Names are paths inside the registry: what leads
out of it is refused. Content is checked as it arrives and again by whoever fetches it.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import secrets
import shutil
from pathlib import Path
from typing import BinaryIO

from titan.errors import CallerError, Conflict, LimitExceeded, NotFound

MAX_ARTIFACT = 16 * 1024 * 1024 * 1024
_HASH = re.compile(r"[0-9a-f]{64}")
_BAD_NAME = (errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG)


class Upload:
    """An artifact that arrives piece by piece, in order."""

    def __init__(self, hash_: str, size: int, path: Path) -> None:
        self.hash = hash_
        self.size = size
        self.path = path
        self._file: BinaryIO = path.open("wb")
        self._digest = hashlib.sha256()
        self.received = 0
        self.dropped = False
        """Nobody waits for it any more."""

    def write(self, offset: int, piece: bytes | memoryview) -> None:
        """May take as long as the disk does."""
        if self.dropped:
            return
        if offset != self.received:
            raise Conflict(f"artifact {self.hash[:12]}: a piece at {offset} where {self.received} is due: send it from the start")
        self.received += len(piece)
        if self.received > self.size:
            raise CallerError(f"artifact {self.hash[:12]}: more bytes than the {self.size} announced")
        self._digest.update(piece)
        self._file.write(piece)

    def finish(self) -> None:
        """Raises CallerError if the content is not what its hash says."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        if self._digest.hexdigest() != self.hash:
            raise CallerError(f"artifact {self.hash[:12]} arrived with another content than its hash says: send it again")

    def abandon(self) -> None:
        self._file.close()
        self.path.unlink(missing_ok=True)


class Registry:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._objects = folder / ".objects"
        self._objects.mkdir(parents=True, exist_ok=True)
        for leftover in self._objects.glob("*.part"):
            leftover.unlink(missing_ok=True)
        self._named: dict[str, tuple[tuple[int, int, int], str]] = {}

    def has(self, hash_: str) -> bool:
        return _HASH.fullmatch(hash_) is not None and os.path.isfile(f"{self._objects}/{hash_}")

    def lacks(self, hashes: list[str]) -> list[str]:
        """Those that are not here, each once."""
        return [hash_ for hash_ in dict.fromkeys(hashes) if not self.has(hash_)]

    def path(self, hash_: str) -> Path:
        """Raises NotFound."""
        if not self.has(hash_):
            raise NotFound(f"no artifact {hash_[:64]!r} is here: stage it first")
        return self._objects / hash_

    def begin(self, hash_: str, size: int) -> Upload:
        if _HASH.fullmatch(hash_) is None:
            raise CallerError(f"{hash_[:80]!r} is no SHA-256 in hex")
        if not 0 <= size <= MAX_ARTIFACT:
            raise LimitExceeded(f"an artifact of {size:,} bytes; the limit is {MAX_ARTIFACT:,}")
        return Upload(hash_, size, self._objects / f"{hash_}.{secrets.token_hex(4)}.part")

    def enter(self, upload: Upload, name: str) -> None:
        """A finished upload becomes an object, and `name`, if given, stands for it from now on."""
        upload.finish()
        target = self._objects / upload.hash
        upload.path.rename(target)
        sync_directory(self._objects)
        if name:
            self._give_name(name, target)

    def resolve(self, name: str) -> tuple[str, int]:
        """(hash, size) of what lies in perm_files/ under that name. Raises NotFound, or CallerError for a path that leads out."""
        path = self._inside(name)
        try:
            stat = path.stat()
        except OSError:
            raise NotFound(f"perm_files/ has no {name!r}: put the file there, or submit it from your own disk") from None
        if not path.is_file():
            raise CallerError(f"perm_files/{name} is no file")
        seal = (stat.st_ino, stat.st_size, stat.st_mtime_ns)
        known = self._named.get(name)
        if known is None or known[0] != seal or not self.has(known[1]):
            known = self._named[name] = (seal, self._ingest(path))
        return known[1], stat.st_size

    def _inside(self, name: str) -> Path:
        parts = name.split("/")
        if not name or name.startswith("/") or "\0" in name or any(p in ("", ".", "..") or p.startswith(".") for p in parts):
            raise CallerError(f"{name[:200]!r} is no name inside perm_files/: no '..', no leading '/' or '.'")
        path = self.folder.joinpath(*parts)
        if not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(self.folder)):
            raise CallerError(f"perm_files/{name} is a link that leads out of perm_files/")
        return path

    def _ingest(self, path: Path) -> str:
        part = self._objects / f"{secrets.token_hex(8)}.part"
        digest = hashlib.sha256()
        with path.open("rb") as source, part.open("wb") as copy:
            while piece := source.read(1 << 20):
                digest.update(piece)
                copy.write(piece)
            copy.flush()
            os.fsync(copy.fileno())
        part.rename(self._objects / digest.hexdigest())
        sync_directory(self._objects)
        return digest.hexdigest()

    def _give_name(self, name: str, target: Path) -> None:
        path = self._inside(name)
        part = path.with_name(f".{secrets.token_hex(6)}.part")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(target, part)
            part.rename(path)
        except OSError as e:
            with contextlib.suppress(OSError):
                part.unlink()
            if e.errno in _BAD_NAME:
                raise CallerError(f"perm_files/ cannot hold the name {name[:200]!r}: {e.strerror}") from e
            raise


def sync_directory(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
