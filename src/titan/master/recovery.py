"""From a log to the state that it gives, for a process that owns it: the end is repaired, then all
of it is followed once."""

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
    """What a crash had left half written at the end; "" if nothing."""

    @property
    def state(self) -> State:
        return self.follower.state

    @property
    def warnings(self) -> list[str]:
        """For operators."""
        return [*self.follower.warnings, *([self.dropped] if self.dropped else [])]


def recover(engine: LogEngine, settings: Settings) -> Recovered:
    """Repair the end of the log and follow it. Raises JournalCorrupt for damage that no crash
    explains.

    A compaction that outlived its master is ended first: it would delete records while they are
    read here.
    """
    guard = engine.compaction_guard()
    guard.take_over()
    with guard:
        dropped = engine.repair()
        return Recovered(replay(engine, settings), dropped)


def replay(engine: LogEngine, settings: Settings, through: int | None = None) -> Follower:
    """Follow the log to its end, or up to the sequence `through`. Reads only."""
    follower = Follower(engine, settings, origin=origin())
    follower.follow(through)
    follower.settle()
    return follower


def standby(engine: LogEngine, settings: Settings) -> Follower:
    """Follow a log that another process leads: call `follow` as often as wanted. Reads only, and
    takes no lock."""
    follower = Follower(engine, settings, origin=origin(), live=True)
    follower.follow()
    return follower
