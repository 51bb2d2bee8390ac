"""From a home directory to a state: the newest snapshot, then the log behind it, through the same `apply` that wrote it."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import msgspec

from titan.core import image
from titan.core.apply import apply
from titan.core.state import State
from titan.errors import Bug, JournalCorrupt, TitanError
from titan.journal import (
    CompactionLock,
    Record,
    TornTail,
    latest_snapshot,
    open_journal,
    read_records,
    read_snapshot,
    remove_half_made,
    repair_tail,
)
from titan.master.reading import EventReader, chunks_of, too_new_snapshot
from titan.model.settings import Settings


class Recovered(NamedTuple):
    state: State
    next_seq: int
    events: int
    """How many were replayed behind the snapshot."""
    torn: TornTail | None
    warnings: tuple[str, ...]


def recover(store: Path, settings: Settings) -> Recovered:
    """Repairs a torn tail and replays. Raises JournalCorrupt for damage that no crash explains.

    A compaction that outlived its master is ended first: it would delete segments while they are read here.
    """
    store.mkdir(parents=True, exist_ok=True)
    lock = CompactionLock(store)
    lock.take_over()
    with lock:
        remove_half_made(store)
        torn = repair_tail(store)
        state, seq, events, warnings = replay(store, settings)
        return Recovered(state, max(open_journal(store).next_seq, seq + 1), events, torn, warnings)


def _apply(state: State, reader: EventReader, record: Record) -> None:
    """Raises JournalTooNew, JournalCorrupt, which names the sequence of the event that cannot be repeated, or Bug."""
    seq, event = record.first_seq, None
    try:
        for event in reader.events(record):
            apply(state, event)
            seq += 1
    except JournalCorrupt as error:
        raise JournalCorrupt(f"sequence {seq:,} of the journal: {error}", error.path, error.offset) from error
    except TitanError:
        raise
    except Exception as error:
        what = f"sequence {seq:,} of the journal, {type(event).__name__}, does not follow from what is before it ({error!r})"
        next_step = "please report it, and restore a backup or start the version of Titan that wrote it"
        raise Bug(f"{what}: nothing was changed; {next_step}") from error


def replay(store: Path, settings: Settings, through: int | None = None) -> tuple[State, int, int, tuple[str, ...]]:
    """(state, last sequence, events replayed, warnings), up to the sequence `through` if that is given. Reads only."""
    choice = latest_snapshot(store)
    warnings = tuple(f"snapshot {d.path} is damaged ({d.verdict.reason}): an older one is used" for d in choice.damaged)
    state = State(settings)
    if choice.path is not None:
        snapshot = read_snapshot(choice.path)
        try:
            image.load(state, chunks_of(snapshot))
        except msgspec.MsgspecError as error:
            raise too_new_snapshot(snapshot, error) from None
        except JournalCorrupt as error:
            raise JournalCorrupt(f"snapshot {choice.path}: {error}", error.path or str(choice.path), error.offset) from error
        state.reindex()
    seq, events = choice.seq, 0
    reader = EventReader()
    for record in read_records(store, choice.seq, on_origin=reader.note_origin):
        if through is not None and record.last_seq > through:
            break
        _apply(state, reader, record)
        events += record.count
        seq = record.last_seq
    state.reindex()
    return state, seq, events, warnings
