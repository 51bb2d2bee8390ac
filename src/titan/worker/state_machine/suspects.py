"""Suspects: jobs that ran when their warden died. Pure: part of the worker's state machine.

A job can kill its warden, which is its parent process. All jobs of that warden are then killed, and
the guilty job cannot be identified. So the first time no job is blamed: the worker returns all of
the attempts to the master, which costs no retry. The worker remembers each of the jobs, and runs
its next attempt under a warden of its own. If that warden dies too, only this job can have killed
it, and its attempt has failed.
"""

from __future__ import annotations

import signal

from titan.model.states import Outcome
from titan.worker.state_machine.attempt import Held, verdict
from titan.worker.state_machine.messages import Assignment, WardenDied

MOST = 1000
"""Maximum number of suspects. Above it the oldest suspect is forgotten, and can then kill a shared
warden once more."""
WARDEN_DIED = "the worker's process runner died"
GUILTY = "killed its process runner for the second time, when no other job ran under it: a job must not kill its parent process"


class Suspects:
    def __init__(self) -> None:
        self._all: dict[tuple[str, str], None] = {}

    def __contains__(self, assignment: Assignment) -> bool:
        return bool(self._all) and (assignment.run, assignment.job) in self._all

    def suspect(self, h: Held) -> None:
        """Mark a job whose warden died as a suspect: from now on it gets a warden of its own."""
        h.alone = True
        self._all[h.assignment.run, h.assignment.job] = None
        while len(self._all) > MOST:
            del self._all[next(iter(self._all))]

    def verdict(self, h: Held, received: WardenDied) -> tuple[Outcome, str, int]:
        """Return outcome, reason and exit code of an attempt whose warden died.

        An attempt that had begun may have killed the warden, so its job becomes a suspect. If no
        attempt had begun, the worker itself is at fault.
        """
        begun = h.assignment.lease in received.begun
        if h.stopping is not None:  # an end of the attempt was already ordered, so this end is reported
            outcome, _, reason = verdict(h, -signal.SIGKILL)
            return outcome, reason, -1
        if begun and h.alone:
            return Outcome.SIGNALED, GUILTY, 128 + signal.SIGKILL
        if begun:
            self.suspect(h)
        return Outcome.RETURNED if received.begun else Outcome.BROKEN, WARDEN_DIED, -1
