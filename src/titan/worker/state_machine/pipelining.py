"""Which attempt goes to the warden before there is a slot for it: to be started the moment that
another ends.

Between two quick jobs of one slot the worker would be told of an end and order a start, which costs
as long as a small job takes. So one attempt may stand behind each that runs, as long as what ran
last was quick. One that turns out slow keeps nobody: who stands behind it is taken back. Owns who
stands behind whom, and until when; pure, a part of the worker's machine.
"""

from __future__ import annotations

from titan.model.dag import JobTemplate

QUICK_S = 0.02
"""What took no longer is quick. For half as long an attempt stands behind another before it is
asked back."""


def starts_at_once(template: JobTemplate) -> bool:
    """Whether an attempt needs nothing but a slot and the worker's own warden. Others neither stand
    behind one nor before one."""
    simple = template.limits is None and template.needs is None and template.service is None
    simple = simple and not (template.outputs or template.inputs or template.secrets)
    return simple and not (template.function or template.python or template.archive)


class Ahead:
    def __init__(self, quick_s: float = QUICK_S) -> None:
        self._quick_s = quick_s
        self._quick = False
        self._open: dict[int, float] = {}
        """Attempts that have a slot and none behind them -> since when."""
        self._behind: dict[int, int] = {}
        self._before: dict[int, int] = {}
        self._due: dict[int, float] = {}
        """When the one that stands behind is asked back; the first is due first."""

    def __bool__(self) -> bool:
        return bool(self._behind)

    def next_due(self) -> float | None:
        return next(iter(self._due.values()), None)

    def began(self, now: float, lease: int) -> None:
        """It has a slot."""
        self._open[lease] = now

    def place(self, now: float, lease: int) -> int:
        """Behind which attempt it stands from now on; 0: behind none."""
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
        """An attempt has left its slot. Who takes it; 0: nobody does."""
        self._open.pop(lease, None)
        follower = self._behind.pop(lease, 0)
        if follower:
            del self._before[follower]
            self._due.pop(follower, None)
        return follower

    def took(self, seconds: float) -> None:
        self._quick = seconds <= self._quick_s

    def gone(self, lease: int) -> None:
        """It no longer stands behind another."""
        front = self._before.pop(lease, 0)
        if front:
            del self._behind[front]
            self._due.pop(lease, None)

    def late(self, now: float) -> list[int]:
        """Those that are to be asked back. Each is named once."""
        found: list[int] = []
        for lease, due in self._due.items():
            if due > now:
                break
            found.append(lease)
        for lease in found:
            del self._due[lease]
        return found
