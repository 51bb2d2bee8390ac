"""Helpers of the tests of the worker's state machine: short forms for inputs and instructions."""

from __future__ import annotations

from typing import Any

from titan.model.dag import JobTemplate
from titan.model.states import Outcome
from titan.worker.state_machine import machine as m

PLAIN = JobTemplate(command="true")
SCRIPT = JobTemplate(file="x.sh", file_hash="f" * 64)


def assignment(lease: int, template: JobTemplate = PLAIN) -> m.Assignment:
    return m.Assignment(lease, "r", f"j{lease}", 1, template, ())


def dispatched(*leases: int, template: JobTemplate = PLAIN) -> m.Dispatched:
    return m.Dispatched([assignment(lease, template) for lease in leases])


def start(lease: int, template: JobTemplate = PLAIN) -> m.StartAttempt:
    return m.StartAttempt(assignment(lease, template))


def exited(lease: int, code: int = 0, at: float = 2.0) -> m.AttemptExited:
    return m.AttemptExited(lease, code, at, 0.25, 4096)


def result(lease: int, outcome: Outcome, code: int, reason: str, *, at: float = 2.0, started_at: float = 1.0) -> m.Result:
    """Return the result of an attempt that had started."""
    return m.Result(lease, outcome, code, reason, started_at, at, 0.25, 4096)


def unstarted(lease: int, outcome: Outcome, reason: str, at: float) -> m.Result:
    return m.Result(lease, outcome, -1, reason, 0.0, at, 0.0, 0)


class Node:
    """State machine of a worker. Each call of `see` is one turn; the time never decreases."""

    def __init__(self, slots: int = 1, *, connected: bool = True) -> None:
        self.machine = m.WorkerMachine(slots)
        self.now = 0.0
        if connected:
            self.see(m.Welcomed("c"), m.Registered(5.0))

    def see(self, *inputs: Any, at: float | None = None) -> list[m.Instruction]:
        self.now = self.now if at is None else at
        return self.machine.handle(self.now, list(inputs))

    def phases(self) -> dict[int, m.Phase]:
        return {lease: held.phase for lease, held in self.machine.held.items()}

    def run(self, *leases: int, template: JobTemplate = PLAIN) -> None:
        """Dispatch these leases, and report that they started at 1."""
        self.see(dispatched(*leases, template=template), at=1.0)
        self.see(*[m.AttemptStarted(lease, 1.0) for lease in leases])
