"""Jobs that ran when their warden died. Pure: part of the worker's machine.

A job can kill its warden, its parent process, and with it all that runs beside it. Who did it
cannot be known. So the first time nobody is blamed: all of them are handed back, which costs no
retry. But each is remembered, and runs under a warden of its own when it comes again. If that dies
too, only this job can have done it: its attempt failed.
"""

from __future__ import annotations

import signal

from titan.model.states import Outcome
from titan.worker.state_machine.attempt import Held, verdict
from titan.worker.state_machine.messages import Assignment, WardenDied

MOST = 1000
"""The oldest go beyond that: such a job may take others with it once more."""
WARDEN_DIED = "the worker's process runner died"
GUILTY = "killed its process runner, alone under it and for the second time: a job must not kill its parent process"


class Suspects:
    def __init__(self) -> None:
        self._all: dict[tuple[str, str], None] = {}

    def __contains__(self, assignment: Assignment) -> bool:
        return bool(self._all) and (assignment.run, assignment.job) in self._all

    def suspect(self, h: Held) -> None:
        """Its warden died: it gets one of its own from now on."""
        h.alone = True
        self._all[h.assignment.run, h.assignment.job] = None
        while len(self._all) > MOST:
            del self._all[next(iter(self._all))]

    def verdict(self, h: Held, received: WardenDied) -> tuple[Outcome, str, int]:
        """Outcome, reason and exit code of an attempt whose warden died; it is remembered if it may
        have done that.

        What had begun may have done it. If nothing had, the worker's own machinery failed.
        """
        begun = h.assignment.lease in received.begun
        if h.stopping is not None:  # it was to end anyway, and that is what its end is told as
            outcome, _, reason = verdict(h, -signal.SIGKILL)
            return outcome, reason, -1
        if begun and h.alone:
            return Outcome.SIGNALED, GUILTY, 128 + signal.SIGKILL
        if begun:
            self.suspect(h)
        return Outcome.RETURNED if received.begun else Outcome.BROKEN, WARDEN_DIED, -1
