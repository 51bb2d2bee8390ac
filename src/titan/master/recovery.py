"""From a home directory to a state: the newest snapshot, then the log behind it, through the same `apply` that wrote it."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from titan.core import image
from titan.core.apply import apply
from titan.core.events import decode
from titan.core.state import State
from titan.errors import JournalCorrupt
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


def _apply(state: State, record: Record) -> None:
    """Raises JournalCorrupt, which names the sequence of the event that cannot be repeated."""
    seq = record.first_seq
    try:
        for event in decode(record.payload):
            apply(state, event)
            seq += 1
    except JournalCorrupt as error:
        raise JournalCorrupt(f"sequence {seq:,} of the journal: {error}", error.path, error.offset) from error


def replay(store: Path, settings: Settings, through: int | None = None) -> tuple[State, int, int, tuple[str, ...]]:
    """(state, last sequence, events replayed, warnings), up to the sequence `through` if that is given. Reads only."""
    choice = latest_snapshot(store)
    warnings = tuple(f"snapshot {d.path} is damaged ({d.verdict.reason}): an older one is used" for d in choice.damaged)
    state = State(settings)
    if choice.path is not None:
        try:
            image.load(state, read_snapshot(choice.path).chunks)
        except JournalCorrupt as error:
            raise JournalCorrupt(f"snapshot {choice.path}: {error}", error.path or str(choice.path), error.offset) from error
        state.reindex()
    seq, events = choice.seq, 0
    for record in read_records(store, choice.seq):
        if through is not None and record.last_seq > through:
            break
        _apply(state, record)
        events += record.count
        seq = record.last_seq
    state.reindex()
    return state, seq, events, warnings
