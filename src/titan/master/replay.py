"""Replay of a home's journal up to a time or a sequence, with the `apply` of the master.

A replay only reads and takes no lock. The master of that home may run, write its tail and compact
at the same time. Connections and the times of heartbeats are not in the journal, so the replayed
state lacks them.
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
"""Maximum tries to load a snapshot, because the master may delete the snapshot meanwhile."""


class Moment(NamedTuple):
    """End of a replay: the sequence `seq`, or if it is 0 the time `at` in seconds since the
    epoch."""

    seq: int = 0
    at: float = 0.0

    def excludes(self, seq: int, event: ev.Event) -> bool:
        """Return whether an event came after this moment.

        An event without a time counts with the event before it.
        """
        return seq > self.seq if self.seq else _time_of(event) > self.at


END = Moment(seq=1 << 63)
"""The end of the journal."""


class Step(NamedTuple):
    """Event that has just been applied.

    `at` is its time. If the event has none, it is the time of the last event that had one.
    """

    seq: int
    at: float
    event: ev.Event


class Playback:
    """Replay in progress. `state` is the state after event `seq`. Iterating `play` advances
    both."""

    def __init__(self, engine: LogEngine, start: SnapshotInfo | None) -> None:
        self.engine = engine
        self.state = State(Settings())
        self.seq = 0
        self.at = 0.0
        if start is not None:
            load_snapshot(self.state, engine.get_snapshot(start), start.name, origin())
            self.seq = start.seq

    def play(self, until: Moment) -> Iterator[Step]:
        """Apply events up to a moment. Yield each event after it is applied."""
        for record in self.engine.tail(self.seq, live=True):
            for seq, event in enumerate(events_of(record, origin()), record.first_seq):
                if until.excludes(seq, event):
                    return
                apply(self.state, event)
                self.seq, self.at = seq, _time_of(event) or self.at
                yield Step(seq, self.at, event)

    def run(self, until: Moment) -> State:
        """Return the state at a moment.

        SUSPECT workers are shown as ALIVE, because connections are not in the journal.
        """
        for _ in self.play(until):
            pass
        if until.seq > self.seq and until != END:
            raise NotFound(f"the journal ends at sequence {self.seq:,}: there is no sequence {until.seq:,} yet")
        for worker in self.state.workers.values():
            if worker.state is WorkerState.SUSPECT:
                worker.state = WorkerState.ALIVE
        return self.state


def open_playback(home: Path, moment: Moment | None, now: float) -> Playback:
    """Return a playback that begins at the nearest snapshot at or before `moment`.

    If `moment` is None, the playback begins as early as possible. `now` is in seconds since the
    epoch. Raises NotFound if there is no journal or it does not go back to the moment. Raises
    CallerError for a moment in the future.
    """
    store = store_of(home)
    if not store.is_dir():
        raise NotFound(f"{home} is not the home of a master, since {store} does not exist: give the home with --home")
    if moment is not None and not moment.seq and moment.at > now:
        raise CallerError(f"{iso(moment.at)} is in the future: it is {iso(now)}")
    engine = open_storage(store)
    for tries_left in reversed(range(TRIES)):
        try:
            return Playback(engine, _choose_start(home, engine, moment))
        except FileNotFoundError:  # the master has just replaced this snapshot by a newer one
            if not tries_left:
                raise EnvironmentFault(f"the files in {store} change faster than they can be read: try again") from None
    raise AssertionError("unreachable")


def _choose_start(home: Path, engine: LogEngine, moment: Moment | None) -> SnapshotInfo | None:
    """Return the newest good snapshot at or before the moment, or None to begin at record 1."""
    snapshots, first_seq = engine.snapshots(), engine.first_seq()
    if not snapshots and not first_seq:
        raise NotFound(f"the journal in {engine.location} is empty: no master has started there yet")
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
            begins = "is empty" if first is None else f"begins at {iso(first)}"
            raise NotFound(f"the journal of {home} {begins}: there was no cluster at {iso(moment.at)}")
    return None


def _too_early(home: Path, engine: LogEngine, oldest: SnapshotInfo | None) -> Exception:
    if oldest is None:
        problem = f"no snapshot in {engine.location} is good, and the segments do not go back to the beginning"
        return JournalCorrupt(problem, path=engine.location)
    return NotFound(
        f"the journal of {home} goes back to sequence {oldest.seq:,}, {iso(_known_from(engine, oldest))}: earlier records have been"
        " compacted away. To keep all later records, run the master with --set keep_journal=1"
    )


def _known_from(engine: LogEngine, snapshot: SnapshotInfo) -> float:
    """Return the earliest time that a snapshot can show: the time of the first event after it.

    A snapshot records no time. If no event follows the snapshot, the time of its file is used.
    """
    first = _first_time(engine, snapshot.seq)
    return snapshot.made_at if first is None else first


def _first_time(engine: LogEngine, after: int) -> float | None:
    """Return the first time that an event after the sequence `after` has, or None."""
    for record in engine.tail(after, live=True):
        for event in events_of(record, origin()):
            if at := _time_of(event):
                return at
    return None


def _time_of(event: ev.Event) -> float:
    """Return the time of an event, or 0. Some events in old journals have no time."""
    return float(getattr(event, "at", 0.0))
