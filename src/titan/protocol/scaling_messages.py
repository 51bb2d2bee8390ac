"""Messages about leaving workers and burst workers."""

from __future__ import annotations

import msgspec

from titan.protocol.base import Message
from titan.protocol.ranges import Column, Count, Measured, Name, Seconds, Text


# -- clients ---------------------------------------------------------------------------------------
class TellWorker(Message, frozen=True):
    """Tell a worker to take no new attempts, finish the running ones and leave.

    `now`: the worker kills running attempts and returns them to the master. Answered by Told.
    """

    name: Name
    now: bool = False


class Told(Message, frozen=True):
    """The order to leave is recorded. The master repeats the order until the worker has left.

    `state`: current state of the worker. `held`: number of attempts that the worker still has.
    """

    state: Name
    held: Count


class GetScale(Message, frozen=True):
    """Ask for the burst workers of each scaling rule and the last decisions. Answered by Scale."""


class ScaleRow(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """State of one scaling rule.

    `demand`: jobs that wait for a slot. `slots`, `used`: slots of all workers that take these jobs.
    `coming`: slots of burst workers that have not registered. `looked_at`: time of the last review,
    0 if there was none since the master's start.
    """

    rule: Name
    least: Count
    most: Count
    demand: Count
    slots: Count
    used: Count
    coming: Count
    bursts: Column[Name]
    leaving: Column[Name]
    decision: Text
    looked_at: Measured


class Scale(Message, frozen=True):
    """State of all scaling rules. `every_s`: interval between two reviews. No rows: no rules."""

    rows: Column[ScaleRow]
    every_s: Seconds


# -- workers ---------------------------------------------------------------------------------------
class Leave(Message, frozen=True):
    """Finish running attempts, return waiting ones, then leave. `now`: kill running attempts.

    The message may be repeated.
    """

    now: bool = False
