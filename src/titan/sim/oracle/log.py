"""Check of the durable log, event by event, against the simulated processes.

This module must not use `core.apply`, because then it could not detect a mistake there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from titan.core.events import events as ev
from titan.core.handlers.sick_workers import BREAKS_LIMIT
from titan.model.causes import UNNEEDED, Cause
from titan.model.dag import Kind
from titan.model.demand import KINDS
from titan.model.states import JobState, Outcome, RunState
from titan.sim.oracle import conditions as condition_rules
from titan.sim.oracle import growth as growth_rules
from titan.sim.oracle import job_results as result_rules
from titan.sim.oracle import services as service_rules
from titan.sim.oracle.ledger import ON_WORKER, TERMINAL, Ledger
from titan.sim.oracle.processes import Process, Violation
from titan.sim.oracle.records import ACTOR, JobFacts, LeaseFacts, WorkerFacts, asked_of, lacking_of, total_of
from titan.sim.trace import short

EPSILON = 1e-6


class LogOracle(Ledger):
    def record(self, event: ev.Event) -> None:
        """Check a durable event, and update the facts."""
        self.trace.count(type(event).__name__)
        reader = _READERS.get(type(event))
        if reader is not None:
            reader(self, event)

    # -- judging what happens on workers -----------------------------------------------------------
    def judge_start(self, process: Process) -> None:
        """Raise Violation if a process must not start now."""
        facts = self.leases.get(process.lease)
        if facts is None:
            raise Violation(f"{process.run}/{process.job} starts under lease {short(process.lease)}, which is not durable")
        job = self.jobs[facts.job]
        if (job.run, job.name, facts.attempt) != (process.run, process.job, process.attempt):
            started = f"{process.run}/{process.job} attempt {process.attempt}"
            raise Violation(f"lease {short(process.lease)} is {job.where} attempt {facts.attempt}; the worker started {started}")
        host = self.workers[facts.worker]
        if host.name != process.host.name or facts.incarnation != process.host.incarnation:
            raise Violation(f"{job.where} starts on {process.host}; its lease belongs to {host.name} {facts.incarnation}")
        for parent in job.parents if not job.awaits_ends else ():
            if self.jobs[parent].is_service:
                continue
            if self.jobs[parent].state is not JobState.COMPLETED and self.jobs[parent].template.on_failure != "continue":
                raise Violation(f"{job.where} starts while its parent {self.jobs[parent].name} is {self.jobs[parent].state.name}")
        if process.started_at < job.ready_at + job.template.delay_s - EPSILON:
            raise Violation(f"{job.where} starts before its delay of {job.template.delay_s} s is over")
        if process.started_at < job.template.run_at - EPSILON:
            raise Violation(f"{job.where} starts {job.template.run_at - process.started_at:.3f} s before its time")
        if self.calm and process.lease in self.lost:
            raise Violation(
                f"{job.where} starts under lease {short(process.lease)}, which the master gave up although there was no fault"
            )

    # -- runs --------------------------------------------------------------------------------------
    def _master_started(self, e: ev.MasterStarted) -> None:
        if e.term <= self.term:
            raise Violation(f"term {e.term} after term {self.term}")
        self.term = e.term

    def _judge_actor(self, actor: str, *, asked: bool) -> None:
        """Raise Violation if a request of the only user is recorded under another name."""
        if asked and actor != ACTOR:
            raise Violation(f"the recorded actor is {actor!r} instead of {ACTOR!r}")

    def _run_submitted(self, e: ev.RunSubmitted) -> None:
        self._judge_actor(e.actor, asked=not e.schedule)
        if e.run in self.runs or e.key in self.keys:
            raise Violation(f"submission {e.key} became a second run {e.run}")
        self.runs[e.run] = list(range(e.first_job, e.first_job + len(e.ids)))
        self.keys[e.key] = e.run
        if e.fresh:
            self.fresh[e.run] = None
        for i, name in enumerate(e.ids):
            parents = tuple([e.first_job + p for p in e.parents[i]])
            number = e.first_job + i
            if number in self.jobs:
                raise Violation(f"job number {short(number)} was assigned twice")
            self.jobs[number] = JobFacts(number, name, e.run, e.templates[e.template_of[i]], parents, [], e.at, args=e.args[i])
        for number in self.runs[e.run]:
            for parent in self.jobs[number].parents:
                self.jobs[parent].children.append(number)

    def _run_opened(self, e: ev.RunOpened) -> None:
        self._judge_actor(e.actor, asked=not e.schedule)
        self.opening[e.run] = (e, [])

    def _jobs_added(self, e: ev.JobsAdded) -> None:
        self.opening[e.run][1].append(e)

    def _run_sealed(self, e: ev.RunSealed) -> None:
        head, parts = self.opening.pop(e.run)
        if sum(len(part.ids) for part in parts) != head.count:
            raise Violation(f"run {e.run} is sealed without all of its {head.count} jobs")
        self._run_submitted(
            ev.RunSubmitted(
                run=e.run,
                key=head.key,
                name=head.name,
                version=head.version,
                templates=head.templates,
                ids=[name for part in parts for name in part.ids],
                template_of=[t for part in parts for t in part.template_of],
                args=[args for part in parts for args in part.args],
                parents=[parents for part in parts for parents in part.parents],
                first_job=head.first_job,
                at=e.at,
                schedule=head.schedule,
                actor=head.actor,
                fresh=head.fresh,
            )
        )

    def _run_dropped(self, e: ev.RunDropped) -> None:
        del self.opening[e.run]

    def _run_archived(self, e: ev.RunArchived) -> None:
        for number in self.runs[e.run]:
            if self.jobs[number].state not in TERMINAL:
                raise Violation(f"{self.jobs[number].where} is archived as {self.jobs[number].state.name}")
        if e.run in self.archived:
            raise Violation(f"run {e.run} is archived twice")
        self.archived[e.run] = None

    # -- jobs --------------------------------------------------------------------------------------
    def _jobs_queued(self, e: ev.JobsQueued) -> None:
        for number in e.jobs:
            job = self.jobs[number]
            self._judge_ready(job)
            self.transition(job, JobState.QUEUED, JobState.WAITING, JobState.DELAYED, JobState.FAILED)
            if job.template.kind == Kind.GATE:
                raise Violation(f"{job.where} is a gate and was queued")
            self._judge_parents(job)
            if e.at < job.due - EPSILON:
                raise Violation(f"{job.where} was queued {job.due - e.at:.3f} s before it was due")
            job.due, job.released_from = 0.0, 0

    def _jobs_delayed(self, e: ev.JobsDelayed) -> None:
        for number, until in zip(e.jobs, e.until, strict=True):
            job = self.jobs[number]
            self._judge_ready(job)
            self.transition(job, JobState.DELAYED, JobState.WAITING)
            job.due = until

    def _judge_ready(self, job: JobFacts) -> None:
        """Raise Violation if a job is made ready too early or for no reason."""
        if job.state is not JobState.WAITING:
            return
        parents = [self.jobs[p] for p in job.parents]
        if job.template.kind == Kind.HANDLER:
            fit = any(p.state is JobState.DEAD for p in parents)
        elif job.awaits_ends:
            fit = all(p.state in TERMINAL for p in parents)
            self.trace.count("always" if all(p.is_done for p in parents) else "always after a failure")
        else:
            fit = all(p.is_done or (p.state is JobState.DEAD and p.template.on_failure == "continue") for p in parents)
        if not fit:
            raise Violation(f"{job.where} became ready although its parents are {[(p.name, p.state.name) for p in parents]}")
        condition_rules.judge_start(self, job)

    def _jobs_released(self, e: ev.JobsReleased) -> None:
        worker = self.workers[e.worker]
        for number in e.jobs:
            job = self.jobs[number]
            job.released_from = e.worker
            self.trace.count("affinity released")
            fit = worker.alive and not worker.draining and not lacking_of(job.template, worker)
            if job.state is JobState.QUEUED and fit and not worker.aside:
                raise Violation(f"{job.where} was released from {worker.name}, which can take it")

    def _jobs_bound(self, e: ev.JobsBound) -> None:
        self.trace.count("affinity bound anew")
        for number, pin in zip(e.jobs, e.pins, strict=True):
            job = self.jobs[number]
            home = self._first_parent(job).ran_on
            if job.state is not JobState.QUEUED or not job.template.affinity or pin != home:
                raise Violation(f"{job.where}, {job.state.name}, is bound to worker {pin}; its parent ran on {home}")
            job.released_from = 0

    def _first_parent(self, job: JobFacts) -> JobFacts:
        """Return the job to whose worker the affinity of `job` binds it."""
        parent = self.jobs[job.parents[0]]
        while parent.template.kind == Kind.GATE and parent.parents:
            parent = self.jobs[parent.parents[0]]
        return parent

    def _jobs_dispatched(self, e: ev.JobsDispatched) -> None:
        worker = self.workers[e.worker]
        for i, number in enumerate(e.jobs):
            job, lease = self.jobs[number], e.first_lease + i
            self.transition(job, JobState.DISPATCHED, JobState.QUEUED)
            job.attempts += 1
            if lease in self.leases:
                raise Violation(f"lease {short(lease)} was assigned twice")
            self._judge_parents(job)
            parents = [self.jobs[parent] for parent in job.parents]
            services = tuple([(p.name, p.address) for p in parents if p.is_service])
            self.leases[lease] = LeaseFacts(number, e.worker, worker.incarnation, job.attempts, services)
            job.lease, job.ran_on = lease, e.worker
            self._judge_placement(job, e.worker, worker)
            self._judge_array(job)

    def _judge_array(self, job: JobFacts) -> None:
        """Raise Violation if more jobs of an array are on workers than its limit allows."""
        if job.template.parallel is None:
            return
        array, most = job.template.parallel.array, job.template.parallel.most
        others = [self.jobs[number] for number in self.runs[job.run]]
        active = [o for o in others if (p := o.template.parallel) is not None and p.array == array and o.state in ON_WORKER]
        self.trace.count("array at its limit" if len(active) == most else "array below its limit")
        if len(active) > most:
            raise Violation(f"{len(active)} jobs of {job.run}/{array} are on workers; the limit is {most}")

    def _judge_parents(self, job: JobFacts) -> None:
        for parent in job.parents:
            entry = self.jobs[parent]
            went_on = entry.state is JobState.DEAD and entry.template.on_failure == "continue"
            if entry.is_service and not entry.is_done and not went_on and not job.awaits_ends:
                service = f"{self.jobs[parent].name} is {self.jobs[parent].state.name}"
                raise Violation(f"{job.where} became {job.state.name} while {service} and not READY")

    def _judge_placement(self, job: JobFacts, number: int, worker: WorkerFacts) -> None:
        if lacking := lacking_of(job.template, worker):
            raise Violation(f"{job.where} went to {worker.name}, which lacks {lacking}")
        self._judge_resources(job, number, worker)
        if not worker.alive or worker.draining:
            raise Violation(f"{job.where} went to {worker.name}, which is gone or drains")
        if job.template.affinity and job.parents:
            parent = self.jobs[job.parents[0]]
            while parent.template.kind == Kind.GATE and parent.parents:
                parent = self.jobs[parent.parents[0]]
            # a parent in any other state has started another attempt since the worker was chosen
            home = parent.ran_on if parent.state in TERMINAL or parent.is_service else 0
            if home and home not in (number, job.released_from):
                raise Violation(f"{job.where} went to {worker.name}; its affinity to {self.workers[home].name} was not released")

    def _judge_resources(self, job: JobFacts, number: int, worker: WorkerFacts) -> None:
        """Raise Violation if, according to the log, a job was sent to a worker without enough free
        resources."""
        asked = asked_of(job.template)
        if not any(asked):
            return
        self.trace.count("asked for resources")
        held = [j for j in self.jobs.values() if j.lease and self.leases[j.lease].worker == number]
        for kind, total in enumerate(worker.total):
            used = sum(asked_of(j.template)[kind] for j in held)
            if asked[kind] and used > total:
                raise Violation(f"{job.where} went to {worker.name}, where {used} of {total} {KINDS[kind]} would be in use")

    def _jobs_started(self, e: ev.JobsStarted) -> None:
        for number, at in zip(e.jobs, e.ats, strict=True):
            job = self.jobs[number]
            self.transition(job, JobState.RUNNING, JobState.DISPATCHED)
            process = self.process_oracle.processes.get(job.lease)
            # A worker reports the start of a call only if the call is slow, and never too early.
            if process is None or (process.began_at > at if job.template.function else process.began_at != at):
                raise Violation(f"{job.where} is recorded as started at {at}; its process is {process}")

    def _jobs_completed(self, e: ev.JobsCompleted) -> None:
        for i, number in enumerate(e.jobs):
            job = self.jobs[number]
            lease, process = self.end_lease(job, e.worker, JobState.COMPLETED)
            if process is None or not process.ended_at or process.exit_code != 0 or process.crashed:
                raise Violation(f"{job.where} is COMPLETED under lease {short(lease)}; its process is {process}")
            job.value = e.values[i] if e.values else b""
            wanted = f"i{job.where}#{self.leases[lease].attempt}".encode()
            if job.template.function and job.value != wanted:
                raise Violation(f"{job.where} is COMPLETED with the value {job.value!r} instead of {wanted!r}")
            self.unlock(job, e.at)

    def _jobs_failed(self, e: ev.JobsFailed) -> None:
        for i, number in enumerate(e.jobs):
            job = self.jobs[number]
            lease, process = self.end_lease(job, e.worker, JobState.FAILED)
            outcome = Outcome(e.outcomes[i])
            blameless = outcome is Outcome.BROKEN and not job.is_service
            if blameless != (number in e.blameless):
                raise Violation(f"{job.where} is {outcome.name}, and the log counts this as blameless: {number in e.blameless}")
            if blameless:
                job.breaks += 1
            else:
                job.failures.append(outcome)
            if not self._is_true(outcome, e.exit_codes[i], lease, process):
                raise Violation(
                    f"{job.where} is recorded as {outcome.name} with exit code {e.exit_codes[i]}; its process is {process}"
                )
            retry = job.template.retry
            job.final = outcome is Outcome.EXITED and retry is not None and e.exit_codes[i] in retry.final_codes
            final = outcome is Outcome.REFUSED or len(job.failures) > job.template.retries or job.final
            final = job.breaks >= BREAKS_LIMIT if blameless else final
            # the end of a service is final; a failure of its worker is retried there or elsewhere
            if job.is_service:
                final = not e.retry_at[i] if outcome in (Outcome.REFUSED, Outcome.BROKEN) else True
                final = final and not (job.old_lease and e.retry_at[i])
                if e.retry_at[i] and len(job.failures) > job.template.retries and not job.old_lease:
                    raise Violation(f"{job.where} is retried after {len(job.failures)} failures")
            if final != (not e.retry_at[i]):
                raise Violation(f"{job.where} failed {len(job.failures)} times, and its next attempt is due at {e.retry_at[i]}")
            job.due = e.retry_at[i]

    def _is_true(self, outcome: Outcome, exit_code: int, lease: int, process: Process | None) -> bool:
        match outcome:
            case Outcome.EXITED:
                return (
                    process is not None and process.ended_at > 0 and process.exit_code == exit_code >= (0 if process.service else 1)
                )
            case Outcome.SIGNALED:
                if process is None or not process.ended_at or process.exit_code >= 0:
                    return False
                killed_runner = outcome in self.process_oracle.troubles.get(lease, ())
                return exit_code == (-1 if killed_runner else 128 - process.exit_code)
            case Outcome.TIMED_OUT:
                duration_s = process.ended_at - process.started_at if process else 0.0
                return process is not None and 0 < process.timeout_s <= duration_s + EPSILON
            case Outcome.REFUSED | Outcome.BROKEN:
                return outcome in self.process_oracle.troubles.get(lease, ())
        return False

    def _jobs_lost(self, e: ev.JobsLost) -> None:
        worker = self.workers[e.worker]
        for number in e.jobs:
            job = self.jobs[number]
            lease, process = self.end_lease(job, e.worker, JobState.QUEUED)
            job.released_from = 0
            self.lost[lease] = None
            if self.calm and process is not None:
                raise Violation(f"{job.where} was given up ({e.reason}) although there was no fault; it ran as {process}")
            if number in e.blamed:
                self._judge_blame(job, process)
                job.blamed[e.worker, worker.incarnation] = None
            elif number in e.doubted:
                job.doubted[e.worker, worker.incarnation] = None
            if 2 * len(job.blamed) + len(job.doubted) >= 2 * self.settings.poison_losses:
                raise Violation(f"{job.where} is not poison after these losses: {list(job.blamed)}, {list(job.doubted)}")
        if len(e.doubted) > worker.slots:
            raise Violation(f"{len(e.doubted)} jobs are doubted for the loss of {worker.name}, which has {worker.slots} slots")

    def _judge_blame(self, job: JobFacts, process: Process | None) -> None:
        if process is None:
            raise Violation(f"{job.where} is blamed for the loss of a worker on which it never started")

    def _jobs_died(self, e: ev.JobsDied) -> None:
        for number in e.jobs:
            job = self.jobs[number]
            if job.state is JobState.FAILED:
                job.state, job.ready, job.old_lease = JobState.DEAD, False, 0
                early = len(job.failures) <= job.template.retries and not job.final
                early = early and job.breaks < BREAKS_LIMIT
                if early and not job.is_service and job.failures[-1] is not Outcome.REFUSED:
                    raise Violation(f"{job.where} is DEAD after {len(job.failures)} failures with {job.template.retries} retries")
            elif job.state is JobState.WAITING:
                condition_rules.judge_death(self, job)
                job.state = JobState.DEAD
            elif job.state is JobState.QUEUED:
                result_rules.judge_death(self, job)
                job.state, job.ready = JobState.DEAD, False
            else:
                self.trace.count("poison")
                ran = job.state is JobState.RUNNING
                _, process = self.end_lease(job, 0, JobState.DEAD)
                if ran:
                    self._judge_blame(job, process)
                self.trace.count("poison before its start" if not ran else "poison while it ran")
                if 2 * len(job.blamed) + len(job.doubted) + 1 + ran < 2 * self.settings.poison_losses:
                    counted = [*job.blamed, *job.doubted]
                    raise Violation(f"{job.where} is poison; losses that count: {counted} and this one")
            self.unlock(job, e.at)

    def _jobs_cancelled(self, e: ev.JobsCancelled) -> None:
        self._judge_actor(e.actor, asked=e.cause == Cause.ASKED)
        for number in e.jobs:
            job = self.jobs[number]
            if job.state in TERMINAL:
                raise Violation(f"{job.where} is {job.state.name} and was cancelled")
            job.state, job.lease, job.ready, job.old_lease = JobState.CANCELLED, 0, False, 0
            job.why, job.cause = e.reason, e.cause
            self.unlock(job, e.at)

    def _run_cancelled(self, e: ev.RunCancelled) -> None:
        self.cancelled[e.run] = None

    def _run_finished(self, e: ev.RunFinished) -> None:
        jobs = [self.jobs[number] for number in self.runs[e.run]]
        good = all(job.state in (JobState.COMPLETED, JobState.SKIPPED) or job.cause in UNNEEDED for job in jobs)
        verdict = RunState.COMPLETED if good else RunState.CANCELLED if e.run in self.cancelled else RunState.FAILED
        if e.state != verdict:
            others = {job.name: (job.state.name, job.why) for job in jobs if job.state is not JobState.COMPLETED}
            raise Violation(f"run {e.run} is {RunState(e.state).name}; the jobs that are not COMPLETED are {others}")

    # -- the dead letter queue ---------------------------------------------------------------------
    def _run_restored(self, e: ev.RunRestored) -> None:
        if e.run not in self.archived:
            raise Violation(f"run {e.run} is restored, but was never archived")
        del self.archived[e.run]

    def _jobs_revived(self, e: ev.JobsRevived) -> None:
        self._judge_actor(e.actor, asked=True)
        if (e.run, e.key) in self.retries:
            raise Violation(f"retry {e.key} of {e.run} is applied twice")
        self.retries[e.run, e.key] = None
        for i, number in enumerate(e.jobs):
            job = self.jobs[number]
            if job.run != e.run:
                raise Violation(f"{job.where} is revived with run {e.run}")
            if i < e.retried:
                self.transition(job, JobState.WAITING, JobState.DEAD)
                job.failures, job.final, job.breaks = [], False, 0
                job.blamed.clear()
                job.doubted.clear()
                self.purged.pop(number, None)
            elif job.is_service and job.state is JobState.COMPLETED:
                self.transition(job, JobState.WAITING, JobState.COMPLETED)
                job.stopped_by_user = job.ready = False
                if not any(child in e.jobs for child in job.children):
                    raise Violation(f"{job.where} is revived without any of its dependents")
            else:
                self.transition(job, JobState.WAITING, JobState.CANCELLED, JobState.SKIPPED)
                if not any(parent in e.jobs for parent in job.parents) or job.cause == Cause.ASKED:
                    raise Violation(f"{job.where} is revived; it was cancelled for another reason: {job.why}")
            job.revived, job.revived_at, job.why, job.cause = True, e.at, "", 0
            job.ready_at = e.at - job.template.delay_s  # its delay is already over

    def _dead_purged(self, e: ev.DeadPurged) -> None:
        self._judge_actor(e.actor, asked=True)
        for number in e.dead:
            if self.jobs[number].state is not JobState.DEAD or number in self.purged:
                raise Violation(f"{self.jobs[number].where} is purged as {self.jobs[number].state.name}")
            self.purged[number] = None

    # -- gates -------------------------------------------------------------------------------------
    def _gates_opened(self, e: ev.GatesOpened) -> None:
        for number, until in zip(e.jobs, e.until, strict=True):
            job = self.jobs[number]
            self._judge_ready(job)
            if job.template.gate is None or until != e.at + job.template.gate.max_wait_s:
                raise Violation(f"{job.where} opens until {until}")
            if e.at < max(job.due, job.ready_at + job.template.delay_s) - EPSILON:
                raise Violation(f"{job.where} opens before its delay is over")
            self.transition(job, JobState.PAUSED, JobState.WAITING, JobState.DELAYED)
            job.due = until

    def _token_issued(self, e: ev.TokenIssued) -> None:
        if self.jobs[e.job].state is not JobState.PAUSED:
            raise Violation(f"{self.jobs[e.job].where} is {self.jobs[e.job].state.name} and gets a token")
        self.digests[e.digest] = e.job

    def _webhook_ended(self, e: ev.WebhookEnded) -> None:
        if e.job in self.announced:
            raise Violation(f"the webhook of {self.jobs[e.job].where} ends twice")
        self.announced[e.job] = None

    def _gates_decided(self, e: ev.GatesDecided) -> None:
        for number in e.jobs:
            job = self.jobs[number]
            self.transition(job, JobState.COMPLETED if e.approved else JobState.CANCELLED, JobState.PAUSED)
            if not e.by and (e.approved or e.at < job.due - EPSILON):
                raise Violation(f"{job.where} was decided by its timeout {job.due - e.at:.3f} s too early")
            self.decisions[job.run, job.name] = (e.key, e.approved)
            self.trace.count("gate approved" if e.approved else "gate rejected" if e.by else "gate expired")
            job.why = "" if e.approved else "rejected"
            self.unlock(job, e.at)

    # -- workers -----------------------------------------------------------------------------------
    def _worker_joined(self, e: ev.WorkerJoined) -> None:
        known = self.workers.get(e.worker)
        if e.name.startswith("burst-") and e.name not in self.bursts:
            raise Violation(f"{e.name} joined, but is not a current burst worker")
        if known is not None and known.incarnation == e.incarnation:
            for job in self.jobs.values():  # the process was only cut off, it did not die
                if job.run in self.archived:
                    continue  # the history keeps the counts that the run had when it left the state
                if job.blamed.pop((e.worker, e.incarnation), self) is None:
                    self.trace.count("blame taken back")
                if job.doubted.pop((e.worker, e.incarnation), self) is None:
                    self.trace.count("doubt taken back")
            known.capabilities, known.slots, known.total, known.alive = e.capabilities, e.slots, total_of(e), True
            return
        if known is not None and (known.name != e.name or e.incarnation < known.incarnation):
            raise Violation(f"worker {known.name} {known.incarnation} was replaced by {e.name} {e.incarnation}")
        for job in self.jobs.values():
            if job.lease and self.leases[job.lease].worker == e.worker:
                raise Violation(f"{job.where} is still leased to the process before {e.name} {e.incarnation}")
        self.workers[e.worker] = WorkerFacts(e.name, e.incarnation, e.capabilities, total_of(e), e.slots)

    def _worker_drained(self, e: ev.WorkerDrained) -> None:
        self.workers[e.worker].draining = True

    def _worker_set_aside(self, e: ev.WorkerSetAside) -> None:
        self.workers[e.worker].aside = True

    def _worker_taken_back(self, e: ev.WorkerTakenBack) -> None:
        self.workers[e.worker].aside = False

    def _worker_gone(self, e: ev.WorkerLost | ev.WorkerLeft) -> None:
        self.workers[e.worker].alive = False
        if self.calm and self.workers[e.worker].name not in self.burst_names:
            raise Violation(f"worker {self.workers[e.worker].name} is gone ({type(e).__name__}) although there was no fault")

    # -- burst workers -----------------------------------------------------------------------------
    def _burst_requested(self, e: ev.BurstRequested) -> None:
        for name in e.names:
            if name in self.burst_names:
                raise Violation(f"the name of burst worker {name} was used before")
            self.burst_names[name] = None
            self.bursts[name] = e.rule
        count, (_, most) = list(self.bursts.values()).count(e.rule), self.settings.scale[e.rule]
        if count > most:
            raise Violation(f"{count} burst workers of {e.rule}; the maximum is {most}")

    def _burst_retired(self, e: ev.BurstRetired) -> None:
        for name in e.names:
            if name not in self.bursts:
                raise Violation(f"{name} was retired, but is not a burst worker")
        busy = [job for job in self.jobs.values() if job.lease and self._is_alive(self.leases[job.lease].worker, e.names)]
        if busy:
            raise Violation(f"{e.names} were retired ({e.reason}) while they held {busy[0].where}")

    def _is_alive(self, worker: int, names: list[str]) -> bool:
        return self.workers[worker].alive and self.workers[worker].name in names

    def _burst_ended(self, e: ev.BurstEnded) -> None:
        for name in e.names:
            if self.bursts.pop(name, None) is None:
                raise Violation(f"{name} is not a burst worker, but its end was recorded")

    def _worker_asked(self, e: ev.WorkerAsked) -> None:
        name = self.workers[e.worker].name
        self._judge_actor(e.actor, asked=name not in self.bursts)
        if name not in self.bursts and name not in self.asked_to_leave:
            raise Violation(f"permanent worker {name} was ordered to leave without a request")

    def _workers_forgotten(self, e: ev.WorkersForgotten) -> None:
        for number in e.workers:
            if self.workers[number].alive:
                raise Violation(f"{self.workers[number].name} is alive and was forgotten")
        if any(job.lease and self.leases[job.lease].worker in e.workers for job in self.jobs.values()):
            raise Violation(f"workers {e.workers} are forgotten and hold jobs")

    def _leases_ending(self, e: ev.LeasesEnding) -> None:
        if self.quiet:
            raise Violation(
                f"slots of {self.workers[e.worker].name} are blocked by {list(map(short, e.leases))} although there was no fault"
            )


_READERS: dict[type, Callable[[LogOracle, Any], None]] = {
    **service_rules.READERS,
    **growth_rules.READERS,
    ev.MasterStarted: LogOracle._master_started,
    ev.RunSubmitted: LogOracle._run_submitted,
    ev.RunOpened: LogOracle._run_opened,
    ev.JobsAdded: LogOracle._jobs_added,
    ev.RunSealed: LogOracle._run_sealed,
    ev.RunDropped: LogOracle._run_dropped,
    ev.RunArchived: LogOracle._run_archived,
    ev.JobsQueued: LogOracle._jobs_queued,
    ev.JobsDelayed: LogOracle._jobs_delayed,
    ev.JobsReleased: LogOracle._jobs_released,
    ev.JobsBound: LogOracle._jobs_bound,
    ev.JobsDispatched: LogOracle._jobs_dispatched,
    ev.JobsStarted: LogOracle._jobs_started,
    ev.JobsCompleted: LogOracle._jobs_completed,
    ev.JobsFailed: LogOracle._jobs_failed,
    ev.JobsLost: LogOracle._jobs_lost,
    ev.JobsDied: LogOracle._jobs_died,
    ev.JobsCancelled: LogOracle._jobs_cancelled,
    ev.JobsSkipped: condition_rules.on_jobs_skipped,
    ev.RunCancelled: LogOracle._run_cancelled,
    ev.RunFinished: LogOracle._run_finished,
    ev.RunRestored: LogOracle._run_restored,
    ev.JobsRevived: LogOracle._jobs_revived,
    ev.DeadPurged: LogOracle._dead_purged,
    ev.GatesOpened: LogOracle._gates_opened,
    ev.TokenIssued: LogOracle._token_issued,
    ev.WebhookEnded: LogOracle._webhook_ended,
    ev.GatesDecided: LogOracle._gates_decided,
    ev.WorkerJoined: LogOracle._worker_joined,
    ev.WorkerDrained: LogOracle._worker_drained,
    ev.WorkerSetAside: LogOracle._worker_set_aside,
    ev.WorkerTakenBack: LogOracle._worker_taken_back,
    ev.WorkerLost: LogOracle._worker_gone,
    ev.WorkerLeft: LogOracle._worker_gone,
    ev.LeasesEnding: LogOracle._leases_ending,
    ev.BurstRequested: LogOracle._burst_requested,
    ev.BurstRetired: LogOracle._burst_retired,
    ev.BurstEnded: LogOracle._burst_ended,
    ev.WorkerAsked: LogOracle._worker_asked,
    ev.WorkersForgotten: LogOracle._workers_forgotten,
}
