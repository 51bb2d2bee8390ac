"""Clock of master, store and worker: seconds since the epoch that never step back.

The clock is set from the wall clock once and then follows the monotonic clock. An adjustment of the
wall clock therefore cannot cause a worker to be lost or a timer to fire early. The core gets the
time as an argument.
"""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

CONFIRMED_S = 3600.0
"""Seconds for which a process must run before deletions trust a wall clock that jumped."""
SMALL_S = 86_400.0
"""Seconds. A smaller step forward from the recorded time does not count as a jump."""


class SteadyClock:
    """Clock that never reads earlier than `after`, the latest recorded time.

    `known`: the time from which `confirmed` measures a jump of the clock; 0 if no time is known.
    """

    def __init__(self, after: float = 0.0, *, known: float = 0.0) -> None:
        self._began = time.monotonic()
        self.offset = max(time.time(), after) - self._began
        """Seconds between a reading of the monotonic clock, in any process of this machine, and
        the time of this clock."""
        self._known = known

    def now(self) -> float:
        return time.monotonic() + self.offset

    def at(self, monotonic_s: float) -> float:
        """Return the time at a reading of the monotonic clock."""
        return monotonic_s + self.offset

    def confirmed(self) -> float:
        """Return the time that decides which old data may be deleted.

        A single wrong reading of the wall clock must not delete data. So if the clock jumped
        forward from the last recorded time, the returned time continues from the recorded time
        until the process has run for an hour.
        """
        now, ran = self.now(), time.monotonic() - self._began
        if ran >= CONFIRMED_S or not self._known or now - self._known <= SMALL_S + ran:
            return now
        return self._known + ran


def note_time(home: Path, now: float) -> None:
    """Record the time in a home. Raises OSError."""
    part = home / "clock.part"
    part.write_text(f"{now:.3f}\n")
    os.replace(part, home / "clock")


def noted_time(home: Path) -> float:
    """Return the time that was last recorded in a home; 0 if there is none."""
    with contextlib.suppress(OSError, ValueError):
        return float((home / "clock").read_text())
    return 0.0
