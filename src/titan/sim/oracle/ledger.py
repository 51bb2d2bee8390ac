"""What the durable log has said so far, and the steps of jobs that several readers of it share.

Must not know events: `log_oracle` reads those, by rules that change the facts here.
"""

from __future__ import annotations

from titan.core.events import events as ev
from titan.model.dag import Kind
from titan.model.settings import Settings
from titan.model.states import JobState
from titan.sim.oracle.processes import Process, Truth, Violation
from titan.sim.oracle.records import JobFacts, LeaseFacts, WorkerFacts
from titan.sim.trace import Trace, short

TERMINAL = (JobState.COMPLETED, JobState.DEAD, JobState.CANCELLED)
ON_WORKER = (JobState.DISPATCHED, JobState.RUNNING)


class Ledger:
    """The facts. Methods raise Violation for a step that no job may take."""

    def __init__(self, truth: Truth, settings: Settings, trace: Trace, *, calm: bool, quiet: bool) -> None:
        self.jobs: dict[int, JobFacts] = {}
        self.runs: dict[str, list[int]] = {}
        self.growths: dict[tuple[str, int, str], list[str]] = {}
        """(run, job that asked, key) -> the jobs that came."""
        self.opening: dict[str, tuple[ev.RunOpened, list[ev.JobsAdded]]] = {}
        self.archived: dict[str, None] = {}
        self.keys: dict[str, str] = {}
        self.leases: dict[int, LeaseFacts] = {}
        self.workers: dict[int, WorkerFacts] = {}
        self.bursts: dict[str, str] = {}
        """Burst workers that have not ended -> their rules."""
        self.told: dict[str, None] = {}
        """Workers that some user told to leave."""
        self.burst_names: dict[str, None] = {}
        """All there ever were."""
        self.lost: dict[int, None] = {}
        """Leases that ended without a result."""
        self.cancelled: dict[str, None] = {}
        """Runs that a user cancelled."""
        self.decisions: dict[tuple[str, str], tuple[str, bool]] = {}
        """(run, gate) -> the key of the request that decided, and whether it approved."""
        self.retries: dict[tuple[str, str], None] = {}
        """(run, key) of requests that took jobs off the dead letter queue."""
        self.digests: dict[bytes, int] = {}
        """SHA-256 of a token -> its gate."""
        self.announced: dict[int, None] = {}
        """Gates whose webhook has heard."""
        self.purged: dict[int, None] = {}
        self.term = 0
        self.truth = truth
        self.trace = trace
        self.settings = settings
        self.calm = calm
        self.quiet = quiet

    def blocks(self, parent: JobFacts, child: JobFacts) -> bool:
        """Whether a job will never run because of what became of this parent."""
        if child.template.kind == Kind.HANDLER:
            return False
        dead = parent.state is JobState.DEAD and parent.template.on_failure != "continue"
        return dead or parent.state is JobState.CANCELLED

    def behind(self, number: int) -> list[int]:
        """What waits, directly or not, for a job that was cancelled."""
        found: dict[int, None] = {}
        stack = [number]
        while stack:
            for child in self.jobs[stack.pop()].children:
                entry = self.jobs[child]
                goes_on = entry.template.kind == Kind.HANDLER or entry.state in (JobState.COMPLETED, JobState.DEAD)
                if child not in found and not goes_on:
                    found[child] = None
                    stack.append(child)
        return list(found)

    def turn(self, job: JobFacts, into: JobState, *since: JobState) -> None:
        """A job changes its state, from one of `since`."""
        if job.state not in since:
            raise Violation(f"{job.where} became {into.name} from {job.state.name}")
        job.state = into

    def end_lease(self, job: JobFacts, worker: int, into: JobState) -> tuple[int, Process | None]:
        """An attempt is over; its lease and what really ran. `worker` 0: whoever had it."""
        self.turn(job, into, *ON_WORKER)
        lease, job.lease = job.lease, 0
        job.ready = job.ready and (into is JobState.COMPLETED or (bool(job.old_lease) and into is not JobState.DEAD))
        if into in TERMINAL:
            job.old_lease = 0
        if worker and self.leases[lease].worker != worker:
            raise Violation(f"{job.where} became {into.name} by worker {worker}; lease {short(lease)} is of another")
        return lease, self.truth.processes.get(lease)

    def unlock(self, job: JobFacts, at: float) -> None:
        """A job is over: those that wait for it may be ready from now on."""
        for child in job.children:
            if self.jobs[child].state is JobState.WAITING:
                self.jobs[child].ready_at = at
