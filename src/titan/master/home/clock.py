"""The clock of a master: the wall clock, judged by the latest time that its home has written down.

A clock that is far ahead is not believed without a word: schedules would catch up, gates expire and
history be deleted for it. A clock that is behind is followed: what is written down was ahead, and
would keep the master ahead for ever.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import NamedTuple

from titan.errors import EnvironmentFault
from titan.host.clock import SteadyClock, noted_time
from titan.model.timing import iso

JUMP_S = 30 * 86_400.0
"""A clock that is further ahead of the latest recorded time has to be accepted."""
BEHIND_S = 60.0
"""A clock that is not further behind than this waits where the recorded time is; one that is, is
followed."""
NOTE_S = 600.0
"""How often the time is written down."""


class HomeClock(NamedTuple):
    clock: SteadyClock
    behind_s: float
    """How far the wall clock is behind what is written down, if it is to be followed; else 0."""


def open_clock(home: Path, decided_at: float, *, accept: bool) -> HomeClock:
    """Return the clock of a home whose journal was last written at `decided_at` (0: never).

    Raises EnvironmentFault if the wall clock is too far ahead and nobody said `accept`."""
    known, now = max(noted_time(home), decided_at), time.time()
    if known and now - known > JUMP_S and not accept:
        raise EnvironmentFault(
            f"the clock says {iso(now)}, {(now - known) / 86_400:.0f} days after the latest time that is written down in {home}, "
            f"{iso(known)}: if the clock is wrong, set it; if it is right, start with --accept-clock"
        )
    if known - now > BEHIND_S:
        return HomeClock(SteadyClock(known=now), known - now)
    return HomeClock(SteadyClock(known, known=known), 0.0)
