"""Calls that wait for other calls. A call frees its slot while it waits, so that the calls that it
waits for can run on this worker. Pure: part of the worker's state machine.

A waiting call keeps its process, and another process executes the next calls. So the number of
waiting calls is limited, and the deepest calls run first. The number of processes for a tree of
calls then grows with the depth of the tree, not with its width.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

from titan.worker.state_machine.attempt import Held
from titan.worker.state_machine.calls import Runners
from titan.worker.state_machine.messages import CallWaits, KillRunner, ReportAwaiting

WAITING_MAX = 64


class Awaiting:
    """Waiting calls of a worker, and the report of them to the master."""

    def __init__(self, held: Mapping[int, Held], runners: Runners) -> None:
        self._held = held
        self._runners = runners
        self.due = False
        """True if the set of waiting calls differs from the last report."""

    def on_call_waits(self, received: CallWaits) -> list[KillRunner]:
        """Free the slot of a call that begins to wait, or let a call that waited go on. The call
        goes on at once, even if more calls than slots run for a moment."""
        runners = self._runners
        if not received.waits:
            self.due |= runners.resume(received.runner)
            return []
        lease = runners.wait(received.runner)
        if lease is None:
            return []
        self.due = True
        if len(runners.waiting) <= WAITING_MAX:
            return []
        self._held[lease].too_deep = True
        return [KillRunner(received.runner)]

    def on_registered(self) -> None:
        """Make a report due if calls wait: after a registration the master assumes that no call
        waits."""
        self.due = bool(self._runners.waiting)

    def report(self) -> list[ReportAwaiting]:
        """Return the report if it is due. The state machine calls this only while there is a
        connection."""
        if not self.due:
            return []
        self.due = False
        return [ReportAwaiting([lease for lease in self._runners.waiting.values() if not self._held[lease].orphaned])]

    def deepest_first(self, waiting: deque[int]) -> deque[int]:
        """Return the queue ordered by priority, highest first. The priority of a call is one higher
        than that of its caller, so the deepest calls go first."""
        if not self._runners.waiting:
            return waiting
        ranked = [(-h.assignment.template.priority, lease) for lease in waiting if (h := self._held.get(lease)) is not None]
        return deque([lease for _, lease in sorted(ranked, key=lambda entry: entry[0])])
