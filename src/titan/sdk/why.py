"""Reasons why a job does not run, as immutable values."""

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
    """One reason. `code` is stable.

    - Codes of a job: over, running, dispatched, parents, releasing, delayed, backoff, paused,
      no_worker, affinity, behind, placeable, max_parallel.
    - Codes of a worker: capability, resources, resources_busy, slots, held, draining, gone,
      suspect, elsewhere, fits.
    - `detail`: the names and numbers of the text. Times are in seconds since the epoch, memory in
      bytes, cpus in thousandths.
    """

    code: str
    text: str
    detail: dict[str, str | int | float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class WorkerReasons:
    """Reasons why one worker does not take the job."""

    worker: str
    reasons: list[Reason]


@dataclass(frozen=True, slots=True)
class Why:
    """Reasons why a job does not run: in general, and for each worker while the job is QUEUED.

    Workers that could take it soonest come first.
    """

    run: str
    job: str
    state: str
    reasons: list[Reason]
    workers: list[WorkerReasons]
    left_off: int = 0
    """Number of workers left out of the list."""

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON of `titan why --json`."""
        return asdict(self)


async def ask_why(connection: Connection, target: str) -> Why:
    """Ask the master. Raises NotFound, and CallerError for a target without a job."""
    run, job = split_job(target)
    if not job:
        raise CallerError(f"{target!r} does not name a job: pass RUN/JOB (`titan status {target}` lists the jobs)")
    answer = await connection.call(lambda n: msg.Why(n, run, job))
    assert isinstance(answer, msg.Reasons)
    workers = [WorkerReasons(w.worker, _reasons(w.reasons)) for w in answer.workers]
    return Why(answer.run, answer.job, JobState(answer.state).name, _reasons(answer.reasons), workers, answer.left_off)


def _reasons(rows: list[msg.ReasonRow]) -> list[Reason]:
    return [Reason(row.code, row.text, row.detail) for row in rows]
