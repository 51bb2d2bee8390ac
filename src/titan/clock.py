"""The shells' clock: seconds since the epoch that never step back.

It is set from the wall clock once and then runs on the monotonic one, so an adjusted wall clock can neither lose a worker nor
fire a timer early. The pure parts get its readings as arguments.
"""

from __future__ import annotations

import time


class SteadyClock:
    """`after`: the latest time that is already written down somewhere; this clock reads no earlier."""

    def __init__(self, after: float = 0.0) -> None:
        self._offset = max(time.time(), after) - time.monotonic()

    def now(self) -> float:
        return time.monotonic() + self._offset
