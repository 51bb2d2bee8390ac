"""What the SDK says of runs, jobs and workers: plain immutable values, times in seconds since the
epoch, None for not yet."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from titan.errors import CallerError
from titan.model.causes import Cause
from titan.model.disk import has_full_disk
from titan.model.states import JobState, RunState
from titan.protocol import messages as msg


@dataclass(frozen=True, slots=True)
class JobStatus:
    """A job. `state` is one of the names in docs/glossary.md; `exit_code` 128 + n means killed by
    signal n."""

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
    """How far it is, 0 to 1, while it runs and says so (`context.progress`)."""
    message: str = ""
    """What it says beside its progress."""
    status: str = ""
    """What its newest attempt says of itself (`context.status`)."""
    cause: str | None = None
    """Why it is CANCELLED, for programs: a name of `Cause`; None if it is not, or its master is of
    an older Titan."""
    lost: str | None = None
    """Why output of its newest attempt that ended is lost; None if all of it is there."""


@dataclass(frozen=True, slots=True)
class RunSummary:
    """A run without its jobs. `state`: RUNNING, COMPLETED, FAILED or CANCELLED; `tally`: how many
    jobs are in each state."""

    run: str
    dag: str
    version: str
    state: str
    count: int
    tally: dict[str, int]
    submitted_at: float
    finished_at: float | None
    schedule: str | None = None
    """The schedule that made it."""
    scheduled_at: float | None = None
    """The nominal time for which it was made."""
    deadline_at: float | None = None
    group: str | None = None
    """Its `agent_run_id`."""
    actor: str | None = None
    """Who asked for it: USER@HOST as that client said of itself, or RUN/JOB of a script or command
    that did."""

    @property
    def ok(self) -> bool:
        """All its jobs are COMPLETED."""
        return self.state == "COMPLETED"

    @property
    def over(self) -> bool:
        return self.state != "RUNNING"


@dataclass(frozen=True, slots=True)
class RunStatus:
    """A run and its jobs in the DAG's order."""

    run: str
    dag: str
    state: str
    jobs: list[JobStatus]
    summary: RunSummary

    def to_dict(self) -> dict[str, Any]:
        """As `titan status RUN --json` prints it."""
        of = self.summary
        return {
            "run": self.run,
            "dag": self.dag,
            "state": self.state,
            "jobs": [job_dict(j) for j in self.jobs],
            "schedule": of.schedule,
            "scheduled_at": of.scheduled_at,
            "deadline_at": of.deadline_at,
            "agent_run_id": of.group,
        }


@dataclass(frozen=True, slots=True)
class JobChange:
    """A job is in another state now. States that lasted a few milliseconds only may be skipped."""

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
    """What its attempts asked for: thousandths of a CPU, bytes of memory, GPUs."""
    disk_full: bool = False
    """Its home has less than 64 MiB free; `facts["disk_free_bytes"]` says how much there is."""
    told_by: str | None = None
    """Who told it to leave."""


@dataclass(frozen=True, slots=True)
class DeadJob:
    """An entry of the dead letter queue."""

    run: str
    dag: str
    job: JobStatus
    history: list[str]


def job_dict(job: JobStatus) -> dict[str, Any]:
    """The fields that the CLI's JSON promises, and what it costs."""
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
    )


def _cause(number: int) -> str | None:
    """A newer master may know more of them."""
    return Cause(number).name if number in Cause.__members__.values() and number else None


def run_summary(row: msg.RunRow) -> RunSummary:
    tally = {JobState(i).name: n for i, n in enumerate(row.tally) if n}
    return RunSummary(
        row.run, row.dag, row.version, RunState(row.state).name, row.jobs, tally, row.submitted_at, row.finished_at or None,
        row.schedule or None, row.scheduled_at or None, row.deadline_at or None, row.group or None, row.actor or None,
    )  # fmt: skip


def worker_status(w: msg.WorkerRow) -> WorkerStatus:
    about = (w.name, w.state, w.capabilities, w.slots, w.held, w.heard_at, w.joined_at, w.facts, w.taken)
    return WorkerStatus(*about, disk_full=has_full_disk(w.facts), told_by=w.told_by or None)


def dead_job(d: msg.DeadRow) -> DeadJob:
    return DeadJob(d.run, d.dag, job_status(d.job), d.history)


def run_state(name: str) -> int:
    """Raises CallerError for what is no state of a run."""
    state = RunState.__members__.get(name.upper())
    if state is None or state is RunState.OPENING:
        raise CallerError(f"{name!r} is no state of a run: there are RUNNING, COMPLETED, FAILED and CANCELLED")
    return int(state)
