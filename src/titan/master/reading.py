"""Records and snapshots as events and chunks, or an error that says which Titan wrote what this one cannot read."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import msgspec

from titan import core, model
from titan._version import __version__
from titan.core.events import Event, decode
from titan.core.shapes import check_chunk, check_events
from titan.errors import JournalTooNew
from titan.journal import Record, Snapshot


@cache
def origin() -> bytes:
    """Who writes: the version, and a digest of the code that says what events and snapshots are; at most 32 bytes."""
    digest = 0
    for package in (core, model):
        for path in sorted(Path(package.__path__[0]).glob("*.py")):
            digest = zlib.crc32(path.read_bytes(), digest)
    return f"{__version__[:22]} {digest:08x}".encode()


def written_by(found: bytes) -> str:
    """The version in an origin, for people."""
    return f"Titan {found.decode(errors='replace').partition(' ')[0]}" if found else "a Titan that did not say its version"


class EventReader:
    """Reads records; `note_origin` says who wrote those that follow."""

    def __init__(self) -> None:
        self._origin = b""

    def note_origin(self, found: bytes) -> None:
        self._origin = found

    def events(self, record: Record) -> list[Event]:
        """Raises JournalTooNew."""
        try:
            if self._origin != origin():
                check_events(record.payload)
            return decode(record.payload)
        except (JournalTooNew, msgspec.MsgspecError) as error:
            raise _too_new(f"the record of sequence {record.first_seq} in the journal", self._origin, error) from None


def chunks_of(snapshot: Snapshot) -> Iterator[bytes]:
    """Its chunks, each found to hold no more than this Titan knows. Raises JournalTooNew."""
    for chunk in snapshot.chunks:
        if snapshot.origin != origin():
            try:
                check_chunk(chunk)
            except (JournalTooNew, msgspec.MsgspecError) as error:
                raise too_new_snapshot(snapshot, error) from None
        yield chunk


def too_new_snapshot(snapshot: Snapshot, error: Exception) -> JournalTooNew:
    return _too_new(f"the snapshot as of sequence {snapshot.seq}", snapshot.origin, error)


def _too_new(what: str, found: bytes, error: Exception) -> JournalTooNew:
    return JournalTooNew(
        f"{what} is of a later Titan: {error}. {written_by(found)} wrote it and this is {__version__}: start that version again,"
        " or restore a backup that this one made; nothing was changed"
    )
