"""Graph of a run and the attempts of its jobs, as immutable values.

Times are in seconds since the epoch. None means that the time has not come yet, or is not known.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from titan.model.dag import JobTemplate
from titan.model.names import split_job
from titan.protocol import messages as msg
from titan.sdk.connection import Connection
from titan.sdk.status import JobStatus, RunSummary, job_status, run_summary

GRAPH_PAGE, ATTEMPT_PAGE = 5_000, 10_000


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


@dataclass(frozen=True, slots=True)
class JobPage:
    """Page of a run's jobs, in the order of the DAG. `next`: position of the next page; None if
    this is the last."""

    run: RunSummary
    jobs: list[JobStatus]
    next: int | None


@dataclass(frozen=True, slots=True)
class AttemptPage:
    """Page of attempts. `next` is as in JobPage."""

    attempts: list[Attempt]
    next: int | None


@dataclass(frozen=True, slots=True)
class GraphPage:
    """Page of a graph. `next` is as in JobPage, `total` the number of the run's jobs.

    The lists are as in RunGraph; `parents` are positions in the run.
    """

    graph: RunGraph
    next: int | None
    total: int


async def job_page(connection: Connection, run: str, after: int, limit: int) -> JobPage:
    answer = await connection.call(lambda n: msg.GetRun(n, run, "", after, limit))
    assert isinstance(answer, msg.RunStatus)
    return JobPage(run_summary(answer.run), [job_status(row) for row in answer.jobs], answer.next or None)


async def graph_page(connection: Connection, run: str, after: int, limit: int) -> GraphPage:
    page = await connection.call(lambda n: msg.GetGraph(n, run, after, limit))
    assert isinstance(page, msg.Graph)
    graph = RunGraph(run, page.ids, page.parents, [page.templates[i] for i in page.template_of])
    return GraphPage(graph, page.next or None, page.total)


async def attempt_page(connection: Connection, target: str, after: int, limit: int) -> AttemptPage:
    run, job = split_job(target)
    page = await connection.call(lambda n: msg.GetAttempts(n, run, job, after, limit))
    assert isinstance(page, msg.Attempts)
    return AttemptPage([_attempt(row) for row in page.attempts], page.next or None)


async def run_graph(connection: Connection, run: str) -> RunGraph:
    graph = RunGraph(run, [], [], [])
    after: int | None = 0
    while after is not None:
        page = await graph_page(connection, run, after, GRAPH_PAGE)
        graph.jobs.extend(page.graph.jobs)
        graph.parents.extend(page.graph.parents)
        graph.templates.extend(page.graph.templates)
        after = page.next
    return graph


async def attempts(connection: Connection, target: str) -> list[Attempt]:
    found: list[Attempt] = []
    after: int | None = 0
    while after is not None:
        page = await attempt_page(connection, target, after, ATTEMPT_PAGE)
        found += page.attempts
        after = page.next
    return found


def _attempt(row: msg.AttemptRow) -> Attempt:
    return Attempt(
        row.job, row.attempt, row.worker or None, row.queued_at or None, row.sent_at or None, row.started_at or None,
        row.finished_at or None, row.outcome or None, row.exit_code if row.exit_code >= 0 else None, row.reason, row.cpu_s,
        row.peak_bytes,
    )  # fmt: skip
