"""Messages about the reasons why a job does not run."""

from __future__ import annotations

import msgspec

from titan.protocol.base import Message
from titan.protocol.ranges import Column, Count, Facts, Name, StateNumber, Text


class Why(Message, frozen=True):
    """Ask for the reasons why a job does not run. Answered by Reasons."""

    run: Name
    job: Name


class ReasonRow(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Reason. `code` is stable, `text` is for people, `detail` has the names and numbers in it.

    Times are in seconds since the epoch.
    """

    code: Name
    text: Text
    detail: Facts = {}


class WorkerReasons(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Reasons why one worker does not take the job."""

    worker: Name
    reasons: Column[ReasonRow]


class Reasons(Message, frozen=True):
    """Reasons why a job in `state` does not run.

    `workers`, for a QUEUED job: reasons by worker; the workers that could take the job soonest come
    first. `left_off` is the number of workers that are not listed.
    """

    run: Name
    job: Name
    state: StateNumber
    reasons: Column[ReasonRow]
    workers: Column[WorkerReasons] = []
    left_off: Count = 0
