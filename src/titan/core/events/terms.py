"""Events about the terms of the master. See `events` for the rules of all events."""

from __future__ import annotations

from titan.core.events.base import Fact
from titan.model.settings import LoggedSettings


class MasterStarted(Fact, frozen=True, tag="master_started"):
    """A term began. Every worker has until its deadline to come back.

    `draw` identifies this start; "" in older journals. A restored home can give out a term twice,
    and the draw tells the two apart. `notice` is a message for operators about this start, or "".
    """

    term: int
    cluster: str
    at: float
    draw: str = ""
    notice: str = ""


class SettingsChanged(Fact, frozen=True, tag="settings_changed"):
    """The master started with settings other than those in the log, or the log had none.
    MasterStarted follows."""

    settings: LoggedSettings
    at: float


class ClockSetBack(Fact, frozen=True, tag="clock_set_back"):
    """The master started at a time before the last recorded one. Times in the future are moved
    back.

    `schedules` go on with `dues`. Jobs with a timer keep the rest of their wait.
    """

    schedules: list[str]
    dues: list[float]
    notice: str
    at: float


class TermRaised(Fact, frozen=True, tag="term_raised"):
    """A worker's lease proved that terms were given out which this home does not know. `heard` is
    the latest of them.

    The master goes on under a later term and a new draw.
    """

    term: int
    heard: int
    draw: str
    notice: str
    at: float
