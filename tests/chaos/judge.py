"""Judge of a chaos test: reads the story of each job from the journal, and decides whether the
story was allowed. It reads only events and no processes, so `test_judge` can give it invented
histories."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from titan.core.events import events as ev
from titan.core.events.sick_workers import WorkerSetAside
from titan.model.settings import Settings
from titan.worker.drivers.function import DIED
from titan.worker.state_machine.suspects import GUILTY, WARDEN_DIED

SEEN_S = 20.0
"""Maximum seconds between the end of a fault and an event that the fault explains. The master
notices the loss of a worker after `loss_s` (here 3 s), or earlier if a new process of the worker
registers."""
POISON_LOSSES = Settings().poison_losses


@dataclass
class Strike:
    """A fault that can end attempts of a worker."""

    worker: str
    begin: float
    end: float


@dataclass
class JobStory:
    run: str
    id: str
    call: bool
    retries: int
    state: str = "WAITING"
    worker: int = -1
    started: bool = False
    completions: int = 0
    dead: str = ""
    """Reason why the job should not be DEAD; "" if it is not DEAD or is rightly DEAD."""
    weights: dict[tuple[int, str], int] = field(default_factory=dict)
    """(worker, incarnation) that was lost -> 2 if the worker ran the job, 1 if the job was next to
    start."""
    causes: list[tuple[int, float, str]] = field(default_factory=list)
    """(worker, time, reason) of each attempt that was lost or failed."""
    failures: int = 0


class Stories:
    """Reader of a journal's events, in order."""

    def __init__(self, strikes: Iterable[Strike] = ()) -> None:
        self.jobs: dict[int, JobStory] = {}
        self.names: Counter[str] = Counter()
        """Name of a run -> number of runs with this name."""
        self.runs: set[str] = set()
        self.set_aside: Counter[str] = Counter()
        self._strikes = list(strikes)
        self._incarnations: dict[int, str] = {}
        self._worker_names: dict[int, str] = {}
        self._counted: dict[int, list[JobStory]] = {}

    def read(self, events: Iterable[ev.Event]) -> Stories:
        for event in events:
            self._read(event)
        return self

    def _read(self, e: ev.Event) -> None:
        if isinstance(e, (ev.RunSubmitted, ev.RunGrown)):
            if isinstance(e, ev.RunSubmitted):
                self.names[e.name] += 1
            self.runs.add(e.run)
            for number, (id_, template) in enumerate(zip(e.ids, e.template_of, strict=True), e.first_job):
                of = e.templates[template]
                self.jobs[number] = JobStory(e.run, id_, bool(of.function), of.retries)
        elif isinstance(e, ev.JobsDispatched):
            for number in e.jobs:
                self.jobs[number].worker, self.jobs[number].started = e.worker, False
        elif isinstance(e, ev.JobsStarted):
            for number in e.jobs:
                self.jobs[number].started = True
        elif isinstance(e, ev.JobsCompleted):
            for number in e.jobs:
                self.jobs[number].state, self.jobs[number].completions = "COMPLETED", self.jobs[number].completions + 1
        elif isinstance(e, ev.JobsFailed):
            self._failed(e)
        elif isinstance(e, ev.JobsLost):
            self._lost(e)
        elif isinstance(e, ev.JobsDied):
            for number in e.jobs:
                self._died(self.jobs[number], e)
        elif isinstance(e, ev.JobsCancelled):
            for number in e.jobs:
                self.jobs[number].state = "CANCELLED"
        elif isinstance(e, ev.WorkerJoined):
            self._joined(e)
        elif isinstance(e, WorkerSetAside):
            self.set_aside[self._worker_names[e.worker]] += 1

    def _failed(self, e: ev.JobsFailed) -> None:
        for number, reason, retry_at in zip(e.jobs, e.reasons, e.retry_at, strict=True):
            job = self.jobs[number]
            job.causes.append((e.worker, e.at, reason))
            job.failures += number not in e.blameless
            job.state = "RETRYING" if retry_at else "FAILED"

    def _lost(self, e: ev.JobsLost) -> None:
        for weight, numbers in ((2, e.blamed), (1, e.doubted)):
            for number in numbers:
                job = self.jobs[number]
                job.weights[e.worker, self._incarnations[e.worker]] = weight
                job.causes.append((e.worker, e.at, e.reason))
                self._counted.setdefault(e.worker, []).append(job)

    def _joined(self, e: ev.WorkerJoined) -> None:
        counted = self._counted.pop(e.worker, [])
        if self._incarnations.get(e.worker) == e.incarnation:  # the worker was only cut off; its process did not end
            for job in counted:
                job.weights.pop((e.worker, e.incarnation), None)
        self._incarnations[e.worker], self._worker_names[e.worker] = e.incarnation, e.name

    # -- the dead ----------------------------------------------------------------------------------
    def _died(self, job: JobStory, e: ev.JobsDied) -> None:
        if job.state == "FAILED":
            job.dead = self._why_not_failed(job)
        else:
            job.causes.append((job.worker, e.at, e.reason))
            job.dead = self._why_not_poison(job, e)
        job.state = "DEAD"

    def _why_not_failed(self, job: JobStory) -> str:
        """Return the reason why a job should not be DEAD after its failures; "" if faults explain
        all failures. No job of a chaos test fails by itself."""
        if job.failures <= job.retries:
            return f"DEAD after {job.failures} failures with {job.retries} retries: {job.causes[-1][2]}"
        own = [reason for _, _, reason in job.causes if not reason.startswith((DIED, WARDEN_DIED, GUILTY))]
        return f"failed: {own[-1]}" if own else self._why_no_fault(job)

    def _why_not_poison(self, job: JobStory, e: ev.JobsDied) -> str:
        weight = sum(job.weights.values()) + (2 if job.started else 1)
        if not e.reason.startswith("poison") or weight < 2 * POISON_LOSSES:
            return f"DEAD with losses of weight {weight} (a loss is 2, a doubt 1); poison needs {2 * POISON_LOSSES}: {e.reason}"
        return self._why_no_fault(job)

    def _why_no_fault(self, job: JobStory) -> str:
        for worker, at, reason in job.causes:
            name = self._worker_names.get(worker, "")
            if not any(s.worker == name and s.begin - 1.0 <= at <= s.end + SEEN_S for s in self._strikes):
                return f"no fault struck {name} before it was blamed: {reason}"
        return ""

    # -- the verdicts ------------------------------------------------------------------------------
    def verdicts(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {"doubled": [], "stuck": [], "dead": []}
        runs_with_dead = {job.run for job in self.jobs.values() if job.state == "DEAD"}
        for job in self.jobs.values():
            name = f"{job.run}/{job.id}"
            if job.state == "CANCELLED" and job.run not in runs_with_dead and job.id != "serve":
                found["dead"].append(f"{name} is CANCELLED, though nothing of its run is DEAD")
            if job.completions > 1:
                found["doubled"].append(f"{name} is recorded as COMPLETED {job.completions} times")
            if job.state not in ("COMPLETED", "DEAD", "CANCELLED") and job.id != "serve":
                found["stuck"].append(f"{name} is {job.state}: {job.causes[-1:]}")
            if job.dead:
                found["dead"].append(f"{name}: {job.dead}")
        return found

    def excused_calls(self) -> int:
        return sum(job.call and job.state == "DEAD" and not job.dead for job in self.jobs.values())
