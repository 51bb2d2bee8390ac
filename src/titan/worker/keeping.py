"""What attempts that succeeded leave for others is kept before their results are told. Pure: part of the worker's machine."""

from __future__ import annotations

from msgspec.structs import replace

from titan.model.states import Outcome
from titan.worker.held import Held, Phase
from titan.worker.words import GiveUpOutputs, KeepOutputs, OutputsKept


def begin_keeping(h: Held) -> list[KeepOutputs]:
    """An attempt ended: what is to be done if it was to leave something, and may have."""
    if not h.assignment.template.outputs or h.result is None or h.result.outcome is not Outcome.SUCCEEDED:
        return []
    h.keeping = True
    return [KeepOutputs(h.assignment.lease)]


def give_up_keeping(h: Held) -> list[GiveUpOutputs]:
    """It was stopped while what it left was sent."""
    if not h.keeping or h.result is None:
        return []
    h.keeping = False
    h.result = replace(h.result, outcome=Outcome.STOPPED, reason="stopped", value=b"")
    return [GiveUpOutputs(h.assignment.lease)]


def end_keeping(h: Held, seen: OutputsKept) -> None:
    """All that it left is kept, or could not be. Whether its output is sent is told after this."""
    if h.phase is not Phase.ENDED or not h.keeping or h.result is None:
        return
    h.keeping = False
    if seen.problem:
        h.result = replace(h.result, outcome=seen.outcome, reason=seen.problem, value=b"")
    else:
        h.result = replace(h.result, outputs=seen.outputs)
