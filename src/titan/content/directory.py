"""Blob store in one directory of a local disk.

    HASH         blob: complete, synced, immutable; the mtime is the time of the last store or touch
    KEY.part     unfinished upload, which the sender resumes after a lost connection or a restart
    HASH.gone    blob that is being removed; renamed first, because unlinking may take long
    KEY.link     link to a file that is about to become a blob
    nearby       token of `content.nearby`, if the folder is offered to peers on this machine

A blob may be a hard link to a file in the home of a worker on this machine. The file is then
read-only, and master and worker can each remove their own link.

A *seal* is the inode, size and mtime of a file. A blob whose file still matches a known seal need
not be hashed again.

Owns the paths, the room on the disk and the removal of blobs. Must not know who refers to a blob.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
import threading
import time
from collections.abc import Container, Iterator
from pathlib import Path
from typing import Any

from titan.content.blobs import PIECE_BYTES, Removed, put_from
from titan.content.files import FileReader, FileWriter
from titan.content.nearby import Nearby, Seal, has_no_writers, offer, open_owned, seal_of
from titan.errors import CallerError, EnvironmentFault, NotFound
from titan.host.large_files import begin_writing
from titan.model.sizes import format_size

SPARE_BYTES = 64 << 20
"""Bytes that stay free on the disk, because the journal may be on the same disk."""
SPARE_SHARE = 16
"""On a small disk, at most 1/SPARE_SHARE of the disk stays free."""
PART_S = 86_400.0
"""Seconds after which an unfinished upload is removed."""
PARKED = 256
"""Maximum number of parked parts whose hash state is kept. Other parts are hashed again."""
SEALS = 65_536
"""Maximum number of seals that are kept: those of the newest blobs. Other blobs are sent over the
connection."""
_HASH = re.compile(r"[0-9a-f]{64}")
_KEY = re.compile(r"[0-9a-f]{16,64}")


class DirectoryStore:
    """`BlobStore` in a directory."""

    def __init__(self, folder: Path, *, spare_bytes: int | None = None) -> None:
        """Create the folder if it is missing. Leave `spare_bytes` free on the disk, by default
        SPARE_BYTES. Raises OSError."""
        self.folder = folder
        self._spare_bytes = spare_bytes
        self._open: dict[str, _Part] = {}
        self._parked: dict[str, tuple[int, Any]] = {}
        """Key -> (bytes on disk, hash state of these bytes)."""
        self._seals: dict[str, Seal] = {}
        self._nearby: Nearby | None = None
        self._lock = threading.Lock()
        """Guards `_open`, `_parked` and `_seals`, and each decision to keep or remove a blob."""
        folder.mkdir(parents=True, exist_ok=True)
        for gone in (*folder.glob("*.gone"), *folder.glob("*.link")):
            gone.unlink(missing_ok=True)
        self.sweep_parts()

    # -- blobs -------------------------------------------------------------------------------------
    def has(self, hash_: str) -> bool:
        return _HASH.fullmatch(hash_) is not None and os.path.isfile(f"{self.folder}/{hash_}")

    def touch(self, hash_: str) -> bool:
        if _HASH.fullmatch(hash_) is None:
            return False
        with self._lock:
            path = f"{self.folder}/{hash_}"
            try:
                unchanged = hash_ in self._seals and seal_of(path) == self._seals[hash_]
                os.utime(path)
                if unchanged:
                    self._seals[hash_] = seal_of(path)
                else:
                    self._seals.pop(hash_, None)
            except OSError:
                return False
        return True

    def open(self, hash_: str) -> FileReader:
        try:
            if _HASH.fullmatch(hash_) is not None:
                return FileReader(self.folder / hash_, hash_)
        except FileNotFoundError:
            pass
        raise NotFound(f"the master has no content {hash_[:12]!r} any more: stage it again, or run the job that made it again")

    # -- blobs as files ----------------------------------------------------------------------------
    def offer_nearby(self) -> None:
        """Let peers of this machine exchange blobs as files. Raises the errors of
        `nearby.offer`."""
        self._nearby = offer(self.folder)

    @property
    def nearby(self) -> Nearby | None:
        return self._nearby

    def seal(self, hash_: str) -> Seal | None:
        known = self._seals.get(hash_)
        try:
            return known if known is not None and seal_of(f"{self.folder}/{hash_}") == known else None
        except OSError:
            return None

    def take(self, path: str, size: int, hash_: str, hashed: Seal | None = None) -> bool:
        try:
            fd = open_owned(path) if os.path.isabs(path) and _HASH.fullmatch(hash_) else None
        except OSError:
            return False
        if fd is None:
            return False
        try:
            return self._take(fd, path, size, hash_, hashed)
        finally:
            os.close(fd)

    def _take(self, fd: int, path: str, size: int, hash_: str, hashed: Seal | None) -> bool:
        """Take an open file. The kernel writes it to the disk while this thread hashes it. The link
        is made last, so a crash leaves a complete blob or no blob."""
        status = os.fstat(fd)
        if status.st_size != size or status.st_dev != self.folder.stat().st_dev or not has_no_writers(fd):
            return False
        self._expect_room(size)
        begin_writing(fd, 0, size)
        os.fchmod(fd, 0o400)
        is_as_hashed = seal_of(fd) == hashed
        os.utime(fd)
        before = seal_of(fd)
        arrived = hash_ if is_as_hashed else _hash_of(fd)
        os.fsync(fd)
        part = self.folder / f"{secrets.token_hex(16)}.link"
        try:
            os.link(path, part, follow_symlinks=False)
        except OSError as e:
            if e.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
                raise
            return False
        try:
            if not os.path.samestat(os.lstat(part), os.fstat(fd)) or seal_of(fd) != before or not has_no_writers(fd):
                return False
            if arrived != hash_:
                raise CallerError(
                    f"a file of {size:,} bytes was handed over with content that does not match its hash: send it again"
                )
            self._enter(part, hash_, before)
            return True
        finally:
            part.unlink(missing_ok=True)

    def _enter(self, part: Path, hash_: str, seal: Seal) -> None:
        """Turn a complete, synced and verified part into a blob, durable when this returns. Raises
        OSError."""
        with self._lock:
            part.rename(self.folder / hash_)
            self._seals.pop(hash_, None)
            self._seals[hash_] = seal
            if len(self._seals) > SEALS:
                del self._seals[next(iter(self._seals))]
        sync_directory(self.folder)

    def read_now(self, hash_: str, most_bytes: int) -> bytes | None:
        if _HASH.fullmatch(hash_) is None:
            return None
        try:
            fd = os.open(f"{self.folder}/{hash_}", os.O_RDONLY | os.O_CLOEXEC)
            try:
                size = os.fstat(fd).st_size
                return os.read(fd, size) if size <= most_bytes else None
            finally:
                os.close(fd)
        except OSError:
            return None

    def sizes(self) -> Iterator[tuple[str, int]]:
        for entry in os.scandir(self.folder):
            if _HASH.fullmatch(entry.name):
                try:
                    yield entry.name, entry.stat().st_size
                except FileNotFoundError:
                    continue

    def remove_unreferenced(self, referenced: Container[str], *, before: float) -> Removed:
        blobs = size = 0
        for name in [entry.name for entry in os.scandir(self.folder) if _HASH.fullmatch(entry.name)]:
            if name in referenced:
                continue
            path, gone = self.folder / name, self.folder / f"{name}.gone"
            with self._lock:
                try:
                    status = path.stat()
                    if status.st_mtime >= before:
                        continue
                    path.rename(gone)
                    self._seals.pop(name, None)
                except FileNotFoundError:
                    continue
            gone.unlink()
            blobs, size = blobs + 1, size + status.st_size
        return Removed(blobs, size)

    # -- parts -------------------------------------------------------------------------------------
    def check_key(self, key: str) -> None:
        if _KEY.fullmatch(key) is None:
            raise CallerError(f"{key[:80]!r} is not the key of an upload, which has 16 to 64 hexadecimal digits")

    def open_part(self, key: str, size: int) -> _Part:
        self.check_key(key)
        path = self.folder / f"{key}.part"
        with self._lock:
            assert key not in self._open, key
            known = self._parked.pop(key, None)
        written, digest = _resume_state(path, size, known)
        part = _Part(self, key, size, path, written, digest)
        with self._lock:
            self._open[key] = part
        try:
            self._expect_room(size)
        except BaseException:
            part.park()
            raise
        return part

    def sweep_parts(self) -> None:
        limit = time.time() - PART_S
        for path in self.folder.glob("*.part"):
            with self._lock:
                try:
                    if path.stem not in self._open and path.stat().st_mtime < limit:
                        self._parked.pop(path.stem, None)
                        path.unlink()
                except FileNotFoundError:
                    continue

    def _expect_room(self, size: int) -> None:
        """Raise EnvironmentFault if the disk lacks room for all unwritten bytes of open parts.
        `size`: bytes of the newest file, for the error text."""
        with self._lock:
            announced = sum(part.size - part.written for part in self._open.values())
        disk = os.statvfs(self.folder)
        free = disk.f_bavail * disk.f_frsize
        spare = self._spare_bytes
        if spare is None:
            spare = min(SPARE_BYTES, disk.f_blocks * disk.f_frsize // SPARE_SHARE)
        if announced + spare > free:
            raise EnvironmentFault(
                f"the disk of the master's files is full: {format_size(free)} are free, and the file has {format_size(size)}:"
                " free space there, or shorten the history of runs (--set history_s, history_bytes)"
            )

    # -- older homes -------------------------------------------------------------------------------
    def adopt(self, older: Path) -> int:
        """Move the blobs of another directory of this layout here, and remove that directory.
        Return the number of blobs.

        Each blob is moved by one rename, or copied from another file system. If the process is
        killed meanwhile, the next start continues. Adopted blobs count as touched now. Raises
        OSError.
        """
        try:
            names = os.listdir(older)
        except FileNotFoundError:
            return 0
        adopted = 0
        for name in names:
            source = older / name
            if _HASH.fullmatch(name) is None:
                source.unlink()  # an unfinished upload
                continue
            adopted += 1
            if self.touch(name):
                source.unlink()
                continue
            os.utime(source)
            try:
                source.rename(self.folder / name)
            except OSError:  # the other directory is on another file system
                put_from(self, FileReader(source, name))
                source.unlink()
        sync_directory(self.folder)
        older.rmdir()
        sync_directory(older.parent)
        return adopted


class _Part(FileWriter):
    def __init__(self, store: DirectoryStore, key: str, size: int, path: Path, written: int, digest: Any) -> None:
        super().__init__(path, written=written, digest=digest, writeback=True)
        self.size = size
        self._store = store
        self._key = key

    def finish(self, hash_: str) -> None:
        os.utime(self.fd)  # the blob counts as stored now, even if the last write was long ago
        os.fsync(self.fd)
        arrived = self.digest.hexdigest()
        if arrived != hash_ or self.written != self.size:
            difference = "content that does not match its hash" if self.written == self.size else f"{self.written:,} bytes"
            self.discard()
            raise CallerError(f"a file of {self.size:,} bytes arrived with {difference}: send it again")
        self._store._enter(self.path, hash_, seal_of(self.fd))
        self._leave()

    def park(self) -> None:
        if self.fd < 0:
            return
        state = (self.written, self.digest) if self.is_whole else None
        self._leave(state)

    def discard(self) -> None:
        if self.fd >= 0:
            self.path.unlink(missing_ok=True)
            self._leave()

    def _leave(self, state: tuple[int, Any] | None = None) -> None:
        self.close()
        store = self._store
        with store._lock:
            store._open.pop(self._key, None)
            if state is not None:
                store._parked[self._key] = state
                while len(store._parked) > PARKED:
                    del store._parked[next(iter(store._parked))]


def _resume_state(path: Path, size: int, known: tuple[int, Any] | None) -> tuple[int, Any]:
    """Return the number of stored bytes of an interrupted upload, and the hash state of these
    bytes."""
    try:
        stored = path.stat().st_size
    except FileNotFoundError:
        return 0, None
    if known is not None and known[0] <= min(stored, size):
        return known
    digest, at = hashlib.sha256(), 0
    with path.open("rb", buffering=0) as source:
        while at < min(stored, size) and (piece := source.read(min(PIECE_BYTES, size - at))):
            digest.update(piece)
            at += len(piece)
    return at, digest


def _hash_of(fd: int) -> str:
    """Return the SHA-256 of a file in hex, from the position of the descriptor on. Raises
    OSError."""
    with open(fd, "rb", buffering=0, closefd=False) as source:
        return hashlib.file_digest(source, "sha256").hexdigest()


def sync_directory(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
