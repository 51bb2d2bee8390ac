"""Jobs that ran when their warden died. Pure: part of the worker's machine.

A job can kill its warden, its parent process, and with it all that runs beside it. Who did it cannot be known. So the first time
nobody is blamed: all of them are handed back, which costs no retry. But each is remembered, and runs under a warden of its own when
it comes again. If that dies too, only this job can have done it: its attempt failed.
"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from titan.model.states import Outcome
from titan.worker.held import Held, Phase, forgive
from titan.worker.words import Assignment, AttemptWithdrawn, WardenDied

if TYPE_CHECKING:
    from titan.worker.machine import WorkerMachine

MOST = 1000
"""The oldest go beyond that: such a job may take others with it once more."""
WARDEN_DIED = "the worker's process runner died"
GUILTY = "killed its process runner, alone under it and for the second time: a job must not kill its parent process"


class Suspects:
    def __init__(self) -> None:
        self._all: dict[tuple[str, str], None] = {}

    def __contains__(self, it: Assignment) -> bool:
        return bool(self._all) and (it.run, it.job) in self._all

    def suspect(self, h: Held) -> None:
        """Its warden died: it gets one of its own from now on."""
        h.alone = True
        self._all[h.assignment.run, h.assignment.job] = None
        while len(self._all) > MOST:
            del self._all[next(iter(self._all))]


def on_warden_died(machine: WorkerMachine, now: float, seen: WardenDied) -> None:
    for lease in seen.leases:
        machine.on_attempt_withdrawn(now, AttemptWithdrawn(lease))
    for lease in seen.leases:
        h = machine.held.get(lease)
        if h is not None and h.phase in (Phase.STARTING, Phase.RUNNING) and h.runner < 0:
            forgive(h, seen.at)
            _end_with_warden(machine, now, lease, h, seen)


def _end_with_warden(machine: WorkerMachine, now: float, lease: int, h: Held, seen: WardenDied) -> None:
    """What has begun may have done it. If nothing has, the worker's own machinery failed."""
    outcome, reason, code = h.stopping, WARDEN_DIED, -1
    if outcome is None and h.alone and lease in seen.begun:
        outcome, reason, code = Outcome.SIGNALED, GUILTY, 128 + signal.SIGKILL
    elif outcome is None:
        outcome = Outcome.RETURNED if seen.begun else Outcome.BROKEN
        if lease in seen.begun:
            machine.suspects.suspect(h)
    machine._end(now, lease, outcome, reason, exit_code=code, finished_at=seen.at)
