"""Graph of a run and the attempts of its jobs, as immutable values.

Times are in seconds since the epoch. None means that the time has not come yet, or is not known.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from titan.model.dag import JobTemplate
from titan.model.names import split_job
from titan.protocol import messages as msg
from titan.sdk.connection import Connection


@dataclass(frozen=True, slots=True)
class RunGraph:
    """Graph of a run, in the order of the DAG. Jobs that were added to the run later come last.

    - `jobs`: ids of the jobs.
    - `parents`: positions in `jobs` of the parents of each job.
    - `templates`: the template of each job. Jobs of one array share their template.
    """

    run: str
    jobs: list[str]
    parents: list[list[int]]
    templates: list[JobTemplate]


@dataclass(frozen=True, slots=True)
class Attempt:
    """Attempt of a job.

    - `worker`: None while the job is queued for the attempt.
    - `outcome`: SUCCEEDED, EXITED, SIGNALED, TIMED_OUT, REFUSED, BROKEN, RETURNED (never started),
      CANCELLED; None while the attempt goes on.
    - `queued_at` to `sent_at` is the wait for a worker, `sent_at` to `started_at` the wait for a
      slot there.
    """

    job: str
    attempt: int
    worker: str | None
    queued_at: float | None
    sent_at: float | None
    started_at: float | None
    finished_at: float | None
    outcome: str | None
    exit_code: int | None
    reason: str
    cpu_s: float
    peak_bytes: int

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON of an attempt in `titan status RUN/JOB --json`."""
        return asdict(self)


async def run_graph(connection: Connection, run: str) -> RunGraph:
    graph = RunGraph(run, [], [], [])
    while True:
        page = await connection.call(partial(_ask_graph, run, len(graph.jobs)))
        assert isinstance(page, msg.Graph)
        graph.jobs.extend(page.ids)
        graph.parents.extend(page.parents)
        graph.templates.extend(page.templates[i] for i in page.template_of)
        if not page.next:
            return graph


async def attempts(connection: Connection, target: str) -> list[Attempt]:
    run, job = split_job(target)
    found: list[Attempt] = []
    after = 0
    while True:
        page = await connection.call(partial(_ask_attempts, run, job, after))
        assert isinstance(page, msg.Attempts)
        found += map(_attempt, page.attempts)
        after = page.next
        if not after:
            return found


def _ask_graph(run: str, after: int, request: int) -> msg.GetGraph:
    return msg.GetGraph(request, run, after)


def _ask_attempts(run: str, job: str, after: int, request: int) -> msg.GetAttempts:
    return msg.GetAttempts(request, run, job, after)


def _attempt(row: msg.AttemptRow) -> Attempt:
    return Attempt(
        row.job, row.attempt, row.worker or None, row.queued_at or None, row.sent_at or None, row.started_at or None,
        row.finished_at or None, row.outcome or None, row.exit_code if row.exit_code >= 0 else None, row.reason, row.cpu_s,
        row.peak_bytes,
    )  # fmt: skip
