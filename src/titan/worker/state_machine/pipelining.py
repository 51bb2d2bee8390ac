"""Pipelining of quick attempts: one is queued with the warden before it has a slot, and starts the
moment that another one ends.

Between two quick jobs of one slot, the warden would report an end and the worker would order a
start. That takes as long as a small job. So one attempt may be queued behind each running attempt,
as long as the last one that ended was quick. If the running attempt turns out slow, the attempt
behind it is taken back. Owns which attempt is queued behind which, and until when. Pure: part of
the worker's state machine.
"""

from __future__ import annotations

from titan.model.dag import JobTemplate

QUICK_S = 0.02
"""Longest duration of a quick attempt. An attempt waits behind another for half as long before it
is taken back."""


def starts_at_once(template: JobTemplate) -> bool:
    """Return whether an attempt needs nothing but a slot and the shared warden. Other attempts are
    never pipelined, in front or behind."""
    simple = template.limits is None and template.needs is None and template.service is None
    simple = simple and not (template.outputs or template.inputs or template.secrets)
    return simple and not (template.function or template.python or template.archive or template.stdin)


class Ahead:
    def __init__(self, quick_s: float = QUICK_S) -> None:
        self._quick_s = quick_s
        self._quick = False
        self._open: dict[int, float] = {}
        """Attempts that have a slot and none queued behind -> since when."""
        self._behind: dict[int, int] = {}
        self._before: dict[int, int] = {}
        self._due: dict[int, float] = {}
        """Queued attempt -> when it is to be taken back, earliest first."""

    def __bool__(self) -> bool:
        return bool(self._behind)

    def next_due(self) -> float | None:
        return next(iter(self._due.values()), None)

    def began(self, now: float, lease: int) -> None:
        """Note that an attempt got a slot."""
        self._open[lease] = now

    def place(self, now: float, lease: int) -> int:
        """Queue an attempt behind a running one. Return that one's lease, 0 if there is none."""
        while self._quick and self._open:
            front, since = next(iter(self._open.items()))
            del self._open[front]
            if now - since <= self._quick_s:
                self._behind[front] = lease
                self._before[lease] = front
                self._due[lease] = now + self._quick_s / 2
                return front
        return 0

    def ended(self, lease: int) -> int:
        """Remove an attempt that left its slot. Return the lease that takes the slot, 0 if none
        does."""
        self._open.pop(lease, None)
        follower = self._behind.pop(lease, 0)
        if follower:
            del self._before[follower]
            self._due.pop(follower, None)
        return follower

    def took(self, seconds: float) -> None:
        self._quick = seconds <= self._quick_s

    def gone(self, lease: int) -> None:
        """Remove an attempt that is no longer queued behind another."""
        front = self._before.pop(lease, 0)
        if front:
            del self._behind[front]
            self._due.pop(lease, None)

    def late(self, now: float) -> list[int]:
        """Return the attempts that are to be taken back. Each is returned once."""
        found: list[int] = []
        for lease, due in self._due.items():
            if due > now:
                break
            found.append(lease)
        for lease in found:
            del self._due[lease]
        return found
