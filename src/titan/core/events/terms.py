"""Events about the terms of the master. See `events` for the rules of all events."""

from __future__ import annotations

from titan.core.events.base import Fact
from titan.model.settings import LoggedSettings


class MasterStarted(Fact, frozen=True, tag="master_started"):
    """A master started and a term began. Every worker has until its deadline to reconnect.

    `draw` is a random id of this start; "" in older journals. A home that was restored from a copy
    can use a term number twice, and the draw distinguishes the two terms. `notice` is a message for
    operators about this start, or "".
    """

    term: int
    cluster: str
    at: float
    draw: str = ""
    notice: str = ""


class SettingsChanged(Fact, frozen=True, tag="settings_changed"):
    """The master started with settings that differ from those in the journal, or the journal had
    none. MasterStarted follows."""

    settings: LoggedSettings
    at: float


class ClockSetBack(Fact, frozen=True, tag="clock_set_back"):
    """The master started with a clock that is behind the last time in the journal. Recorded times
    in the future are moved back to now.

    `dues` are the next nominal times of `schedules`. A job with a timer waits for the rest of its
    time.
    """

    schedules: list[str]
    dues: list[float]
    notice: str
    at: float


class TermRaised(Fact, frozen=True, tag="term_raised"):
    """A worker's lease proved that the journal lost terms that a master had begun. `heard` is the
    latest term in such a lease.

    The master continues under a later term and a new draw (the random id of a term).
    """

    term: int
    heard: int
    draw: str
    notice: str
    at: float
