"""Recovery of the state from a log: repair the end of the log, then replay the log once."""

from __future__ import annotations

from typing import NamedTuple

from titan.core.state.state import State
from titan.gateway.follower import Follower
from titan.journal.engine import LogEngine
from titan.master.storage import origin
from titan.model.settings import Settings


class Recovered(NamedTuple):
    follower: Follower
    dropped: str
    """Description of a half-written record that a crash left at the end, or ""."""

    @property
    def state(self) -> State:
        return self.follower.state

    @property
    def warnings(self) -> list[str]:
        return [*self.follower.warnings, *([self.dropped] if self.dropped else [])]


def recover(engine: LogEngine, settings: Settings) -> Recovered:
    """Repair the end of the log and follow the log to its end.

    A compaction that outlived its master is stopped first, because it could delete records that are
    read here. Raises JournalCorrupt for damage that a crash cannot cause.
    """
    guard = engine.compaction_guard()
    guard.take_over()
    with guard:
        dropped = engine.repair()
        return Recovered(replay(engine, settings), dropped)


def replay(engine: LogEngine, settings: Settings, through: int | None = None) -> Follower:
    """Follow the log to its end, or up to the sequence `through`, without changing it."""
    follower = Follower(engine, settings, origin=origin())
    follower.follow(through)
    follower.settle()
    return follower


def standby(engine: LogEngine, settings: Settings) -> Follower:
    """Return a follower of a log that another process leads. It changes no file and takes no lock.

    The caller calls `follow` repeatedly to read new records.
    """
    follower = Follower(engine, settings, origin=origin(), live=True)
    follower.follow()
    return follower
