"""Files that are read or written in order and hashed on the way.

Every method except `close` may block on the disk.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

from titan.content.blobs import PIECE_BYTES, Bytes
from titan.errors import CallerError
from titan.host.large_files import PageCacheHints


class FileReader:
    """File that is read from its beginning."""

    def __init__(self, path: str | Path, hash_: str = "") -> None:
        """`hash_`: the SHA-256 in hex, if known; with "", the file is hashed while it is read.
        Raises OSError."""
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self.size = os.fstat(self._fd).st_size
        self.hash = hash_
        self._digest = hashlib.sha256()
        self._hashed = 0
        self._cache_hints = PageCacheHints(self._fd, 0, written=False)

    def read(self, at: int) -> bytes:
        """Return the piece that begins at `at`. Raises CallerError if the file became shorter."""
        self._cache_hints.begin()
        piece = os.pread(self._fd, min(PIECE_BYTES, self.size - at), at)
        self._cache_hints.end(len(piece))
        if not piece and at < self.size:
            raise CallerError("the file became shorter while it was sent: send it again after its last write")
        if not self.hash and at <= self._hashed < at + len(piece):
            self._digest.update(piece if at == self._hashed else memoryview(piece)[self._hashed - at :])
            self._hashed = at + len(piece)
        return piece

    def whole_hash(self) -> str:
        """Return the SHA-256 of the whole file. First read the bytes that were not read yet, for
        example because an upload was resumed."""
        while not self.hash and self._hashed < self.size:
            self.read(self._hashed)
        self.hash = self.hash or self._digest.hexdigest()
        return self.hash

    def close(self) -> None:
        """Close the file. Closing twice is no error."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class MemoryReader:
    """Bytes in memory and their hash, with the interface of FileReader."""

    def __init__(self, data: bytes, hash_: str) -> None:
        self._view = memoryview(data)
        self.size = len(data)
        self.hash = hash_

    def read(self, at: int) -> memoryview:
        return self._view[at : at + PIECE_BYTES]

    def whole_hash(self) -> str:
        return self.hash

    def close(self) -> None:
        pass


class FileWriter:
    """File that is written from an offset on and hashed on the way."""

    def __init__(self, path: Path, *, written: int = 0, digest: Any = None, writeback: bool = False) -> None:
        """Truncate the file to `written` bytes. `digest`: the hash state of these bytes.

        `writeback`: start the kernel's writeback early, because a sync follows. Raises OSError.
        """
        self.path = path
        self.fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        os.ftruncate(self.fd, written)
        os.lseek(self.fd, written, os.SEEK_SET)
        self.digest = hashlib.sha256() if digest is None else digest
        self.written = written
        self.is_whole = True
        """True if the file, `written` and `digest` agree; False after a failed write."""
        self._cache_hints = PageCacheHints(self.fd, written, written=True, writeback=writeback)

    def write(self, pieces: Sequence[Bytes]) -> None:
        """Append the pieces. If they are large, another thread hashes them. Raises OSError."""
        size = sum(map(len, pieces))
        self.is_whole = False
        hashing = _hashers().submit(self._hash, pieces) if size >= PIECE_BYTES else None
        try:
            for piece in pieces:
                view = memoryview(piece)
                self._cache_hints.begin()
                while view:
                    view = view[os.write(self.fd, view) :]
                self._cache_hints.end(len(piece))
        finally:
            if hashing is None:
                self._hash(pieces)
            else:
                hashing.result()
        self.written += size
        self.is_whole = True

    def _hash(self, pieces: Sequence[Bytes]) -> None:
        for piece in pieces:
            self.digest.update(piece)

    def close(self) -> None:
        """Close the file. Closing twice is no error."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


class Counted:
    """FileWriter whose written bytes are counted."""

    def __init__(self, writer: FileWriter, count: Callable[[int], None]) -> None:
        self._writer = writer
        self._count = count

    @property
    def written(self) -> int:
        return self._writer.written

    def write(self, pieces: Sequence[Bytes]) -> None:
        before = self._writer.written
        self._writer.write(pieces)
        self._count(self._writer.written - before)


@cache
def _hashers() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(4, thread_name_prefix="titan-hash")
