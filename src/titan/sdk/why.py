"""What the SDK says of why a job does not run: plain immutable values."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from titan.errors import CallerError
from titan.model.names import split_job
from titan.model.states import JobState
from titan.protocol import messages as msg
from titan.sdk.connection import Connection


@dataclass(frozen=True, slots=True)
class Reason:
    """`code` is stable: over, running, dispatched, parents, releasing, delayed, backoff, paused,
    no_worker, affinity, behind, placeable; of a worker capability, resources, resources_busy,
    slots, held, draining, gone, suspect, elsewhere, fits.

    `detail` holds the names and numbers of the text; times in seconds since the epoch, memory in
    bytes, cpus in thousandths.
    """

    code: str
    text: str
    detail: dict[str, str | int | float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class WorkerReasons:
    """Why one worker does not take the job."""

    worker: str
    reasons: list[Reason]


@dataclass(frozen=True, slots=True)
class Why:
    """Why a job does not run, as a whole and, while it is QUEUED, for each worker; those first that
    could take it soonest."""

    run: str
    job: str
    state: str
    reasons: list[Reason]
    workers: list[WorkerReasons]
    left_off: int = 0
    """Workers that are not told of."""

    def to_dict(self) -> dict[str, Any]:
        """As `titan why --json` prints it."""
        return asdict(self)


async def ask_why(connection: Connection, target: str) -> Why:
    """Raises NotFound, and CallerError for a target that names no job."""
    run, job = split_job(target)
    if not job:
        raise CallerError(f"{target!r} names no job: say RUN/JOB (`titan status {target}` lists the jobs)")
    answer = await connection.call(lambda n: msg.Why(n, run, job))
    assert isinstance(answer, msg.Reasons)
    workers = [WorkerReasons(w.worker, _reasons(w.reasons)) for w in answer.workers]
    return Why(answer.run, answer.job, JobState(answer.state).name, _reasons(answer.reasons), workers, answer.left_off)


def _reasons(rows: list[msg.ReasonRow]) -> list[Reason]:
    return [Reason(row.code, row.text, row.detail) for row in rows]
