"""What jobs say that they came to: kept with the attempt, and reported with its end if that is a good one. Pure: part of the
worker's machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from titan.model.states import Outcome
from titan.model.values import artifact_of
from titan.worker.held import Phase
from titan.worker.words import LogsSent, ResultSet, StoreValue

if TYPE_CHECKING:
    from titan.worker.machine import WorkerMachine


class JobValues:
    def __init__(self, machine: WorkerMachine) -> None:
        self._machine = machine

    def take(self, seen: Any) -> bool:
        """Whether this is all that there is to do about an input."""
        if type(seen) is ResultSet:
            h = self._machine.held.get(seen.lease)
            if h is not None and h.result is None:
                h.value, h.unstored = seen.value, artifact_of(seen.value) is not None
            return True
        if type(seen) is LogsSent:
            h = self._machine.held.get(seen.lease)
            if h is not None and h.unstored and h.phase is Phase.ENDED and h.result is not None and h.result.value:
                h.unstored = False
                self._machine._out.append(StoreValue(seen.lease, h.result.value))
                return True
        return False

    def of(self, lease: int, outcome: Outcome) -> bytes:
        """What is reported with this end."""
        return self._machine.held[lease].value if outcome is Outcome.SUCCEEDED else b""
