"""Rebuild of the history from the journal: all archived runs, as far as the journal goes back.

`titan history rebuild` rebuilds the history of a stopped master. A master that finds runs missing
at its start runs `python -m titan.master.history.rebuild HOME PARENT` as a child process, where
PARENT is the master's pid.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from titan.core.apply.apply import apply
from titan.core.events import events as ev
from titan.core.state import snapshot
from titan.core.state.state import State
from titan.errors import TitanError
from titan.gateway.reading import events_of, load_snapshot
from titan.host.home_lock import HomeLock
from titan.journal.engine import LogEngine
from titan.master.child_process import begin_beside
from titan.master.history.database import CHUNK_JOBS, History, KeptRun, compressed, kept_run
from titan.master.log_store import LogStore
from titan.master.storage import open_storage, origin, store_of
from titan.model.settings import Settings

MODULE = "titan.master.history.rebuild"
BATCH = 500
COMPACTION_S = 600.0
"""Maximum wait for a running compaction."""


class Rebuilt(NamedTuple):
    runs: int
    from_the_beginning: bool
    """True if the journal still has its first record."""


def rebuild(home: Path) -> Rebuilt:
    """Write all archived runs of the journal into the history.

    Runs in the history that the journal no longer has are kept. Raises Conflict if the master of
    the home is running, and JournalCorrupt if the journal is damaged.
    """
    with HomeLock(home / "lock"), closing(History(home / "history.sqlite")) as history, closing(LogStore(home / "logs")) as logs:
        engine = open_storage(store_of(home))
        guard = engine.compaction_guard()
        guard.take_over()
        with guard:
            return rebuild_into(history, engine, logs)


def rebuild_into(history: History, engine: LogEngine, logs: LogStore) -> Rebuilt:
    """Do the work of `rebuild`. The caller holds the lock of the home and the compaction guard."""
    snapshots = engine.snapshots()
    whole = engine.first_seq() == 1
    state, seq = State(Settings()), 0
    if not whole and snapshots:
        oldest = snapshots[0]
        load_snapshot(state, engine.get_snapshot(oldest), oldest.name, origin())
        seq = oldest.seq
    count = 0
    leaving = _leaving(state, engine, seq, logs)
    while batch := list(islice(leaving, BATCH)):
        history.put(batch)
        count += len(batch)
    return Rebuilt(count, whole)


def main(argv: list[str]) -> int:
    home = Path(argv[0])
    begin_beside(int(argv[1]))
    engine = open_storage(store_of(home))
    guard = engine.compaction_guard()
    try:
        # A running compaction deletes segments that must be read here: wait for its end.
        guard.take_over(patience_s=COMPACTION_S)
        with guard, closing(History(home / "history.sqlite", set_aside=False)) as history, closing(LogStore(home / "logs")) as logs:
            rebuild_into(history, engine, logs)
    except TitanError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def _leaving(state: State, engine: LogEngine, seq: int, logs: LogStore) -> Iterator[KeptRun]:
    """Yield each archived run as it was when it left the state."""
    for record in engine.tail(seq):
        for event in events_of(record, origin()):
            if isinstance(event, ev.RunArchived):
                run = state.runs[event.run]
                chunks = [compressed(chunk) for chunk in snapshot.dump_run(state, run, CHUNK_JOBS)]
                yield kept_run(state, run, chunks, logs.size(run.id))
            apply(state, event)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
