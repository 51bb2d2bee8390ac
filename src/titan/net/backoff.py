"""Waits between attempts to reach something that does not answer.

The module `random` is not imported: scripts of a few milliseconds load this file, too.
"""

from __future__ import annotations

import os

from titan.model.backoff import backoff_delay, jittered


class Backoff:
    """The waits of one series of attempts: each twice the last, up to a limit, with jitter.

    The jitter takes up to half of a wait, so that many peers that lost the same server do not
    return to it in the same moment.
    """

    def __init__(self, first_s: float, most_s: float) -> None:
        self._first_s, self._most_s = first_s, most_s
        self._failures = 0

    def next_s(self) -> float:
        """Return the next wait in seconds, and count a failure."""
        delay = backoff_delay(self._failures, self._first_s, self._most_s)
        self._failures += 1
        return jittered(delay, int.from_bytes(os.urandom(2), "big") / 65536)

    def reset(self) -> None:
        """Start again with the first wait: the last attempt succeeded."""
        self._failures = 0
