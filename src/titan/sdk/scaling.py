"""Workers that are told to leave, and what the master says of its burst workers."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from titan.protocol import messages as msg
from titan.sdk.connection import Connection

LOOK_S = 0.1
GONE = ("LEFT", "LOST", "FORGOTTEN")


@dataclass(frozen=True, slots=True)
class ScaleStatus:
    """One scaling rule. `demand`: jobs that wait for a slot; `slots`, `used`: of all workers that
    take them, permanent ones too; `coming`: slots of burst workers that are being started;
    `decision`: of the last look, at `looked_at` (seconds since the epoch, None before the first).
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
    """A worker was told to leave. `state`: of the worker then; `held`: the attempts that it still
    had."""

    name: str
    state: str
    held: int


async def tell_worker(connection: Connection, name: str, *, now: bool) -> Told:
    """Raises NotFound."""
    answer = await connection.call(lambda n: msg.TellWorker(n, name, now))
    assert isinstance(answer, msg.Told)
    return Told(name, answer.state, answer.held)


async def stop_worker(connection: Connection, name: str, *, now: bool, timeout: float | None) -> str:
    """Tells it, and waits until it has gone; its state then. Raises NotFound, TimeoutError."""
    await tell_worker(connection, name, now=now)
    async with asyncio.timeout(timeout):
        while True:
            answer = await connection.call(msg.ListWorkers)
            assert isinstance(answer, msg.Workers)
            state = next((w.state for w in answer.workers if w.name == name), "FORGOTTEN")
            if state in GONE:
                return state
            await asyncio.sleep(LOOK_S)


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
