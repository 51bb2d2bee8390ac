"""Calls that wait for other calls: each gives its slot up meanwhile, so that what it waits for can run here. Pure: part of the
worker's machine.

A call that waits keeps its process, and another one executes what comes. So there is a limit, and what calls wait for goes first:
a tree of calls then takes as many processes as it is deep, not as it is wide.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from titan.worker.words import CallWaits, KillRunner, ReportAwaiting

if TYPE_CHECKING:
    from titan.worker.machine import WorkerMachine

WAITING_MAX = 64


def on_call_waits(machine: WorkerMachine, now: float, seen: CallWaits) -> None:
    """The call gives up its slot; or it goes on at once, one more than there are slots if need be."""
    runners = machine.runners
    if not seen.waits:
        machine.awaiting_due |= runners.resume(seen.runner)
        return
    lease = runners.wait(seen.runner)
    if lease is None:
        return
    machine.awaiting_due = True
    if len(runners.waiting) > WAITING_MAX:
        machine.held[lease].too_deep = True
        machine._out.append(KillRunner(seen.runner))


def report_awaiting(machine: WorkerMachine) -> None:
    """What is said when one more or less waits."""
    if not machine.connected or not machine.awaiting_due:
        return
    machine.awaiting_due = False
    leases = [lease for lease in machine.runners.waiting.values() if not machine.held[lease].orphaned]
    machine._out.append(ReportAwaiting(leases))


def deepest_first(machine: WorkerMachine) -> None:
    """What has the highest priority goes before what came earlier: calls of calls have one more than their callers."""
    if not machine.runners.waiting:
        return
    held, waiting = machine.held, machine._waiting
    ranked = [(-h.assignment.template.priority, lease) for lease in waiting if (h := held.get(lease)) is not None]
    machine._waiting = deque([lease for _, lease in sorted(ranked, key=lambda it: it[0])])
