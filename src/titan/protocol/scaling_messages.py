"""Messages about workers that are told to leave, and about burst workers."""

from __future__ import annotations

import msgspec

from titan.protocol.base import Message


# -- clients -----------------------------------------------------------------------------------------------------------
class TellWorker(Message, frozen=True):
    """A worker is to take nothing new, finish what runs and leave; `now`: to kill what runs and hand it back. Answered by Told."""

    name: str
    now: bool = False


class Told(Message, frozen=True):
    """It is recorded, and the worker is told until it has left. `state`: of the worker now; `held`: attempts that it still has."""

    state: str
    held: int


class GetScale(Message, frozen=True):
    """How many burst workers there are, and why. Answered by Scale."""


class ScaleRow(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One rule. `demand`: jobs that wait for a slot; `slots`, `used`: of all workers that take them; `coming`: slots of burst
    workers that have not registered; `looked_at` 0: not yet since the master's start."""

    rule: str
    least: int
    most: int
    demand: int
    slots: int
    used: int
    coming: int
    bursts: list[str]
    leaving: list[str]
    decision: str
    looked_at: float


class Scale(Message, frozen=True):
    """`every_s`: how often it is looked; no rows: scaling is off."""

    rows: list[ScaleRow]
    every_s: float


# -- workers -----------------------------------------------------------------------------------------------------------
class Leave(Message, frozen=True):
    """Finish what runs, hand back what waits, then leave; `now`: kill what runs. May come again and again."""

    now: bool = False
