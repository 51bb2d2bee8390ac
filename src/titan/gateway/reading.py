"""Reading of journal records as events, and of snapshots as state.

Each record and snapshot has an origin, which names the version of Titan that wrote it. `ours` is
the origin of this version. Data of another origin is first checked against the types, see
`core.versions`. An error names the version that wrote unreadable data.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from titan._version import __version__
from titan.core.events.events import Event, decode
from titan.core.state import snapshot
from titan.core.state.state import State
from titan.core.versions import check_chunk, check_events
from titan.errors import JournalCorrupt, JournalTooNew
from titan.journal.engine import Snapshot
from titan.journal.records import Record


def events_of(record: Record, ours: bytes) -> list[Event]:
    """Return the events of a record. Raises JournalTooNew."""
    try:
        if record.origin != ours:
            check_events(record.payload)
        return decode(record.payload)
    except (JournalTooNew, msgspec.MsgspecError) as error:
        raise _too_new(f"the record of sequence {record.first_seq} in the journal", record.origin, error) from None


def load_snapshot(state: State, stored: Snapshot, name: str, ours: bytes) -> None:
    """Load a snapshot into an empty state. `name`: the snapshot's name for error messages.

    Raises JournalTooNew, JournalCorrupt.
    """
    try:
        snapshot.load(state, _chunks_of(stored, ours))
    except msgspec.MsgspecError as error:
        raise _too_new_snapshot(stored, error) from None
    except JournalCorrupt as error:
        raise JournalCorrupt(f"snapshot {name}: {error}", error.path or name, error.offset) from error
    state.reindex()


def written_by(found: bytes) -> str:
    """Return a text that names the version of Titan in an origin."""
    return f"Titan {found.decode(errors='replace').partition(' ')[0]}" if found else "a Titan of unknown version"


def _chunks_of(snapshot: Snapshot, ours: bytes) -> Iterator[bytes]:
    for chunk in snapshot.chunks:
        if snapshot.origin != ours:
            try:
                check_chunk(chunk)
            except (JournalTooNew, msgspec.MsgspecError) as error:
                raise _too_new_snapshot(snapshot, error) from None
        yield chunk


def _too_new_snapshot(snapshot: Snapshot, error: Exception) -> JournalTooNew:
    return _too_new(f"the snapshot as of sequence {snapshot.seq}", snapshot.origin, error)


def _too_new(data: str, found: bytes, error: Exception) -> JournalTooNew:
    return JournalTooNew(
        f"{data} is of a later Titan: {error}. {written_by(found)} wrote it and this is {__version__}: start that version again,"
        " or restore a backup that this one made; nothing was changed"
    )
