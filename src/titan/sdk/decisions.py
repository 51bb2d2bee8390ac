"""Requests of a client about gates and the dead letter queue.

`AsyncClient` and `Client` have them as methods.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from titan.errors import CallerError
from titan.model.names import split_job
from titan.protocol import messages as msg
from titan.sdk.connection import Connection
from titan.sdk.identity import user_name


@dataclass(frozen=True, slots=True)
class OpenGate:
    """A gate that waits for a decision. Times are seconds since the epoch.

    `webhook` is "" for none, "due", "delivered", or the reason why its delivery was given up.
    """

    run: str
    dag: str
    job: str
    message: str
    opened_at: float
    expires_at: float
    webhook: str = ""


@dataclass(frozen=True, slots=True)
class Decision:
    """Decision about a gate. `at` is in seconds since the epoch."""

    run: str
    job: str
    approved: bool
    by: str
    at: float


@dataclass(frozen=True, slots=True)
class Retried:
    """Numbers of jobs that a retry of the dead letter queue affects.

    `retried` DEAD jobs run again. `revived` jobs wait again: they were cancelled because of a
    retried job.
    """

    run: str
    retried: int
    revived: int


async def decide(connection: Connection, gate: str, *, approve: bool, by: str | None, comment: str, token: str | None) -> Decision:
    """Approve or reject a gate. `gate` is RUN/GATE, or "" with a token.

    Raises NotFound, Conflict, CallerError.
    """
    run, job = split_job(gate)
    if not token and not job:
        raise CallerError(f"{gate!r} does not name a gate: pass RUN/GATE (`titan gates` lists the open ones), or a token")
    if token and gate:
        raise CallerError("a token already identifies its gate: pass only the token")
    key = secrets.token_hex(16)
    decider = user_name() if by is None else by
    answer = await connection.call(lambda n: msg.Decide(n, run, job, approve, decider, comment, key, token or ""))
    assert isinstance(answer, msg.Decided)
    return Decision(answer.run, answer.job, answer.approved, answer.by, answer.at)


async def list_gates(connection: Connection, run: str, limit: int) -> list[OpenGate]:
    answer = await connection.call(lambda n: msg.ListGates(n, run, limit))
    assert isinstance(answer, msg.Gates)
    return [open_gate(g) for g in answer.gates]


def open_gate(g: msg.GateRow) -> OpenGate:
    return OpenGate(g.run, g.dag, g.job, g.message, g.opened_at, g.expires_at, g.webhook)


async def retry_dead(connection: Connection, target: str, by: str | None) -> Retried:
    run, job = split_job(target)
    key = secrets.token_hex(16)
    requester = user_name() if by is None else by
    answer = await connection.call(lambda n: msg.RetryDead(n, run, job, requester, key))
    assert isinstance(answer, msg.Retried)
    return Retried(answer.run, answer.retried, answer.revived)


async def purge_dead(connection: Connection, target: str) -> int:
    run, job = split_job(target)
    answer = await connection.call(lambda n: msg.PurgeDead(n, run, job))
    assert isinstance(answer, msg.Purged)
    return answer.jobs
