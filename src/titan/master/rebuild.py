"""The history made anew from the journal: every run that left the state, as far back as the journal goes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from titan.core import events as ev
from titan.core import image
from titan.core.apply import apply
from titan.core.state import State
from titan.home_lock import HomeLock
from titan.journal import CompactionLock, read_records
from titan.journal.files import list_segments, list_snapshots
from titan.journal.snapshot import read_snapshot
from titan.master.history import CHUNK_JOBS, History, KeptRun, compressed, kept_run
from titan.master.log_store import LogStore
from titan.model.settings import Settings

BATCH = 500


class Rebuilt(NamedTuple):
    runs: int
    from_the_beginning: bool
    """Whether the journal goes back to its first record."""


def rebuild(home: Path) -> Rebuilt:
    """Puts what left the state into the history; what is there already and no longer in the journal stays.

    The master of that home must not run: raises Conflict. JournalCorrupt if the journal is damaged.
    """
    with HomeLock(home / "lock"), closing(History(home / "history.sqlite")) as history, closing(LogStore(home / "logs")) as logs:
        compaction = CompactionLock(home / "store")
        compaction.take_over()
        with compaction:
            return rebuild_into(history, home / "store", logs)


def rebuild_into(history: History, store: Path, logs: LogStore) -> Rebuilt:
    """The same for whoever has the locks."""
    segments, snapshots = list_segments(store), list_snapshots(store)
    whole = bool(segments) and segments[0].seq <= 1
    state, seq = State(Settings()), 0
    if not whole and snapshots:
        image.load(state, read_snapshot(snapshots[0].path).chunks)
        state.reindex()
        seq = snapshots[0].seq
    count = 0
    leaving = _leaving(state, store, seq, logs)
    while batch := list(islice(leaving, BATCH)):
        history.put(batch)
        count += len(batch)
    return Rebuilt(count, whole)


def _leaving(state: State, store: Path, seq: int, logs: LogStore) -> Iterator[KeptRun]:
    """Each run as it was when it left."""
    for record in read_records(store, seq):
        for event in ev.decode(record.payload):
            if isinstance(event, ev.RunArchived):
                run = state.runs[event.run]
                chunks = [compressed(chunk) for chunk in image.dump_run(state, run, CHUNK_JOBS)]
                yield kept_run(state, run, chunks, logs.size(run.id))
            apply(state, event)
