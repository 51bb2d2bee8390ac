"""State of an attempt that a worker holds, and the classification of its end. Pure: part of the
worker's state machine."""

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
    """The attempt is queued in its warden behind another attempt, and has no slot yet."""


class Held(msgspec.Struct, gc=False):
    """State of one attempt that this worker holds."""

    assignment: Assignment
    phase: Phase
    started_at: float = 0.0
    stopping: Outcome | None = None
    """Outcome that was ordered for the attempt's end: STOPPED, TIMED_OUT or RETURNED. None: no end
    was ordered."""
    orphaned: bool = False
    """The attempt belongs to another cluster than that of the current master, so it ends without a
    report."""
    ran: bool = False
    """True if the worker tried to start the attempt, so that there may be output."""
    result: Result | None = None
    sent_at: float = 0.0
    runner: int = -1
    """Number of the runner that has this call, -1 for none."""
    recalled: bool = False
    """True if the master asked for the attempt back in case it has not begun."""
    value: bytes = b""
    """Result that the job set for itself, in the encoding of model/values.py."""
    unstored: bool = False
    """True if `value` refers to content by its hash, and the master may not have that content
    yet."""
    draw: str = ""
    """Random id of the master's start in which the master granted the lease."""
    alone: bool = False
    """True if the attempt has a warden of its own."""
    keeping: bool = False
    """True while the attempt is ENDED and its outputs are being uploaded to the master."""
    too_deep: bool = False
    """True if the call began to wait for other calls when too many calls on this worker already
    waited."""


TOO_DEEP = (
    "too many calls on one worker waited for calls of their own, and each of them keeps a process: "
    "use fewer levels of calls, wait outside of calls, or build a graph with titan.task"
)


def end_of_call(h: Held, reason: str, *, unfit: bool) -> tuple[Outcome, str]:
    """Return the outcome and the reason for a call whose runner ended.

    `unfit`: the runner never came up. That is the fault of the worker, not of the call.
    """
    if h.too_deep:
        return Outcome.EXITED, TOO_DEEP
    if h.stopping is Outcome.TIMED_OUT:
        return Outcome.TIMED_OUT, f"timed out after {h.assignment.template.timeout_s:g} s"
    if h.stopping is not None:
        return h.stopping, "stopped"
    return Outcome.BROKEN if unfit else Outcome.SIGNALED, reason


def clear_late_timeout(h: Held, ended_at: float) -> None:
    """Clear the timeout of an attempt that ended in time, if the worker noticed the end late."""
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
