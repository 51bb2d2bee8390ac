"""Results that jobs set for themselves. The worker keeps such a result until the attempt ends, and
reports it if the attempt succeeded. Pure: part of the worker's state machine."""

from __future__ import annotations

from titan.model.states import Outcome
from titan.model.values import artifact_of
from titan.worker.state_machine.attempt import Held, Phase
from titan.worker.state_machine.messages import ResultSet, StoreValue


def on_result_set(h: Held, received: ResultSet) -> None:
    """Record the result that a job set. A later result replaces it."""
    if h.result is None:
        h.value, h.unstored = received.value, artifact_of(received.value) is not None


def begin_storing(h: Held) -> list[StoreValue]:
    """Return the instruction to upload the attempt's value. The list is empty if there is no value
    to upload.

    The state machine calls this when all output of the attempt was sent.
    """
    if not h.unstored or h.phase is not Phase.ENDED or h.result is None or not h.result.value:
        return []
    h.unstored = False
    return [StoreValue(h.assignment.lease, h.result.value)]


def value_of(h: Held, outcome: Outcome) -> bytes:
    """Return the value to be reported with this outcome. Only a success has one."""
    return h.value if outcome is Outcome.SUCCEEDED else b""
