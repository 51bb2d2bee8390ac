"""The wardens that attempts share: one for a worker at its usual pace, more while it starts so many
that one cannot keep up.

A warden spends about a millisecond on each job that it starts and reaps, one after the other, on
whatever number of cores. So there are as many as slots and cores can use, but none before it is
needed: a worker whose jobs are long has one.

Owns these wardens and how many there are. It must not know what a job is for.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from titan.worker.processes.warden_link import WardenLink

MOST = 4
"""What a worker's own loop can feed."""
PACE = 64
"""More starts than this within PACE_S for each warden, and there is another."""
PACE_S = 0.5
MOST_APART = 2
"""Jobs. Two are one that runs and one that stands behind it."""


class Wardens:
    def __init__(self, launch: Callable[[], WardenLink], *, most: int) -> None:
        """`launch` starts a warden. Raises EnvironmentFault if the first cannot be started; so may
        `choose`."""
        self._launch = launch
        self._most = max(1, min(most, MOST))
        self._starts: deque[float] = deque(maxlen=PACE * self._most)
        self.links = [launch()]
        """The first is always there."""

    def choose(self, now: float, front: WardenLink | None = None) -> WardenLink:
        """The one for an attempt that begins now: that with the fewest jobs. `front`: it stands
        behind an attempt of that one."""
        self._starts.append(now)
        many = len(self.links)
        if many < self._most and len(self._starts) >= PACE * many and now - self._starts[-PACE * many] < PACE_S:
            self.links.append(self._launch())
        return front or min(self._ready(), key=lambda link: link.load, default=self.links[0])

    def is_crowded(self, link: WardenLink) -> bool:
        """Whether another has so much less to do that nothing should stand behind an attempt of
        this one any more."""
        return len(self.links) > 1 and any(link.load > other.load + MOST_APART for other in self._ready())

    def _ready(self) -> list[WardenLink]:
        return [link for link in self.links if link.ready]

    def replace(self, dead: WardenLink) -> None:
        """It has ended. Another comes in its place if it was the last, else when it is needed."""
        self.links.remove(dead)
        if not self.links:
            self.links.append(self._launch())
