"""The cluster as it was: a home's journal, played up to a time or a sequence, by the `apply` that
wrote it.

Reads only, and takes no lock: the master of that home may run, write its tail and compact
meanwhile. What a start does not know is not shown either: who was connected, and when a worker was
heard.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from titan.core.apply.apply import apply
from titan.core.events import events as ev
from titan.core.state.state import State
from titan.errors import CallerError, EnvironmentFault, JournalCorrupt, NotFound
from titan.gateway.reading import events_of, load_snapshot
from titan.journal.engine import LogEngine, SnapshotInfo
from titan.master.storage import open_storage, origin, store_of
from titan.model.settings import Settings
from titan.model.states import WorkerState
from titan.model.timing import iso

TRIES = 5
"""So often the snapshots are looked at: the master may have removed one just then."""


class Moment(NamedTuple):
    """Where to stop: at a time (seconds since the epoch) if `seq` is 0, else behind that sequence."""

    seq: int = 0
    at: float = 0.0

    def excludes(self, seq: int, event: ev.Event) -> bool:
        """Whether the event came later. Events that carry no time came with those before them."""
        return seq > self.seq if self.seq else _time_of(event) > self.at


END = Moment(seq=1 << 63)
"""Behind whatever the journal holds."""


class Step(NamedTuple):
    """An event that has just been applied. `at`: when, as far as it or one before it says."""

    seq: int
    at: float
    event: ev.Event


class Playback:
    """`state` is that behind `seq`, and goes on as `play` is iterated."""

    def __init__(self, engine: LogEngine, start: SnapshotInfo | None) -> None:
        self.engine = engine
        self.state = State(Settings())
        self.seq = 0
        self.at = 0.0
        if start is not None:
            load_snapshot(self.state, engine.get_snapshot(start), start.name, origin())
            self.seq = start.seq

    def play(self, until: Moment) -> Iterator[Step]:
        """Every event up to there, each when it is applied."""
        for record in self.engine.tail(self.seq, live=True):
            for seq, event in enumerate(events_of(record, origin()), record.first_seq):
                if until.excludes(seq, event):
                    return
                apply(self.state, event)
                self.seq, self.at = seq, _time_of(event) or self.at
                yield Step(seq, self.at, event)

    def run(self, until: Moment) -> State:
        """The state there, to be shown: a worker that was neither LOST nor LEFT is ALIVE."""
        for _ in self.play(until):
            pass
        if until.seq > self.seq and until != END:
            raise NotFound(f"the journal ends at sequence {self.seq:,}: there is no {until.seq:,} yet")
        for worker in self.state.workers.values():
            if worker.state is WorkerState.SUSPECT:
                worker.state = WorkerState.ALIVE
        return self.state


def open_playback(home: Path, moment: Moment | None, now: float) -> Playback:
    """A playback of the home that begins at or before `moment`, at the nearest snapshot; None: as
    far back as there is one.

    `now`: seconds since the epoch.

    Raises NotFound if there is no journal, or if it does not go back so far.
    """
    store = store_of(home)
    if not store.is_dir():
        raise NotFound(f"{home} is no home of a master: {store} is not there: say --home")
    if moment is not None and not moment.seq and moment.at > now:
        raise CallerError(f"{iso(moment.at)} is still to come: it is {iso(now)}")
    engine = open_storage(store)
    for tries_left in reversed(range(TRIES)):
        try:
            return Playback(engine, _choose_start(home, engine, moment))
        except FileNotFoundError:  # the master has just removed it, as it has a newer one
            if not tries_left:
                raise EnvironmentFault(f"the files in {store} change faster than they can be read: try again") from None
    raise AssertionError("unreachable")


def _choose_start(home: Path, engine: LogEngine, moment: Moment | None) -> SnapshotInfo | None:
    """The newest good snapshot at or before the moment; None: the beginning."""
    snapshots, first_seq = engine.snapshots(), engine.first_seq()
    if not snapshots and not first_seq:
        raise NotFound(f"the journal in {engine.location} is empty: no master has begun there yet")
    oldest = None
    for snapshot in reversed(snapshots):
        if not engine.is_good(snapshot):
            continue
        if moment is not None and ((snapshot.seq <= moment.seq) if moment.seq else _known_from(engine, snapshot) <= moment.at):
            return snapshot
        oldest = snapshot
    if first_seq != 1:
        if moment is None and oldest is not None:
            return oldest
        raise _too_early(home, engine, oldest)
    if moment is not None and not moment.seq:
        first = _first_time(engine, 0)
        if first is None or first > moment.at:
            begins = "holds nothing yet" if first is None else f"begins at {iso(first)}"
            raise NotFound(f"the journal of {home} {begins}: there was no cluster at {iso(moment.at)}")
    return None


def _too_early(home: Path, engine: LogEngine, oldest: SnapshotInfo | None) -> Exception:
    if oldest is None:
        what = f"no snapshot in {engine.location} is good, and the segments do not go back to the beginning"
        return JournalCorrupt(what, path=engine.location)
    return NotFound(
        f"the journal of {home} goes back to sequence {oldest.seq:,}, {iso(_known_from(engine, oldest))}: what was before has been"
        " compacted away. A master that runs with --set keep_journal=1 keeps all that comes from then on"
    )


def _known_from(engine: LogEngine, snapshot: SnapshotInfo) -> float:
    """From what time on the snapshot, with the log behind it, tells. It carries no time itself."""
    first = _first_time(engine, snapshot.seq)
    return snapshot.made_at if first is None else first


def _first_time(engine: LogEngine, after: int) -> float | None:
    """When the first event behind that sequence came that says so."""
    for record in engine.tail(after, live=True):
        for event in events_of(record, origin()):
            if at := _time_of(event):
                return at
    return None


def _time_of(event: ev.Event) -> float:
    """When it was decided; 0 if it does not say, as some did not in journals of old."""
    return float(getattr(event, "at", 0.0))
