"""Pool of the wardens that attempts share. A worker usually has one such warden, and gets more when
it starts more attempts than one warden can handle.

A warden is one thread, and spends about a millisecond to start and reap a job. So there may be as
many wardens as slots and cores can use, but each starts only when it is needed. A worker whose jobs
are long has only one.

Owns these wardens and their number. This module must not know the purpose of a job.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from titan.worker.processes.warden_link import WardenLink

MOST = 4
"""Maximum number of wardens: the event loop of a worker cannot keep more of them busy."""
PACE = 64
"""One more warden is started if there were more than this many starts per warden within PACE_S."""
PACE_S = 0.5
MOST_APART = 2
"""Difference in the number of jobs above which a warden is crowded. It allows for one running job
and one job that is queued behind it."""


class Wardens:
    def __init__(self, launch: Callable[[], WardenLink], *, most: int) -> None:
        """Start the first warden with `launch`. Raises EnvironmentFault if that fails. `choose`
        starts further wardens and raises the same."""
        self._launch = launch
        self._most = max(1, min(most, MOST))
        self._starts: deque[float] = deque(maxlen=PACE * self._most)
        self.links = [launch()]
        """Wardens that attempts share. The first warden always exists."""

    def choose(self, now: float, front: WardenLink | None = None) -> WardenLink:
        """Return the warden for an attempt: `front` if it is given, otherwise the warden with the
        fewest jobs. `front` is the warden of the attempt that this one is queued behind."""
        self._starts.append(now)
        many = len(self.links)
        if many < self._most and len(self._starts) >= PACE * many and now - self._starts[-PACE * many] < PACE_S:
            self.links.append(self._launch())
        return front or min(self._ready(), key=lambda link: link.load, default=self.links[0])

    def is_crowded(self, link: WardenLink) -> bool:
        """Return True if another warden has so few jobs that no attempt should be queued under this
        warden."""
        return len(self.links) > 1 and any(link.load > other.load + MOST_APART for other in self._ready())

    def _ready(self) -> list[WardenLink]:
        return [link for link in self.links if link.ready]

    def replace(self, dead: WardenLink) -> None:
        """Drop a dead warden. If it was the last one, start a new warden at once. Otherwise
        `choose` starts a new one when it is needed."""
        self.links.remove(dead)
        if not self.links:
            self.links.append(self._launch())
