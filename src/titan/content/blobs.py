"""What a store of content must be able to do, whatever lies under it: a directory today, a shared
one or a bucket next.

A blob is immutable and known by its SHA-256. It arrives as a *part*, under a key that its sender
draws, and is a blob when the part is finished: whole, durable, and what its hash says. Every method
but `has`, `touch` and `read_now` may take as long as the disk or the network does: call it in a
thread. All methods may be called from several threads at once.
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
"""Bytes of one read."""


class Reader(Protocol):
    """A blob, or a file, that is read in order."""

    @property
    def size(self) -> int: ...

    def read(self, at: int) -> bytes:
        """Return the piece that begins at `at`: at most PIECE_BYTES, and b"" at the end. Raises
        OSError, TitanError."""
        ...

    def close(self) -> None:
        """Closing twice is no error."""
        ...


class Part(Protocol):
    """A blob that arrives. One caller at a time."""

    @property
    def written(self) -> int:
        """Bytes that are there; the sender goes on behind them."""
        ...

    def write(self, pieces: Sequence[Bytes]) -> None:
        """Append. Raises OSError; then only `park` and `discard` may follow."""
        ...

    def finish(self, hash_: str) -> None:
        """Make it the blob `hash_`, durable when this returns. Raises CallerError if it is another
        content, and drops it."""
        ...

    def park(self) -> None:
        """Close it and keep what came: `open_part` with its key goes on. Closing twice is no error."""
        ...

    def discard(self) -> None:
        """Close it and drop what came."""
        ...


class Removed(NamedTuple):
    blobs: int
    size: int
    """Bytes."""


class BlobStore(Protocol):
    def has(self, hash_: str) -> bool: ...

    def touch(self, hash_: str) -> bool:
        """Return whether the blob is here. If it is, `remove_unreferenced` spares it from now on
        for as long as it spares anything that nobody refers to."""
        ...

    def open(self, hash_: str) -> Reader:
        """Raises NotFound, OSError."""
        ...

    @property
    def nearby(self) -> Nearby | None:
        """The folder in which peers of this machine find blobs as files, once that is offered;
        None: they cannot."""
        ...

    def seal(self, hash_: str) -> Seal | None:
        """Return the seal of a blob that is a file, came to this process with a hash that was
        verified or with a seal that it matched, and has not changed since. Does not block."""
        ...

    def take(self, path: str, size: int, hash_: str, hashed: Seal | None = None) -> bool:
        """Make a finished file of another process of this user the blob `hash_`, durable when this
        returns. Copies nothing.

        `hashed`: the seal of the file when its writer hashed it. A file that still matches it is
        not hashed again.

        False: it cannot be taken, so it is to be sent. Raises CallerError if it is another content,
        EnvironmentFault if the disk has no room to spare, OSError.
        """
        ...

    def read_now(self, hash_: str, most_bytes: int) -> bytes | None:
        """Return all of a blob of at most so many bytes, if that takes a few system calls and waits
        for no network.

        None: `open` it in a thread.
        """
        ...

    def check_key(self, key: str) -> None:
        """Raises CallerError for what cannot be the key of a part. Does not block."""
        ...

    def open_part(self, key: str, size: int) -> Part:
        """Begin a part of `size` bytes, or go on with what an earlier sending under this key left,
        also before a restart.

        Raises CallerError for a bad key, EnvironmentFault if there is no room for it beside the
        other parts, OSError.
        """
        ...

    def sizes(self) -> Iterator[tuple[str, int]]:
        """Each blob and its size in bytes, in no order."""
        ...

    def remove_unreferenced(self, referenced: Container[str], *, before: float) -> Removed:
        """Remove blobs that are not `referenced` and were neither stored nor touched since `before`
        (seconds since the epoch)."""
        ...

    def sweep_parts(self) -> None:
        """Remove parked parts that nobody will go on with."""
        ...


def put(store: BlobStore, hash_: str, data: Bytes) -> None:
    """Store a small blob that is in memory. Raises as `BlobStore.open_part` and `Part.finish`."""
    part = store.open_part(secrets.token_hex(16), len(data))
    try:
        part.write([data])
        part.finish(hash_)
    except BaseException:
        part.discard()
        raise


def put_from(store: BlobStore, source: Reader) -> str:
    """Store what is read from `source`; return its hash. Raises as `put`, and what the source
    raises."""
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
    """All of it, in order; closes it."""
    with contextlib.closing(source):
        at = 0
        while piece := source.read(at):
            yield piece
            at += len(piece)
