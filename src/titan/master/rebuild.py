"""The history made anew from the journal: every run that left the state, as far back as the journal goes.

`titan history rebuild` does it for a master that is stopped. A master that finds runs missing at its start has it done by
`python -m titan.master.rebuild HOME PARENT`, while it works; PARENT is its pid.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from titan.core import events as ev
from titan.core import image
from titan.core.apply import apply
from titan.core.state import State
from titan.errors import TitanError
from titan.home_lock import HomeLock
from titan.journal import CompactionLock, read_records
from titan.journal.files import list_segments, list_snapshots
from titan.journal.snapshot import read_snapshot
from titan.master.beside import begin_beside
from titan.master.history import CHUNK_JOBS, History, KeptRun, compressed, kept_run
from titan.master.log_store import LogStore
from titan.master.reading import EventReader, chunks_of
from titan.model.settings import Settings

MODULE = "titan.master.rebuild"
BATCH = 500
COMPACTION_S = 600.0
"""So long a compaction that is under way may take."""


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
        image.load(state, chunks_of(read_snapshot(snapshots[0].path)))
        state.reindex()
        seq = snapshots[0].seq
    count = 0
    leaving = _leaving(state, store, seq, logs)
    while batch := list(islice(leaving, BATCH)):
        history.put(batch)
        count += len(batch)
    return Rebuilt(count, whole)


def main(argv: list[str]) -> int:
    home = Path(argv[0])
    begin_beside(int(argv[1]))
    lock = CompactionLock(home / "store")
    try:
        lock.take_over(patience_s=COMPACTION_S)  # segments that are compacted away meanwhile could not be read
        with lock, closing(History(home / "history.sqlite", set_aside=False)) as history, closing(LogStore(home / "logs")) as logs:
            rebuild_into(history, home / "store", logs)
    except TitanError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def _leaving(state: State, store: Path, seq: int, logs: LogStore) -> Iterator[KeptRun]:
    """Each run as it was when it left."""
    reader = EventReader()
    for record in read_records(store, seq, on_origin=reader.note_origin):
        for event in reader.events(record):
            if isinstance(event, ev.RunArchived):
                run = state.runs[event.run]
                chunks = [compressed(chunk) for chunk in image.dump_run(state, run, CHUNK_JOBS)]
                yield kept_run(state, run, chunks, logs.size(run.id))
            apply(state, event)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
