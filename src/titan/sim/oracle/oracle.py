"""Main oracle. It combines the oracles of processes, of the log and of single features, and checks
all that the master acknowledges."""

from __future__ import annotations

from hashlib import sha256
from math import ceil

from titan.core.events import events as ev
from titan.core.state.state import State
from titan.model.dag import Kind
from titan.model.states import JobState, RunState
from titan.protocol import messages as pm
from titan.sim.oracle.files import FileOracle
from titan.sim.oracle.ledger import TERMINAL
from titan.sim.oracle.log import LogOracle
from titan.sim.oracle.processes import Host, Process, ProcessOracle, Violation
from titan.sim.oracle.records import JobFacts
from titan.sim.oracle.reports import ReportOracle
from titan.sim.oracle.result_cache import CacheOracle
from titan.sim.oracle.schedules import ScheduleOracle, following
from titan.sim.scenario import Scenario
from titan.sim.trace import Trace, short

UNRUN = (JobState.CANCELLED, JobState.SKIPPED)


class Oracle:
    def __init__(self, scenario: Scenario, trace: Trace) -> None:
        # A stalling worker kills late: it may stall before it receives the order, before it acts,
        # and before it notices the end.
        slack = 1.0 + (3 * scenario.faults.stall_s if scenario.faults.stall else 0.0)
        self.process_oracle = ProcessOracle(grace_s=scenario.settings.stop_grace_s, slack_s=slack)
        self.log_oracle = LogOracle(self.process_oracle, scenario.settings, trace, calm=scenario.calm, quiet=scenario.quiet)
        self.schedule_oracle = ScheduleOracle(self.log_oracle, trace, slack_s=2.0 + 2 * slack, calm=scenario.calm)
        self.file_oracle = FileOracle(self.log_oracle)
        self._cache_oracle = CacheOracle(self.log_oracle, self.file_oracle)
        self.report_oracle = ReportOracle(self.log_oracle, self.process_oracle, scenario.faults)
        late = 3 * scenario.faults.stall_s if scenario.faults.stall else 0.0
        late += 3 * scenario.faults.slow_sync_s if scenario.faults.slow_sync else 0.0
        self._patience = None if scenario.faults.loss else 1 + ceil(late / scenario.settings.heartbeat_s)
        """Maximum number of heartbeats that list a fenced attempt before the order to stop it
        arrives; None means no maximum."""
        self.submitted: dict[str, str] = {}
        """Acknowledged submissions: key -> run."""
        self.stops_asked: dict[tuple[str, str], None] = {}
        """Services that a client asked to stop: (run, job)."""
        self.cancelled: dict[tuple[str, str], None] = {}
        """Acknowledged cancels: (run, job or "")."""

        self._tokens: dict[tuple[str, str], str] = {}
        """(run, gate) -> the newest token that its webhook received."""

    def on_durable(self, events: list[ev.Event]) -> None:
        for event in events:
            self.report_oracle.record(event)
            self.log_oracle.record(event)
            self.schedule_oracle.record(event)
            self.file_oracle.record(event)
            self._cache_oracle.record(event)

    # -- acknowledgements --------------------------------------------------------------------------
    def on_submitted(self, key: str, run: str) -> None:
        """Check the acknowledgement of a submission."""
        if self.log_oracle.keys.get(key) != run:
            raise Violation(f"submission {key} is acknowledged as {run}; in the log it is {self.log_oracle.keys.get(key)}")
        if self.submitted.setdefault(key, run) != run:
            raise Violation(f"submission {key} is acknowledged as {run} and as {self.submitted[key]}")

    def on_cancelled(self, run: str, job: str) -> None:
        """Check the acknowledgement of a cancel. The end of all cancelled jobs must be durable."""
        self.cancelled[run, job] = None
        facts = self.log_oracle
        targets = list(facts.runs[run])
        if job:
            number = next(n for n in targets if facts.jobs[n].name == job)
            targets = [number]
            if facts.jobs[number].state is JobState.CANCELLED:
                targets += facts.dependents(number)
        for number in targets:
            if facts.jobs[number].state not in TERMINAL and not facts.jobs[number].revived:
                still_open = f"{facts.jobs[number].where} is {facts.jobs[number].state.name}"
                raise Violation(f"the cancel of {run}/{job} is acknowledged while {still_open} in the durable log")

    def on_grown(self, run: str, job: str, grow: pm.Grow) -> None:
        """Check the acknowledgement of jobs that a job added to its run."""
        facts = self.log_oracle
        by = next(n for n in facts.runs[run] if facts.jobs[n].name == job)
        if facts.growths.get((run, by, grow.key)) != grow.dag.ids:
            raise Violation(f"the growth of {run} by {job} is acknowledged; the log has {facts.growths.get((run, by, grow.key))}")

    def on_decided(self, run: str, gate: str, key: str, *, approved: bool) -> None:
        """Check the acknowledgement of a decision."""
        if self.log_oracle.decisions.get((run, gate)) != (key, approved):
            durable = self.log_oracle.decisions.get((run, gate))
            raise Violation(f"decision {key} about {run}/{gate} is acknowledged; the log has {durable}")

    def on_retried(self, run: str, key: str) -> None:
        """Check the acknowledgement of a retry from the dead letter queue."""
        if (run, key) not in self.log_oracle.retries:
            raise Violation(f"retry {key} of {run} is acknowledged, but not durable")

    def on_refused(self, run: str, key: str) -> None:
        """Check the refusal of a request, which the client may have sent several times."""
        decided = [place for place, (by, _) in self.log_oracle.decisions.items() if by == key]
        if decided and decided[0][0] not in self.log_oracle.archived:
            raise Violation(f"decision {key} about {decided[0]} is refused, but durable")
        last = [known for retried, known in self.log_oracle.retries if retried == run][-1:]
        if last == [key] and run not in self.log_oracle.archived:
            raise Violation(f"retry {key} of {run} is refused, but durable")

    def on_webhook(self, number: int, token: str) -> None:
        """Check a call of a gate's webhook, and keep its token."""
        facts = self.log_oracle
        if number in facts.announced:
            raise Violation(f"the webhook of {facts.jobs[number].where} is called again after it was recorded as delivered")
        if facts.digests.get(sha256(token.encode()).digest()) != number:
            raise Violation(f"the webhook of {facts.jobs[number].where} gets a token that is not durable")
        self._tokens[facts.jobs[number].run, facts.jobs[number].name] = token

    def token_of(self, run: str, gate: str) -> str:
        """Return the newest token that the gate's webhook received; "" if it received no token."""
        return self._tokens.get((run, gate), "")

    def on_scheduled(self, name: str, action: str) -> None:
        """Check the acknowledgement of an action on a schedule."""
        facts = self.schedule_oracle.schedules.get(name)
        if (facts is None) is not (action == "remove") or (facts is not None and facts.paused is not (action == "pause")):
            raise Violation(f"{action} of schedule {name} is acknowledged; the log has {facts}")

    def on_stop_asked(self, run: str, job: str) -> None:
        """Record that a client is about to request the stop of a service."""
        self.stops_asked[run, job] = None

    def on_stopped(self, run: str, job: str, *, asked_at: float) -> None:
        """Check the acknowledgement of a stop that was first requested at `asked_at`.

        A retry may have revived the service since then.
        """
        facts = next(self.log_oracle.jobs[n] for n in self.log_oracle.runs[run] if self.log_oracle.jobs[n].name == job)
        if facts.state not in TERMINAL and facts.revived_at < asked_at:
            raise Violation(f"the stop of {facts.where} is acknowledged while it is {facts.state.name} in the durable log")

    def on_dispatched(self, lease: int, services: tuple[tuple[str, str], ...]) -> None:
        """Check a dispatch that reached a worker: its lease, and the addresses of its services."""
        facts = self.log_oracle.leases.get(lease)
        if facts is None:
            raise Violation(f"lease {short(lease)} reached a worker, but is not durable")
        if facts.services != services:
            raise Violation(f"lease {short(lease)} gets the services {services} instead of {facts.services}")

    def on_acked(self, lease: int) -> None:
        """Check the acknowledgement of a result, which the worker now forgets."""
        facts = self.log_oracle.leases.get(lease)
        if facts is None or self.log_oracle.jobs[facts.job].lease == lease:
            raise Violation(f"the result of lease {short(lease)} was acknowledged, but is not durable")

    def on_heard(self, host: Host, leases: list[int], strays: dict[int, int]) -> None:
        """Check the answer to a heartbeat that listed these leases.

        `strays`: fenced lease -> number of heartbeats on this connection that listed it.
        """
        if self._patience is None:
            return
        for lease in leases:
            process = self.process_oracle.live.get(lease)
            current = process is not None and (self._is_current(process) or self._is_being_replaced(process))
            if process is not None and not current and not self.process_oracle.has_stop_order(host, lease):
                strays[lease] = strays.get(lease, 0) + 1
                if strays[lease] > self._patience:
                    raise Violation(
                        f"lease {short(lease)} is fenced; {host.name} listed it {strays[lease]} times, but got no order to stop it"
                    )

    # -- processes ---------------------------------------------------------------------------------
    def on_started(self, process: Process) -> None:
        self.log_oracle.judge_start(process)
        self.process_oracle.record_start(process)
        current = [
            p for p in self.process_oracle.live.values() if p.run == process.run and p.job == process.job and self._is_current(p)
        ]
        if len(current) > 1:
            raise Violation(f"{process.run}/{process.job} runs twice under a current lease: {current}")

    def on_called(self, run: str, job: str, inputs: tuple[bytes, ...]) -> None:
        """Check that a call starts with the values of its parents."""
        facts = self.log_oracle
        number = next(n for n in facts.runs[run] if facts.jobs[n].name == job)
        wanted = tuple([facts.jobs[parent].value for parent in facts.jobs[number].parents])
        if inputs != wanted:
            raise Violation(f"{run}/{job} gets the values {inputs}; those of its parents are {wanted}")

    def _is_current(self, process: Process) -> bool:
        facts = self.log_oracle.leases[process.lease]
        return self.log_oracle.jobs[facts.job].lease == process.lease

    def _is_being_replaced(self, process: Process) -> bool:
        return self.log_oracle.jobs[self.log_oracle.leases[process.lease].job].old_lease == process.lease

    # -- the end -----------------------------------------------------------------------------------
    def judge_recovered(self, state: State) -> None:
        """Check the state of a master that has replayed its log."""
        for key, run in self.submitted.items():
            known = run in state.runs and state.keys.get(key) == run
            if not known and state.archived.get(key, ("",))[0] != run:
                raise Violation(f"submission {key}, acknowledged as {run}, is gone after the restart")
        self._judge_agreement(state)

    def judge_end(self, state: State) -> None:
        """Check the final state, after all faults are healed and all work is done."""
        if self.process_oracle.live:
            raise Violation(f"processes are left: {list(self.process_oracle.live.values())}")
        for run in state.runs.values():
            if run.state is RunState.RUNNING:
                raise Violation(f"run {run.id} never ended")
        self._judge_agreement(state)
        for job in self.log_oracle.jobs.values():
            asked = (job.run, job.name) in self.stops_asked
            if job.stopped_by_user and not asked:
                raise Violation(f"{job.where} was stopped without a request")
            if job.state not in TERMINAL:
                raise Violation(f"{job.where} ended as {job.state.name}")
            if job.state is JobState.CANCELLED:
                self._judge_cancelled(job.number)
            # services are exempt: `LogOracle` checked each retry, and failures during a rolling
            # replacement are retried without limit
            elif job.state is JobState.COMPLETED and not job.is_service and job.template.retries < len(job.failures):
                raise Violation(f"{job.where} is COMPLETED after {len(job.failures)} failures")
            for child in job.children:
                self._judge_child(job, self.log_oracle.jobs[child])

    def _judge_child(self, job: JobFacts, child: JobFacts) -> None:
        violation = f"{child.where} is {child.state.name}; its parent {job.name} is {job.state.name}"
        if child.template.kind == Kind.HANDLER:
            asked = self._is_cancelled_by_user(child) or self.schedule_oracle.may_cancel(child.run)
            if job.state is JobState.DEAD and child.state in UNRUN and not asked:
                raise Violation(violation)
        elif job.template.on_failure == "continue" or child.awaits_ends:
            return  # the child may have run without the parent
        elif self.log_oracle.blocks(job, child) and child.state not in UNRUN and not job.is_service:
            raise Violation(violation)

    def _is_cancelled_by_user(self, job: JobFacts) -> bool:
        return (job.run, "") in self.cancelled or (job.run, job.name) in self.cancelled

    def _judge_cancelled(self, number: int) -> None:
        """Raise Violation unless a request or the end of a parent explains that the job is
        CANCELLED."""
        facts = self.log_oracle
        job = facts.jobs[number]
        explained = any(facts.blocks(facts.jobs[p], job) for p in job.parents)
        if job.template.kind == Kind.HANDLER:
            explained = not any(facts.jobs[p].state is JobState.DEAD for p in job.parents)
        explained = explained or any((job.run, facts.jobs[p].name) in self.stops_asked for p in job.parents)
        explained = explained or (job.run, job.name) in self.stops_asked
        rejected = facts.decisions.get((job.run, job.name), ("", True))[1] is False
        if not (explained or rejected or self._is_cancelled_by_user(job) or self.schedule_oracle.may_cancel(job.run)):
            raise Violation(f"{job.where} is CANCELLED without a reason")

    def _judge_agreement(self, state: State) -> None:
        """Raise Violation unless the master's state agrees with the facts that the oracle has read
        from the log."""
        self.report_oracle.judge_agreement(state)
        self._cache_oracle.judge_agreement(state)
        facts = self.log_oracle
        schedules = {s.name: (s.paused, s.due, s.waiting) for s in state.schedules.values()}
        logged_schedules = {
            s.name: (s.paused, following(s.timing, s.decided), s.waiting) for s in self.schedule_oracle.schedules.values()
        }
        if schedules != logged_schedules:
            raise Violation(f"the master has the schedules {schedules}, its log {logged_schedules}")
        sealed = {number: job for number, job in state.jobs.items() if job.run.state is not RunState.OPENING}
        if sealed.keys() != {number for number, job in facts.jobs.items() if job.run not in facts.archived}:
            raise Violation("the master and its log have different jobs")
        if state.bursts.keys() != facts.bursts.keys():
            raise Violation(f"the master has the burst workers {list(state.bursts)}, its log {list(facts.bursts)}")
        for number, job in sealed.items():
            logged = facts.jobs[number]
            if (number in state.dead) != (logged.state is JobState.DEAD and number not in facts.purged):
                raise Violation(f"{logged.where} is {logged.state.name}; in the dead letter queue: {number in state.dead}")
            served = (job.service.ready_at > 0, job.service.old_lease) if job.service is not None else (False, 0)
            in_state = (job.name, job.state, job.lease, job.attempt, job.failures, job.losses, job.doubts, *served)
            in_log = (
                logged.name,
                logged.state,
                logged.lease,
                logged.attempts,
                len(logged.failures),
                len(logged.blamed),
                len(logged.doubted),
                logged.ready,
                logged.old_lease,
            )
            if in_state != in_log:
                raise Violation(f"{logged.where} is {in_state} in the master's state and {in_log} in the log")
