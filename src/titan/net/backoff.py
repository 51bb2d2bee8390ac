"""Delays between attempts to reach a peer that does not answer.

The module `random` is not imported, because scripts that run for a few milliseconds load this file.
"""

from __future__ import annotations

import os

from titan.model.backoff import backoff_delay, jittered


class Backoff:
    """Exponential back-off for one series of attempts: each delay doubles, up to a limit.

    Jitter shortens a delay by up to half. Many peers that lost the same server then reconnect at
    different moments.
    """

    def __init__(self, first_s: float, most_s: float) -> None:
        self._first_s, self._most_s = first_s, most_s
        self._failures = 0

    def next_s(self) -> float:
        """Count a failure and return the next delay in seconds."""
        delay = backoff_delay(self._failures, self._first_s, self._most_s)
        self._failures += 1
        return jittered(delay, int.from_bytes(os.urandom(2), "big") / 65536)

    def reset(self) -> None:
        """Start again with the first delay, after an attempt that succeeded."""
        self._failures = 0
