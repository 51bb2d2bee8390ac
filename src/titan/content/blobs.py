"""Interface of a blob store, independent of the storage. `directory` implements it.

A blob is immutable and identified by its SHA-256. It arrives as a *part*, an unfinished upload
under a random key that the sender chooses. A finished part becomes a blob: complete, durable, and
verified against its hash. Methods may block on the disk or the network, so call them in a thread.
The exceptions are `has`, `touch`, `read_now`, and methods that say so. All methods are thread-safe.
"""

from __future__ import annotations

import contextlib
import hashlib
import secrets
from collections.abc import Container, Iterator, Sequence
from typing import NamedTuple, Protocol

from titan.content.nearby import Nearby, Seal

Bytes = bytes | memoryview
PIECE_BYTES = 2 << 20
"""Maximum bytes of one read."""


class Reader(Protocol):
    """Reader of a blob or a file from its beginning to its end."""

    @property
    def size(self) -> int: ...

    def read(self, at: int) -> bytes:
        """Return the piece that begins at `at`: at most PIECE_BYTES, and b"" at the end. Raises
        OSError, TitanError."""
        ...

    def close(self) -> None:
        """Close the reader. Closing twice is no error."""
        ...


class Part(Protocol):
    """Unfinished upload of a blob. Not thread-safe."""

    @property
    def written(self) -> int:
        """Number of stored bytes. The sender continues at this offset."""
        ...

    def write(self, pieces: Sequence[Bytes]) -> None:
        """Append pieces. Raises OSError, after which only `park` and `discard` may be called."""
        ...

    def finish(self, hash_: str) -> None:
        """Turn the part into the blob `hash_`, durably. If the content does not match the hash,
        drop the part and raise CallerError."""
        ...

    def park(self) -> None:
        """Close the part and keep its bytes, so that `open_part` with its key can resume the
        upload. Closing twice is no error."""
        ...

    def discard(self) -> None:
        """Close the part and drop its bytes."""
        ...


class Removed(NamedTuple):
    blobs: int
    size: int
    """Bytes."""


class BlobStore(Protocol):
    def has(self, hash_: str) -> bool: ...

    def touch(self, hash_: str) -> bool:
        """Return True if the store has the blob, and mark the blob as used now.
        `remove_unreferenced` then keeps the blob for the full grace period, even without a
        reference."""
        ...

    def open(self, hash_: str) -> Reader:
        """Open a blob for reading. Raises NotFound, OSError."""
        ...

    @property
    def nearby(self) -> Nearby | None:
        """Folder that is offered to peers on this machine, where they find blobs as files; None if
        no folder is offered."""
        ...

    def seal(self, hash_: str) -> Seal | None:
        """Return the seal (inode, size and mtime) of a blob that is a file. Does not block.

        Return None if this process has neither verified the blob's hash nor matched a seal of the
        blob, or if the file has changed since then.
        """
        ...

    def take(self, path: str, size: int, hash_: str, hashed: Seal | None = None) -> bool:
        """Turn a finished file of another process of this user into the blob `hash_`, durably and
        without a copy.

        `hashed`: the seal of the file when its writer hashed it. A file that still matches its seal
        is not hashed again.

        Return False if the file cannot be taken; the sender then has to upload it. Raises
        CallerError if the content does not match the hash, EnvironmentFault if the disk has too
        little room, OSError.
        """
        ...

    def read_now(self, hash_: str, most_bytes: int) -> bytes | None:
        """Return the content of a blob of at most `most_bytes`, if this takes only a few system
        calls and no network.

        Return None otherwise; then `open` the blob in a thread.
        """
        ...

    def check_key(self, key: str) -> None:
        """Raise CallerError if `key` cannot be the key of a part. Does not block."""
        ...

    def open_part(self, key: str, size: int) -> Part:
        """Begin a part of `size` bytes, or resume an earlier upload under this key, even one from
        before a restart.

        Raises CallerError for a bad key, EnvironmentFault if the disk has no room for all open
        parts, OSError.
        """
        ...

    def sizes(self) -> Iterator[tuple[str, int]]:
        """Yield the hash and size in bytes of each blob, in no order."""
        ...

    def remove_unreferenced(self, referenced: Container[str], *, before: float) -> Removed:
        """Remove blobs that are not `referenced` and were last stored or touched before `before`
        (seconds since the epoch)."""
        ...

    def sweep_parts(self) -> None:
        """Remove parked parts whose upload will not be resumed."""
        ...


def put(store: BlobStore, hash_: str, data: Bytes) -> None:
    """Store a small blob from memory. Raises the errors of `BlobStore.open_part` and
    `Part.finish`."""
    part = store.open_part(secrets.token_hex(16), len(data))
    try:
        part.write([data])
        part.finish(hash_)
    except BaseException:
        part.discard()
        raise


def put_from(store: BlobStore, source: Reader) -> str:
    """Store the content of `source` and return its hash. Raises the errors of `put` and of the
    source."""
    part = store.open_part(secrets.token_hex(16), source.size)
    digest = hashlib.sha256()
    try:
        for piece in pieces_of(source):
            digest.update(piece)
            part.write([piece])
        part.finish(digest.hexdigest())
    except BaseException:
        part.discard()
        raise
    return digest.hexdigest()


def pieces_of(source: Reader) -> Iterator[bytes]:
    """Yield the content of `source` in order, then close it."""
    with contextlib.closing(source):
        at = 0
        while piece := source.read(at):
            yield piece
            at += len(piece)
