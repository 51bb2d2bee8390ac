"""Jobs that ran when their warden died. Pure: part of the worker's state machine.

A job can kill its warden, which is its parent process, and with it all jobs of that warden. The
guilty job cannot be identified. So the first time no job is blamed: all of them are handed back,
which costs no retry. Each is remembered and gets a warden of its own when it comes again. If that
warden dies too, only this job can have killed it, and its attempt has failed.
"""

from __future__ import annotations

import signal

from titan.model.states import Outcome
from titan.worker.state_machine.attempt import Held, verdict
from titan.worker.state_machine.messages import Assignment, WardenDied

MOST = 1000
"""Maximum number of suspects. Beyond it the oldest is forgotten, and may take other jobs down once
more."""
WARDEN_DIED = "the worker's process runner died"
GUILTY = "killed its process runner, alone under it and for the second time: a job must not kill its parent process"


class Suspects:
    def __init__(self) -> None:
        self._all: dict[tuple[str, str], None] = {}

    def __contains__(self, assignment: Assignment) -> bool:
        return bool(self._all) and (assignment.run, assignment.job) in self._all

    def suspect(self, h: Held) -> None:
        """Give a job whose warden died a warden of its own from now on."""
        h.alone = True
        self._all[h.assignment.run, h.assignment.job] = None
        while len(self._all) > MOST:
            del self._all[next(iter(self._all))]

    def verdict(self, h: Held, received: WardenDied) -> tuple[Outcome, str, int]:
        """Return outcome, reason and exit code of an attempt whose warden died.

        An attempt that had begun may have killed the warden and becomes a suspect. If none had
        begun, the worker's own machinery failed.
        """
        begun = h.assignment.lease in received.begun
        if h.stopping is not None:  # report the end that was ordered
            outcome, _, reason = verdict(h, -signal.SIGKILL)
            return outcome, reason, -1
        if begun and h.alone:
            return Outcome.SIGNALED, GUILTY, 128 + signal.SIGKILL
        if begun:
            self.suspect(h)
        return Outcome.RETURNED if received.begun else Outcome.BROKEN, WARDEN_DIED, -1
