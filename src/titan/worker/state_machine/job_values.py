"""What jobs say that they came to: kept with the attempt, and reported with its end if that is a
good one. Pure: part of the worker's machine."""

from __future__ import annotations

from titan.model.states import Outcome
from titan.model.values import artifact_of
from titan.worker.state_machine.attempt import Held, Phase
from titan.worker.state_machine.messages import ResultSet, StoreValue


def on_result_set(h: Held, received: ResultSet) -> None:
    """It says what it came to, the last time counts."""
    if h.result is None:
        h.value, h.unstored = received.value, artifact_of(received.value) is not None


def begin_storing(h: Held) -> list[StoreValue]:
    """Its output is sent: what is to be done if its value is not with the master yet. Empty if it
    is."""
    if not h.unstored or h.phase is not Phase.ENDED or h.result is None or not h.result.value:
        return []
    h.unstored = False
    return [StoreValue(h.assignment.lease, h.result.value)]


def value_of(h: Held, outcome: Outcome) -> bytes:
    """What is reported with this end."""
    return h.value if outcome is Outcome.SUCCEEDED else b""
