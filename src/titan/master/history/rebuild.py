"""The history made anew from the journal: every run that left the state, as far back as the journal
goes.

`titan history rebuild` does it for a master that is stopped. A master that finds runs missing at
its start has it done by `python -m titan.master.history.rebuild HOME PARENT`, while it works;
PARENT is its pid.
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
"""So long a compaction that is under way may take."""


class Rebuilt(NamedTuple):
    runs: int
    from_the_beginning: bool
    """Whether the journal goes back to its first record."""


def rebuild(home: Path) -> Rebuilt:
    """Puts what left the state into the history; what is there already and no longer in the journal
    stays.

    The master of that home must not run: raises Conflict. JournalCorrupt if the journal is damaged.
    """
    with HomeLock(home / "lock"), closing(History(home / "history.sqlite")) as history, closing(LogStore(home / "logs")) as logs:
        engine = open_storage(store_of(home))
        guard = engine.compaction_guard()
        guard.take_over()
        with guard:
            return rebuild_into(history, engine, logs)


def rebuild_into(history: History, engine: LogEngine, logs: LogStore) -> Rebuilt:
    """The same for whoever has the locks."""
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
        # segments that are compacted away meanwhile could not be read
        guard.take_over(patience_s=COMPACTION_S)
        with guard, closing(History(home / "history.sqlite", set_aside=False)) as history, closing(LogStore(home / "logs")) as logs:
            rebuild_into(history, engine, logs)
    except TitanError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def _leaving(state: State, engine: LogEngine, seq: int, logs: LogStore) -> Iterator[KeptRun]:
    """Each run as it was when it left."""
    for record in engine.tail(seq):
        for event in events_of(record, origin()):
            if isinstance(event, ev.RunArchived):
                run = state.runs[event.run]
                chunks = [compressed(chunk) for chunk in snapshot.dump_run(state, run, CHUNK_JOBS)]
                yield kept_run(state, run, chunks, logs.size(run.id))
            apply(state, event)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
