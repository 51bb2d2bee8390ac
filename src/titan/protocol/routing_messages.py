"""Why a job does not run: what is asked, and the reasons."""

from __future__ import annotations

import msgspec

from titan.protocol.base import Message
from titan.protocol.ranges import Column, Count, Facts, Name, StateNumber, Text


class Why(Message, frozen=True):
    """Why this job does not run; answered by Reasons."""

    run: Name
    job: Name


class ReasonRow(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """`code` is stable, `text` is for people, `detail` holds the names and numbers in it. Times are
    seconds since the epoch."""

    code: Name
    text: Text
    detail: Facts = {}


class WorkerReasons(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Why one worker does not take it, the most lasting reason first."""

    worker: Name
    reasons: Column[ReasonRow]


class Reasons(Message, frozen=True):
    """`state` is the job's. `workers`, of a job that is QUEUED: those first that could take it
    soonest; `left_off` more are not told of."""

    run: Name
    job: Name
    state: StateNumber
    reasons: Column[ReasonRow]
    workers: Column[WorkerReasons] = []
    left_off: Count = 0
