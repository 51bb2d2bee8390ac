"""An attempt that a worker holds, and what its end means. Pure: part of the worker's machine."""

from __future__ import annotations

import signal
from enum import IntEnum

import msgspec

from titan.model.states import Outcome
from titan.worker.state_machine.messages import Assignment, Result


class Phase(IntEnum):
    FETCHING = 0
    WAITING = 1
    STARTING = 2
    RUNNING = 3
    ENDED = 4
    DONE = 5
    AHEAD = 6
    """With the warden, behind another attempt: it has no slot yet."""


class Held(msgspec.Struct, gc=False):
    """An attempt that this worker has."""

    assignment: Assignment
    phase: Phase
    started_at: float = 0.0
    stopping: Outcome | None = None
    """Why it was told to end, if it was: STOPPED, TIMED_OUT or RETURNED."""
    orphaned: bool = False
    """Of a cluster that is no more: end it and tell nobody."""
    ran: bool = False
    """It was started, or that was tried: there may be output."""
    result: Result | None = None
    sent_at: float = 0.0
    runner: int = -1
    """Of a call: the runner that has it."""
    recalled: bool = False
    """The master wants it back if it has not begun."""
    value: bytes = b""
    """What it says that it came to."""
    unstored: bool = False
    """That is by content, and the master does not have it."""
    draw: str = ""
    """Names the start of a master that gave the lease."""
    alone: bool = False
    """It has a warden of its own."""
    keeping: bool = False
    """ENDED: what it left is on its way to the master."""
    too_deep: bool = False
    """A call that waits for other calls when too many on this worker do."""


TOO_DEEP = (
    "too many calls on its worker waited for calls of their own, each in a process that it keeps: "
    "call less deep, wait outside of calls, or make a graph of titan.task"
)


def end_of_call(h: Held, reason: str, *, unfit: bool) -> tuple[Outcome, str]:
    """What becomes of a call whose runner ended with it, or, `unfit`, never came up: that is the
    worker's fault, not the call's."""
    if h.too_deep:
        return Outcome.EXITED, TOO_DEEP
    if h.stopping is Outcome.TIMED_OUT:
        return Outcome.TIMED_OUT, f"timed out after {h.assignment.template.timeout_s:g} s"
    if h.stopping is not None:
        return h.stopping, "stopped"
    return Outcome.BROKEN if unfit else Outcome.SIGNALED, reason


def forgive(h: Held, ended_at: float) -> None:
    """An attempt that had ended in time did not time out; this worker was late to see it."""
    if h.stopping is Outcome.TIMED_OUT and ended_at < h.started_at + h.assignment.template.timeout_s:
        h.stopping = None


def verdict(h: Held, exit_code: int) -> tuple[Outcome, int, str]:
    code = 128 - exit_code if exit_code < 0 else exit_code
    match h.stopping:
        case Outcome.TIMED_OUT:
            return Outcome.TIMED_OUT, code, f"timed out after {h.assignment.template.timeout_s:g} s"
        case Outcome.STOPPED:
            return Outcome.STOPPED, code, "stopped"
        case Outcome.RETURNED:
            return Outcome.RETURNED, code, "the worker was stopped"
    if exit_code == 0:
        return Outcome.SUCCEEDED, 0, ""
    if exit_code < 0:
        return Outcome.SIGNALED, code, f"killed by {_signal_name(-exit_code)}"
    return Outcome.EXITED, code, f"exit code {exit_code}"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
