"""Facts that the oracle has read from the durable log so far, and transitions of jobs that several
rules share.

This module must not know the rules for events. `LogOracle` has these rules, and they change the
facts here.
"""

from __future__ import annotations

from titan.core.events import events as ev
from titan.model.conditions import parse
from titan.model.dag import ENDED
from titan.model.settings import Settings
from titan.model.states import JobState
from titan.sim.oracle.processes import Process, ProcessOracle, Violation
from titan.sim.oracle.records import JobFacts, LeaseFacts, WorkerFacts
from titan.sim.trace import Trace, short

TERMINAL = (JobState.COMPLETED, JobState.DEAD, JobState.CANCELLED, JobState.SKIPPED)
ON_WORKER = (JobState.DISPATCHED, JobState.RUNNING)


class Ledger:
    """Facts from the log. Methods raise Violation for an illegal transition of a job."""

    def __init__(self, process_oracle: ProcessOracle, settings: Settings, trace: Trace, *, calm: bool, quiet: bool) -> None:
        self.jobs: dict[int, JobFacts] = {}
        self.runs: dict[str, list[int]] = {}
        self.growths: dict[tuple[str, int, str], list[str]] = {}
        """(run, requesting job, key) -> names of the added jobs."""
        self.opening: dict[str, tuple[ev.RunOpened, list[ev.JobsAdded]]] = {}
        self.archived: dict[str, None] = {}
        self.fresh: dict[str, None] = {}
        """Runs whose jobs must not reuse a result."""
        self.keys: dict[str, str] = {}
        self.leases: dict[int, LeaseFacts] = {}
        self.workers: dict[int, WorkerFacts] = {}
        self.bursts: dict[str, str] = {}
        """Burst workers that have not ended -> their rules."""
        self.asked_to_leave: dict[str, None] = {}
        """Names of workers that a user asked to leave."""
        self.burst_names: dict[str, None] = {}
        """Names of all burst workers so far, including ended ones."""
        self.lost: dict[int, None] = {}
        """Leases that ended without a result."""
        self.cancelled: dict[str, None] = {}
        """Runs that a user cancelled."""
        self.decisions: dict[tuple[str, str], tuple[str, bool]] = {}
        """(run, gate) -> key of the deciding request, and whether it approved."""
        self.retries: dict[tuple[str, str], None] = {}
        """(run, key) of requests that retried jobs from the dead letter queue."""
        self.digests: dict[bytes, int] = {}
        """SHA-256 of a token -> its gate."""
        self.announced: dict[int, None] = {}
        """Gates whose webhook was delivered."""
        self.purged: dict[int, None] = {}
        self.term = 0
        self.process_oracle = process_oracle
        self.trace = trace
        self.settings = settings
        self.calm = calm
        self.quiet = quiet

    def blocks(self, parent: JobFacts, child: JobFacts) -> bool:
        """Return whether `child` can never run because of the end of this parent."""
        named = child.template.when == ENDED and parent.name not in parse(child.template.condition).jobs_by_state
        if child.awaits_ends and not named:
            return False
        dead = parent.state is JobState.DEAD and parent.template.on_failure != "continue"
        return dead or parent.state in (JobState.CANCELLED, JobState.SKIPPED)

    def dependents(self, number: int) -> list[int]:
        """Return the open jobs that depend, directly or indirectly, on a cancelled job."""
        found: dict[int, None] = {}
        stack = [number]
        while stack:
            for child in self.jobs[stack.pop()].children:
                entry = self.jobs[child]
                goes_on = entry.awaits_ends or entry.state in (JobState.COMPLETED, JobState.DEAD)
                if child not in found and not goes_on:
                    found[child] = None
                    stack.append(child)
        return list(found)

    def transition(self, job: JobFacts, into: JobState, *since: JobState) -> None:
        """Change the state of a job. Raises Violation unless the job's state is one of `since`."""
        if job.state not in since:
            raise Violation(f"{job.where} became {into.name} from {job.state.name}")
        job.state = into

    def end_lease(self, job: JobFacts, worker: int, into: JobState) -> tuple[int, Process | None]:
        """End the current attempt of a job. Return its lease and its simulated process, which is
        None if no process started.

        `worker` is the worker that reported the end; 0 means any worker.
        """
        self.transition(job, into, *ON_WORKER)
        lease, job.lease = job.lease, 0
        job.ready = job.ready and (into is JobState.COMPLETED or (bool(job.old_lease) and into is not JobState.DEAD))
        if into in TERMINAL:
            job.old_lease = 0
        if worker and self.leases[lease].worker != worker:
            raise Violation(f"{job.where} became {into.name} by worker {worker}; lease {short(lease)} belongs to another worker")
        return lease, self.process_oracle.processes.get(lease)

    def unlock(self, job: JobFacts, at: float) -> None:
        """Record that the children of an ended job may become ready from the time `at` on."""
        for child in job.children:
            if self.jobs[child].state is JobState.WAITING:
                self.jobs[child].ready_at = at
