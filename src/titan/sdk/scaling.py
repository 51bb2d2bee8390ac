"""Draining of workers, and the status of scaling rules."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from titan.protocol import messages as msg
from titan.sdk.connection import Connection

POLL_S = 0.1
GONE = ("LEFT", "LOST", "FORGOTTEN")


@dataclass(frozen=True, slots=True)
class ScaleStatus:
    """Status of one scaling rule.

    - `demand`: jobs that wait for a slot.
    - `slots`, `used`: slots, and used slots, of all workers that can run these jobs, including
      permanent workers.
    - `coming`: slots of burst workers that are starting.
    - `decision`: the last decision, made at `looked_at` (seconds since the epoch; None before the
      first decision).
    """

    rule: str
    least: int
    most: int
    demand: int
    slots: int
    used: int
    coming: int
    bursts: tuple[str, ...]
    leaving: tuple[str, ...]
    decision: str
    looked_at: float | None


@dataclass(frozen=True, slots=True)
class Told:
    """Answer to an order to leave: the worker's `state`, and the attempts that it still `held`."""

    name: str
    state: str
    held: int


async def tell_worker(connection: Connection, name: str, *, now: bool) -> Told:
    """Tell a worker to leave. Raises NotFound."""
    answer = await connection.call(lambda n: msg.TellWorker(n, name, now))
    assert isinstance(answer, msg.Told)
    return Told(name, answer.state, answer.held)


async def stop_worker(connection: Connection, name: str, *, now: bool, timeout: float | None) -> str:
    """Tell a worker to leave, wait until it has left, and return its last state.

    Raises NotFound, TimeoutError.
    """
    await tell_worker(connection, name, now=now)
    async with asyncio.timeout(timeout):
        while True:
            answer = await connection.call(msg.ListWorkers)
            assert isinstance(answer, msg.Workers)
            state = next((w.state for w in answer.workers if w.name == name), "FORGOTTEN")
            if state in GONE:
                return state
            await asyncio.sleep(POLL_S)


async def scale(connection: Connection) -> list[ScaleStatus]:
    answer = await connection.call(msg.GetScale)
    assert isinstance(answer, msg.Scale)
    return [
        ScaleStatus(
            rule=row.rule,
            least=row.least,
            most=row.most,
            demand=row.demand,
            slots=row.slots,
            used=row.used,
            coming=row.coming,
            bursts=tuple(row.bursts),
            leaving=tuple(row.leaving),
            decision=row.decision,
            looked_at=row.looked_at or None,
        )
        for row in answer.rows
    ]
