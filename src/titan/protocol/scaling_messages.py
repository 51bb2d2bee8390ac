"""Messages about workers that are told to leave, and about burst workers."""

from __future__ import annotations

import msgspec

from titan.protocol.base import Message
from titan.protocol.ranges import Column, Count, Measured, Name, Seconds, Text


# -- clients ---------------------------------------------------------------------------------------
class TellWorker(Message, frozen=True):
    """A worker is to take nothing new, finish what runs and leave; `now`: to kill what runs and
    hand it back. Answered by Told."""

    name: Name
    now: bool = False


class Told(Message, frozen=True):
    """It is recorded, and the worker is told until it has left. `state`: of the worker now; `held`:
    attempts that it still has."""

    state: Name
    held: Count


class GetScale(Message, frozen=True):
    """How many burst workers there are, and why. Answered by Scale."""


class ScaleRow(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One rule. `demand`: jobs that wait for a slot; `slots`, `used`: of all workers that take
    them; `coming`: slots of burst workers that have not registered; `looked_at` 0: not yet since
    the master's start."""

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
    """`every_s`: how often it is looked; no rows: scaling is off."""

    rows: Column[ScaleRow]
    every_s: Seconds


# -- workers ---------------------------------------------------------------------------------------
class Leave(Message, frozen=True):
    """Finish what runs, hand back what waits, then leave; `now`: kill what runs. May come again and
    again."""

    now: bool = False
