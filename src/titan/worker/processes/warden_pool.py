"""The wardens that attempts share. A worker has one at its usual pace, and more while it starts
more attempts than one warden can handle.

A warden spends about a millisecond on each job that it starts and reaps, one after the other,
however many cores there are. So there may be as many wardens as slots and cores can use, but each
starts only when it is needed. A worker whose jobs are long has one.

Owns these wardens and their number. It must not know what a job is for.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from titan.worker.processes.warden_link import WardenLink

MOST = 4
"""Number of wardens that the event loop of a worker can keep busy."""
PACE = 64
"""One more warden is started above this many starts within PACE_S per warden."""
PACE_S = 0.5
MOST_APART = 2
"""Difference in jobs above which a warden is crowded. Two jobs are a running one and one queued
behind it."""


class Wardens:
    def __init__(self, launch: Callable[[], WardenLink], *, most: int) -> None:
        """Start the first warden with `launch`. Raises EnvironmentFault if that fails, as `choose`
        does for further wardens."""
        self._launch = launch
        self._most = max(1, min(most, MOST))
        self._starts: deque[float] = deque(maxlen=PACE * self._most)
        self.links = [launch()]
        """The first warden always exists."""

    def choose(self, now: float, front: WardenLink | None = None) -> WardenLink:
        """Return the warden for an attempt that begins now: the one with the fewest jobs, or
        `front`, the warden of the attempt that it is queued behind."""
        self._starts.append(now)
        many = len(self.links)
        if many < self._most and len(self._starts) >= PACE * many and now - self._starts[-PACE * many] < PACE_S:
            self.links.append(self._launch())
        return front or min(self._ready(), key=lambda link: link.load, default=self.links[0])

    def is_crowded(self, link: WardenLink) -> bool:
        """Return whether another warden has so much less to do that nothing should be queued behind
        an attempt of this one."""
        return len(self.links) > 1 and any(link.load > other.load + MOST_APART for other in self._ready())

    def _ready(self) -> list[WardenLink]:
        return [link for link in self.links if link.ready]

    def replace(self, dead: WardenLink) -> None:
        """Drop a dead warden. A successor starts at once if it was the last, else when needed."""
        self.links.remove(dead)
        if not self.links:
            self.links.append(self._launch())
