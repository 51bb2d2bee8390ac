"""Calls that wait for other calls. Each frees its slot meanwhile, so that the calls that it waits
for can run here. Pure: part of the worker's state machine.

A waiting call keeps its process, and another process executes the calls that come. So their number
is limited, and the calls that others wait for go first. A tree of calls then takes as many
processes as it is deep, not as it is wide.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

from titan.worker.state_machine.attempt import Held
from titan.worker.state_machine.calls import Runners
from titan.worker.state_machine.messages import CallWaits, KillRunner, ReportAwaiting

WAITING_MAX = 64


class Awaiting:
    """Calls that wait for other calls, and whether the master has to be told."""

    def __init__(self, held: Mapping[int, Held], runners: Runners) -> None:
        self._held = held
        self._runners = runners
        self.due = False
        """The set of waiting calls differs from the last report."""

    def on_call_waits(self, received: CallWaits) -> list[KillRunner]:
        """Free the call's slot, or let the call go on. It goes on at once, even if that exceeds the
        slots for a moment."""
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
        """Report anew if calls wait: after a registration the master assumes that none do."""
        self.due = bool(self._runners.waiting)

    def report(self) -> list[ReportAwaiting]:
        """Return the report if it is due. Called only while there is a connection."""
        if not self.due:
            return []
        self.due = False
        return [ReportAwaiting([lease for lease in self._runners.waiting.values() if not self._held[lease].orphaned])]

    def deepest_first(self, waiting: deque[int]) -> deque[int]:
        """Return the queue ordered by priority, highest first. A call has one more than its caller,
        so the deepest calls go first."""
        if not self._runners.waiting:
            return waiting
        ranked = [(-h.assignment.template.priority, lease) for lease in waiting if (h := self._held.get(lease)) is not None]
        return deque([lease for _, lease in sorted(ranked, key=lambda entry: entry[0])])
