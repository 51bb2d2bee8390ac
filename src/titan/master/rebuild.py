"""The history made anew from the journal: every run that left the state, as far back as the journal goes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from titan.core import events as ev
from titan.core import image
from titan.core.apply import apply
from titan.core.state import NO_WORKER, State
from titan.home_lock import HomeLock
from titan.journal import read_records
from titan.journal.files import list_segments, list_snapshots
from titan.journal.snapshot import read_snapshot
from titan.master.history import CHUNK_JOBS, History, KeptRun, compressed
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
    lock = HomeLock(home / "lock")
    lock.acquire()
    history = History(home / "history.sqlite")
    logs = LogStore(home / "logs")
    try:
        store = home / "store"
        segments, snapshots = list_segments(store), list_snapshots(store)
        whole = bool(segments) and segments[0].seq <= 1
        state, seq = State(Settings()), 0
        if not whole and snapshots:
            image.load(state, read_snapshot(snapshots[0].path).chunks)
            state.reindex()
            seq = snapshots[0].seq
        count = 0
        batch: list[KeptRun] = []
        workers: dict[int, str] = {}
        for kept, ran_on in _leaving(state, store, seq, logs):
            batch.append(kept)
            workers.update(ran_on)
            count += 1
            if len(batch) >= BATCH:
                history.put(batch, workers)
                batch, workers = [], {}
        history.put(batch, workers)
        return Rebuilt(count, whole)
    finally:
        history.close()
        logs.close()
        lock.release()


def _leaving(state: State, store: Path, seq: int, logs: LogStore) -> Iterator[tuple[KeptRun, dict[int, str]]]:
    """Each run as it was when it left, with the names of the workers that it ran on."""
    for record in read_records(store, seq):
        for event in ev.decode(record.payload):
            if isinstance(event, ev.RunArchived):
                run = state.runs[event.run]
                chunks = [compressed(chunk) for chunk in image.dump_run(state, run, CHUNK_JOBS)]
                numbers = dict.fromkeys(state.jobs[j].worker for j in range(run.first, run.first + run.count))
                names = {number: state.worker_name(number) for number in numbers if number != NO_WORKER}
                dead = sum(state.jobs[j].in_dlq for j in range(run.first, run.first + run.count))
                yield KeptRun(run, dead, chunks, logs.size(run.id)), names
            apply(state, event)
