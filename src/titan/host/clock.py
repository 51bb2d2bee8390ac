"""The shells' clock: seconds since the epoch that never step back.

It is set from the wall clock once and then runs on the monotonic one, so an adjusted wall clock can
neither lose a worker nor fire a timer early. The pure parts get its readings as arguments.
"""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

CONFIRMED_S = 3600.0
"""A wall clock that jumped is believed, as far as deleting goes, when it has been so for this long.
"""
SMALL_S = 86_400.0
"""A step forward between two readings that is no reason to wait."""


class SteadyClock:
    """`after`: the latest time that is already written down somewhere; this clock reads no earlier,
    unless it is `follow`ed back.

    `known`: the latest time that was written down, whatever this clock reads; 0 if there is none.
    """

    def __init__(self, after: float = 0.0, *, known: float = 0.0) -> None:
        self._began = time.monotonic()
        self.offset = max(time.time(), after) - self._began
        """Offset that turns a reading of the monotonic clock, in any process of this machine, into
        a time."""
        self._known = known

    def now(self) -> float:
        return time.monotonic() + self.offset

    def at(self, monotonic_s: float) -> float:
        """The time of a reading of the monotonic clock, by this clock."""
        return monotonic_s + self.offset

    def confirmed(self) -> float:
        """The time by which things may be deleted for their age: never one reading's alone.

        After a jump since the last time that was written down it goes on from there, until this
        process has run for an hour.
        """
        now, ran = self.now(), time.monotonic() - self._began
        if ran >= CONFIRMED_S or not self._known or now - self._known <= SMALL_S + ran:
            return now
        return self._known + ran


def note_time(home: Path, now: float) -> None:
    """Writes down in a home what time it is. Raises OSError."""
    part = home / "clock.part"
    part.write_text(f"{now:.3f}\n")
    os.replace(part, home / "clock")


def noted_time(home: Path) -> float:
    """The time that was last written down there; 0 if none was."""
    with contextlib.suppress(OSError, ValueError):
        return float((home / "clock").read_text())
    return 0.0
