"""Clock of a master: the wall clock, compared with the latest time that the home has recorded.

The user must accept a wall clock that is far ahead. If such a clock were wrong, schedules would
catch up, gates would expire and history would be deleted. A wall clock that is far behind is used
as it is. Otherwise a wrong time that was recorded once would keep the master's clock ahead for
ever.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import NamedTuple

from titan.errors import EnvironmentFault
from titan.host.clock import SteadyClock, noted_time
from titan.model.timing import iso

JUMP_S = 30 * 86_400.0
"""Maximum lead over the latest recorded time. The user must accept a clock further ahead."""
BEHIND_S = 60.0
"""Maximum lag behind the recorded time for which the master's clock starts at the recorded time.

A wall clock further behind is used as it is.
"""
NOTE_S = 600.0
"""Interval at which the time is recorded."""


class HomeClock(NamedTuple):
    clock: SteadyClock
    behind_s: float
    """Lag of the wall clock behind the recorded time if the wall clock is used, else 0."""


def open_clock(home: Path, decided_at: float, *, accept: bool) -> HomeClock:
    """Return the clock of a home whose journal was last written at `decided_at` (0: never).

    Raises EnvironmentFault if the wall clock is too far ahead and `accept` is false.
    """
    known, now = max(noted_time(home), decided_at), time.time()
    if known and now - known > JUMP_S and not accept:
        raise EnvironmentFault(
            f"the clock says {iso(now)}, {(now - known) / 86_400:.0f} days after the latest time that is recorded in {home}, "
            f"{iso(known)}: if the clock is wrong, set it; if it is right, start with --accept-clock"
        )
    if known - now > BEHIND_S:
        return HomeClock(SteadyClock(known=now), known - now)
    return HomeClock(SteadyClock(known, known=known), 0.0)
