"""What attempts that succeeded leave for others is kept before their results are told. Pure: part
of the worker's machine."""

from __future__ import annotations

from msgspec.structs import replace

from titan.model.states import Outcome
from titan.worker.state_machine.attempt import Held, Phase
from titan.worker.state_machine.messages import GiveUpOutputs, KeepOutputs, OutputsKept


def begin_output_upload(h: Held) -> list[KeepOutputs]:
    """An attempt ended: what is to be done if it was to leave something, and may have."""
    if not h.assignment.template.outputs or h.result is None or h.result.outcome is not Outcome.SUCCEEDED:
        return []
    h.keeping = True
    return [KeepOutputs(h.assignment.lease)]


def give_up_output_upload(h: Held) -> list[GiveUpOutputs]:
    """It was stopped while what it left was sent."""
    if not h.keeping or h.result is None:
        return []
    h.keeping = False
    h.result = replace(h.result, outcome=Outcome.STOPPED, reason="stopped", value=b"")
    return [GiveUpOutputs(h.assignment.lease)]


def end_output_upload(h: Held, received: OutputsKept) -> None:
    """All that it left is kept, or could not be. Whether its output is sent is told after this."""
    if h.phase is not Phase.ENDED or not h.keeping or h.result is None:
        return
    h.keeping = False
    if received.problem:
        h.result = replace(h.result, outcome=received.outcome, reason=received.problem, value=b"")
    else:
        h.result = replace(h.result, outputs=received.outputs)
