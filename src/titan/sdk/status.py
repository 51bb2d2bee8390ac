"""Status of runs, jobs and workers, as immutable values.

Times are in seconds since the epoch. None means that the time has not come yet.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

from titan.errors import CallerError
from titan.model.causes import Cause
from titan.model.disk import has_full_disk
from titan.model.states import TERMINAL, JobState, RunState
from titan.protocol import messages as msg

OVER = frozenset(state.name for state in TERMINAL)
"""States in which a job is over."""


@dataclass(frozen=True, slots=True)
class JobStatus:
    """Status of a job. docs/glossary.md lists the names of `state`.

    An `exit_code` of 128 + n means that signal n killed the process.
    """

    id: str
    state: str
    attempt: int
    worker: str | None
    exit_code: int | None
    submitted_at: float
    started_at: float | None
    finished_at: float | None
    reason: str
    cpu_s: float = 0.0
    peak_bytes: int = 0
    progress: float | None = None
    """Progress of the running job, 0 to 1, if the job reports it (`context.progress`)."""
    message: str = ""
    """Message that the job reports with its progress."""
    status: str = ""
    """Status text set by the newest attempt (`context.status`)."""
    cause: str | None = None
    """Name of the `Cause` for which the job is CANCELLED, for programs.

    None if the job is not CANCELLED, or the master is of an older Titan.
    """
    lost: str | None = None
    """Reason why output of the newest ended attempt is lost; None if the output is complete."""
    cached_from: str | None = None
    """RUN/JOB whose result the job reused (`cache`); None if the job ran."""


class LogPiece(NamedTuple):
    """Piece of a job's output."""

    stream: int
    """1 for stdout, 2 for stderr."""
    data: bytes
    attempt: int
    skipped: int
    """Bytes that the job wrote right before `data` and that its worker dropped (`--log-limit`)."""
    job: str


@dataclass(frozen=True, slots=True)
class RunSummary:
    """A run without its jobs.

    - `state`: RUNNING, COMPLETED, FAILED or CANCELLED.
    - `tally`: number of jobs in each state.
    """

    run: str
    dag: str
    version: str
    state: str
    count: int
    tally: dict[str, int]
    submitted_at: float
    finished_at: float | None
    schedule: str | None = None
    """Schedule that created the run."""
    scheduled_at: float | None = None
    """Nominal time of the schedule for this run."""
    deadline_at: float | None = None
    group: str | None = None
    """The run's `agent_run_id`."""
    actor: str | None = None
    """Submitter of the run: USER@HOST as the client reported it, or RUN/JOB of a script."""
    reused: int = 0
    """Number of jobs that reused an earlier result (`cache`)."""

    @property
    def ok(self) -> bool:
        """True if all jobs are COMPLETED."""
        return self.state == "COMPLETED"

    @property
    def over(self) -> bool:
        return self.state != "RUNNING"

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON of a run in `titan runs --json`."""
        fields = asdict(self)
        fields["agent_run_id"] = fields.pop("group")
        return fields


@dataclass(frozen=True, slots=True)
class RunStatus:
    """A run with its jobs, in the order of the DAG."""

    run: str
    dag: str
    state: str
    jobs: list[JobStatus]
    summary: RunSummary

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON of `titan status RUN --json`."""
        summary = self.summary
        return {
            "run": self.run,
            "dag": self.dag,
            "state": self.state,
            "jobs": [job_dict(j) for j in self.jobs],
            "schedule": summary.schedule,
            "scheduled_at": summary.scheduled_at,
            "deadline_at": summary.deadline_at,
            "agent_run_id": summary.group,
            "reused": summary.reused,
        }


@dataclass(frozen=True, slots=True)
class JobChange:
    """Change of a job's state. States that lasted only a few milliseconds may be skipped."""

    run: str
    job: str
    state: str
    status: JobStatus


@dataclass(frozen=True, slots=True)
class WorkerStatus:
    name: str
    state: str
    capabilities: tuple[str, ...]
    slots: int
    held: int
    heard_at: float
    joined_at: float
    facts: dict[str, str | int | float] = field(default_factory=dict)
    taken: tuple[int, int, int] = (0, 0, 0)
    """Resources that the worker's attempts reserve: thousandths of a CPU, bytes of memory, GPUs."""
    disk_full: bool = False
    """True if the disk of the worker's home has less than 64 MiB free. `facts["disk_free_bytes"]`
    has the free space."""
    told_by: str | None = None
    """User who told the worker to leave."""


@dataclass(frozen=True, slots=True)
class DeadJob:
    """Entry of the dead letter queue."""

    run: str
    dag: str
    job: JobStatus
    history: list[str]


def job_dict(job: JobStatus) -> dict[str, Any]:
    """Return the fields that the CLI's JSON promises."""
    return asdict(job)


def job_status(row: msg.JobRow) -> JobStatus:
    return JobStatus(
        row.id,
        JobState(row.state).name,
        row.attempt,
        row.worker or None,
        row.exit_code if row.exit_code >= 0 else None,
        row.submitted_at,
        row.started_at or None,
        row.finished_at or None,
        row.reason,
        row.cpu_s,
        row.peak_bytes,
        row.progress if row.progress >= 0 else None,
        row.message,
        row.status,
        _cause(row.cause),
        row.lost or None,
        row.cached_from or None,
    )


def _cause(number: int) -> str | None:
    """Return the name of a cause; None for an unknown cause of a newer master."""
    return Cause(number).name if number in Cause.__members__.values() and number else None


def run_summary(row: msg.RunRow) -> RunSummary:
    tally = {JobState(i).name: n for i, n in enumerate(row.tally) if n}
    return RunSummary(
        row.run, row.dag, row.version, RunState(row.state).name, row.jobs, tally, row.submitted_at, row.finished_at or None,
        row.schedule or None, row.scheduled_at or None, row.deadline_at or None, row.group or None, row.actor or None,
        row.reused,
    )  # fmt: skip


def worker_status(w: msg.WorkerRow) -> WorkerStatus:
    fields = (w.name, w.state, w.capabilities, w.slots, w.held, w.heard_at, w.joined_at, w.facts, w.taken)
    return WorkerStatus(*fields, disk_full=has_full_disk(w.facts), told_by=w.told_by or None)


def dead_job(d: msg.DeadRow) -> DeadJob:
    return DeadJob(d.run, d.dag, job_status(d.job), d.history)


def run_state(name: str) -> int:
    """Return the number of a run's state. Raises CallerError for an unknown name."""
    state = RunState.__members__.get(name.upper())
    if state is None or state is RunState.OPENING:
        raise CallerError(f"{name!r} is not a state of a run: use RUNNING, COMPLETED, FAILED or CANCELLED")
    return int(state)
