"""Facts about the terms of the master and what was noticed of them: see `events`."""

from __future__ import annotations

from titan.core.events.base import Fact
from titan.model.settings import LoggedSettings


class MasterStarted(Fact, frozen=True, tag="master_started"):
    """A term began. Every worker has until its deadline to come back.

    `draw` names this start: a term that is given out twice, by a home that was restored, has two
    draws ("" in journals of old). `notice`, if not empty, is what operators are to be told of this
    start.
    """

    term: int
    cluster: str
    at: float
    draw: str = ""
    notice: str = ""


class SettingsChanged(Fact, frozen=True, tag="settings_changed"):
    """The master starts with other settings than the log has in force, or the log has none yet.
    MasterStarted comes behind it."""

    settings: LoggedSettings
    at: float


class ClockSetBack(Fact, frozen=True, tag="clock_set_back"):
    """The master starts at a time that is behind what is recorded: no time stays in the future
    because an earlier clock was ahead.

    `schedules` go on with `dues`; what waits for a time keeps as much of its wait as it had.
    """

    schedules: list[str]
    dues: list[float]
    notice: str
    at: float


class TermRaised(Fact, frozen=True, tag="term_raised"):
    """A worker proved that terms were given out which this home does not know, `heard` the latest
    of them.

    A later term goes on, under a draw of its own.
    """

    term: int
    heard: int
    draw: str
    notice: str
    at: float
