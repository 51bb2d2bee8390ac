"""Follower of a log: loads the newest snapshot and applies the records after it.

A follower uses the same `apply` as the leader. A master that starts follows the log once and then
leads. A standby follows repeatedly while another process leads. The follower owns the state and its
sequence number. It must not know where the log is stored, and it decides nothing.
"""

from __future__ import annotations

from titan.core.apply.apply import apply
from titan.core.state.state import State
from titan.errors import Bug, JournalCorrupt, LogCompacted, TitanError
from titan.gateway.reading import events_of, load_snapshot
from titan.journal.engine import LogEngine
from titan.journal.records import Record
from titan.model.settings import Settings

TRIES = 5
"""Maximum number of tries to load the newest snapshot. A try fails if the leader removes that
snapshot while it is loaded."""


class Follower:
    """State at sequence `seq`. Call `settle` before reading `state`."""

    def __init__(self, engine: LogEngine, settings: Settings, *, origin: bytes, live: bool = False) -> None:
        """`origin` names this version of Titan; records of another origin are checked before they
        are applied. `live` is True if another process leads and writes the log."""
        self.engine = engine
        self.state = State(settings)
        self.seq = 0
        self.events = 0
        """Number of events applied so far. A rebuild from a snapshot does not reset it."""
        self.warnings: tuple[str, ...] = ()
        self._settings = settings
        self._origin = origin
        self._live = live
        self._begun = False
        self._settled = True

    def follow(self, through: int | None = None) -> int:
        """Apply the records after `seq`, up to the sequence `through` if it is set; return the
        number of events.

        If the records after `seq` were removed, `state` is rebuilt from the newest snapshot. Raises
        JournalTooNew, JournalCorrupt, or Bug for an event that contradicts the state before it.
        """
        if not self._begun:
            self._load()
        try:
            return self._apply_tail(through)
        except LogCompacted:
            before = self.seq
            self._load()
            if self.seq <= before:
                raise
            return self._apply_tail(through)

    def settle(self) -> None:
        """Rebuild the derived indexes if events were applied since the last call."""
        if not self._settled:
            self.state.reindex()
            self._settled = True

    def _load(self) -> None:
        for tries_left in reversed(range(TRIES)):
            try:
                found = self.engine.latest_snapshot()
                self.state, self.seq, self.warnings = State(self._settings), found.seq, found.warnings
                if found.info is not None:
                    load_snapshot(self.state, self.engine.get_snapshot(found.info), found.info.name, self._origin)
                break
            except FileNotFoundError:  # the leader has removed the snapshot, because it has a newer one
                if not (self._live and tries_left):
                    raise
        self._begun = self._settled = True

    def _apply_tail(self, through: int | None) -> int:
        before = self.events
        for record in self.engine.tail(self.seq, live=self._live):
            if through is not None and record.last_seq > through:
                break
            self._settled = False
            self._apply(record)
            self.events += record.count
            self.seq = record.last_seq
        return self.events - before

    def _apply(self, record: Record) -> None:
        seq, event = record.first_seq, None
        try:
            for event in events_of(record, self._origin):
                apply(self.state, event)
                seq += 1
        except JournalCorrupt as error:
            raise JournalCorrupt(f"sequence {seq:,} of the journal: {error}", error.path, error.offset) from error
        except TitanError:
            raise
        except Exception as error:
            problem = f"sequence {seq:,} of the journal, {type(event).__name__}, contradicts the events before it ({error!r})"
            next_step = "please report it, and restore a backup or start the version of Titan that wrote it"
            raise Bug(f"{problem}: nothing was changed; {next_step}") from error
