"""Calls that wait for other calls: each gives its slot up meanwhile, so that what it waits for can
run here. Pure: part of the worker's machine.

A call that waits keeps its process, and another one executes what comes. So there is a limit, and
what calls wait for goes first: a tree of calls then takes as many processes as it is deep, not as
it is wide.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

from titan.worker.state_machine.attempt import Held
from titan.worker.state_machine.calls import Runners
from titan.worker.state_machine.messages import CallWaits, KillRunner, ReportAwaiting

WAITING_MAX = 64


class Awaiting:
    """Which calls of `held` wait, by `runners`, and whether the master is to be told."""

    def __init__(self, held: Mapping[int, Held], runners: Runners) -> None:
        self._held = held
        self._runners = runners
        self.due = False
        """One more or less waits than the master was told."""

    def on_call_waits(self, received: CallWaits) -> list[KillRunner]:
        """The call gives up its slot; or it goes on at once, one more than there are slots if need
        be."""
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
        """The master takes it that nobody waits."""
        self.due = bool(self._runners.waiting)

    def report(self) -> list[ReportAwaiting]:
        """What the master is to be told, which it can be now."""
        if not self.due:
            return []
        self.due = False
        return [ReportAwaiting([lease for lease in self._runners.waiting.values() if not self._held[lease].orphaned])]

    def deepest_first(self, waiting: deque[int]) -> deque[int]:
        """What has the highest priority goes before what came earlier: calls of calls have one more
        than their callers."""
        if not self._runners.waiting:
            return waiting
        ranked = [(-h.assignment.template.priority, lease) for lease in waiting if (h := self._held.get(lease)) is not None]
        return deque([lease for _, lease in sorted(ranked, key=lambda it: it[0])])
