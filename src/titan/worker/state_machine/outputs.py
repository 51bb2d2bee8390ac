"""Upload of the declared outputs of successful attempts. A result is reported only after its
outputs are uploaded. Pure: part of the worker's state machine."""

from __future__ import annotations

from msgspec.structs import replace

from titan.model.states import Outcome
from titan.worker.state_machine.attempt import Held, Phase
from titan.worker.state_machine.messages import GiveUpOutputs, KeepOutputs, OutputsKept


def begin_output_upload(h: Held) -> list[KeepOutputs]:
    """Return the instruction to upload an ended attempt's outputs. The list is empty unless the
    attempt succeeded and declares outputs."""
    if not h.assignment.template.outputs or h.result is None or h.result.outcome is not Outcome.SUCCEEDED:
        return []
    h.keeping = True
    return [KeepOutputs(h.assignment.lease)]


def give_up_output_upload(h: Held) -> list[GiveUpOutputs]:
    """Give up the upload of an attempt that the master stopped meanwhile."""
    if not h.keeping or h.result is None:
        return []
    h.keeping = False
    h.result = replace(h.result, outcome=Outcome.STOPPED, reason="stopped", value=b"")
    return [GiveUpOutputs(h.assignment.lease)]


def end_output_upload(h: Held, received: OutputsKept) -> None:
    """Record the outcome of the upload. The attempt's LogsSent comes after this input."""
    if h.phase is not Phase.ENDED or not h.keeping or h.result is None:
        return
    h.keeping = False
    if received.problem:
        h.result = replace(h.result, outcome=received.outcome, reason=received.problem, value=b"")
    else:
        h.result = replace(h.result, outputs=received.outputs)
