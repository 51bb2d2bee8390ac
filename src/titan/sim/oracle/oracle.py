"""The judge: what really ran (`truth`), what is durable (`log_oracle`), and what was promised to
whom."""

from __future__ import annotations

from hashlib import sha256
from math import ceil

from titan.core.events import events as ev
from titan.core.state.state import State
from titan.model.dag import Kind
from titan.model.states import JobState, RunState
from titan.protocol import messages as pm
from titan.sim.oracle.files import FileJudge
from titan.sim.oracle.ledger import TERMINAL
from titan.sim.oracle.log import LogOracle
from titan.sim.oracle.processes import Host, Process, Truth, Violation
from titan.sim.oracle.records import JobFacts
from titan.sim.oracle.reports import ReportOracle
from titan.sim.oracle.schedules import ScheduleOracle, following
from titan.sim.scenario import Scenario
from titan.sim.trace import Trace, short


class Oracle:
    def __init__(self, scenario: Scenario, trace: Trace) -> None:
        # A worker that stalls is late to kill: once to hear, once to act, once to see.
        slack = 1.0 + (3 * scenario.faults.stall_s if scenario.faults.stall else 0.0)
        self.truth = Truth(grace_s=scenario.settings.stop_grace_s, slack_s=slack)
        self.log_oracle = LogOracle(self.truth, scenario.settings, trace, calm=scenario.calm, quiet=scenario.quiet)
        self.schedule_oracle = ScheduleOracle(self.log_oracle, trace, slack_s=2.0 + 2 * slack, calm=scenario.calm)
        self.files = FileJudge(self.log_oracle)
        self.talk = ReportOracle(self.log_oracle, self.truth, scenario.faults)
        late = 3 * scenario.faults.stall_s if scenario.faults.stall else 0.0
        late += 3 * scenario.faults.slow_sync_s if scenario.faults.slow_sync else 0.0
        self._patience = None if scenario.faults.loss else 1 + ceil(late / scenario.settings.heartbeat_s)
        """How many heartbeats may list an attempt that is fenced before an order to stop it comes.
        """
        self.submitted: dict[str, str] = {}
        """Acknowledged submissions: key -> run."""
        self.stops_asked: dict[tuple[str, str], None] = {}
        """Services that a client asked to stop: (run, job)."""
        self.cancelled: dict[tuple[str, str], None] = {}
        """Acknowledged cancels: (run, job or "")."""

        self._tokens: dict[tuple[str, str], str] = {}
        """(run, gate) -> the newest token that its webhook was told."""

    def on_durable(self, events: list[ev.Event]) -> None:
        for event in events:
            self.talk.record(event)
            self.log_oracle.record(event)
            self.schedule_oracle.record(event)
            self.files.record(event)

    # -- promises ----------------------------------------------------------------------------------
    def on_submitted(self, key: str, run: str) -> None:
        """A client reads that its submission is accepted."""
        if self.log_oracle.keys.get(key) != run:
            raise Violation(f"submission {key} is acknowledged as {run}; durable is {self.log_oracle.keys.get(key)}")
        if self.submitted.setdefault(key, run) != run:
            raise Violation(f"submission {key} is acknowledged as {run} and as {self.submitted[key]}")

    def on_cancelled(self, run: str, job: str) -> None:
        """A client reads that its cancel is done. From now on the log_oracle sees to it that none
        of these is COMPLETED."""
        self.cancelled[run, job] = None
        facts = self.log_oracle
        targets = list(facts.runs[run])
        if job:
            number = next(n for n in targets if facts.jobs[n].name == job)
            targets = [number]
            if facts.jobs[number].state is JobState.CANCELLED:
                targets += facts.behind(number)
        for number in targets:
            if facts.jobs[number].state not in TERMINAL and not facts.jobs[number].revived:
                told = f"{facts.jobs[number].where} is {facts.jobs[number].state.name}"
                raise Violation(f"the cancel of {run}/{job} is acknowledged while {told} in the durable log")

    def on_grown(self, run: str, job: str, grow: pm.Grow) -> None:
        """A job hears that its run has grown."""
        facts = self.log_oracle
        by = next(n for n in facts.runs[run] if facts.jobs[n].name == job)
        if facts.growths.get((run, by, grow.key)) != grow.dag.ids:
            raise Violation(f"the growth of {run} by {job} is acknowledged; durable is {facts.growths.get((run, by, grow.key))}")

    def on_decided(self, run: str, gate: str, key: str, *, approved: bool) -> None:
        """A client reads that its decision is the one."""
        if self.log_oracle.decisions.get((run, gate)) != (key, approved):
            durable = self.log_oracle.decisions.get((run, gate))
            raise Violation(f"decision {key} about {run}/{gate} is acknowledged; durable is {durable}")

    def on_retried(self, run: str, key: str) -> None:
        """A client reads that dead jobs run again."""
        if (run, key) not in self.log_oracle.retries:
            raise Violation(f"retry {key} of {run} is acknowledged and is not durable")

    def on_refused(self, run: str, key: str) -> None:
        """A client reads that what it asked for is not done. It may have said so several times, but
        it is one request."""
        decided = [place for place, (by, _) in self.log_oracle.decisions.items() if by == key]
        if decided and decided[0][0] not in self.log_oracle.archived:
            raise Violation(f"decision {key} about {decided[0]} is refused and is durable")
        last = [known for of, known in self.log_oracle.retries if of == run][-1:]
        if last == [key] and run not in self.log_oracle.archived:
            raise Violation(f"retry {key} of {run} is refused and is durable")

    def on_webhook(self, number: int, token: str) -> None:
        """A webhook is told of a gate."""
        facts = self.log_oracle
        if number in facts.announced:
            raise Violation(f"the webhook of {facts.jobs[number].where} is told again after it was recorded as delivered")
        if facts.digests.get(sha256(token.encode()).digest()) != number:
            raise Violation(f"the webhook of {facts.jobs[number].where} is told a token that is not durable")
        self._tokens[facts.jobs[number].run, facts.jobs[number].name] = token

    def token_of(self, run: str, gate: str) -> str:
        """What the receiver of the webhook has; "" if nothing has come."""
        return self._tokens.get((run, gate), "")

    def on_scheduled(self, name: str, what: str) -> None:
        """A user reads that this was done with a schedule."""
        facts = self.schedule_oracle.schedules.get(name)
        if (facts is None) is not (what == "remove") or (facts is not None and facts.paused is not (what == "pause")):
            raise Violation(f"{what} of schedule {name} is acknowledged; durable is {facts}")

    def on_stop_asked(self, run: str, job: str) -> None:
        """A client is about to ask that a service be stopped."""
        self.stops_asked[run, job] = None

    def on_stopped(self, run: str, job: str, *, asked_at: float) -> None:
        """A client reads that a service was stopped, as it first asked at that time. A retry may
        have brought it back since."""
        facts = next(self.log_oracle.jobs[n] for n in self.log_oracle.runs[run] if self.log_oracle.jobs[n].name == job)
        if facts.state not in TERMINAL and facts.revived_at < asked_at:
            raise Violation(f"the stop of {facts.where} is acknowledged while it is {facts.state.name} in the durable log")

    def on_dispatched(self, lease: int, services: tuple[tuple[str, str], ...]) -> None:
        """A worker reads that it shall run an attempt, and where the services are that it depends
        on."""
        facts = self.log_oracle.leases.get(lease)
        if facts is None:
            raise Violation(f"lease {short(lease)} reached a worker and is not durable")
        if facts.services != services:
            raise Violation(f"lease {short(lease)} is told {services}; its services were at {facts.services}")

    def on_acked(self, lease: int) -> None:
        """A worker reads that it may forget a result."""
        facts = self.log_oracle.leases.get(lease)
        if facts is None or self.log_oracle.jobs[facts.job].lease == lease:
            raise Violation(f"the result of lease {short(lease)} was acknowledged and is not durable")

    def on_heard(self, host: Host, leases: list[int], strays: dict[int, int]) -> None:
        """A worker reads that its heartbeat, which listed these, was heard. `strays` counts how
        often, on one connection."""
        if self._patience is None:
            return
        for lease in leases:
            process = self.truth.live.get(lease)
            current = process is not None and (self._is_current(process) or self._is_being_replaced(process))
            if process is not None and not current and not self.truth.is_told_to_stop(host, lease):
                strays[lease] = strays.get(lease, 0) + 1
                if strays[lease] > self._patience:
                    raise Violation(
                        f"lease {short(lease)} is fenced, {host.name} said {strays[lease]} times that it has it: no stop"
                    )

    # -- processes ---------------------------------------------------------------------------------
    def on_started(self, process: Process) -> None:
        self.log_oracle.judge_start(process)
        self.truth.started(process)
        current = [p for p in self.truth.live.values() if p.run == process.run and p.job == process.job and self._is_current(p)]
        if len(current) > 1:
            raise Violation(f"{process.run}/{process.job} runs twice under a current lease: {current}")

    def on_called(self, run: str, job: str, inputs: tuple[bytes, ...]) -> None:
        """A call begins with these values of its parents."""
        facts = self.log_oracle
        number = next(n for n in facts.runs[run] if facts.jobs[n].name == job)
        wanted = tuple([facts.jobs[parent].value for parent in facts.jobs[number].parents])
        if inputs != wanted:
            raise Violation(f"{run}/{job} is given {inputs}; its parents' values are {wanted}")

    def _is_current(self, process: Process) -> bool:
        facts = self.log_oracle.leases[process.lease]
        return self.log_oracle.jobs[facts.job].lease == process.lease

    def _is_being_replaced(self, process: Process) -> bool:
        return self.log_oracle.jobs[self.log_oracle.leases[process.lease].job].old_lease == process.lease

    # -- the end -----------------------------------------------------------------------------------
    def judge_recovered(self, state: State) -> None:
        """A master has replayed its log."""
        for key, run in self.submitted.items():
            known = run in state.runs and state.keys.get(key) == run
            if not known and state.archived.get(key, ("",))[0] != run:
                raise Violation(f"submission {key}, acknowledged as {run}, is gone after the restart")
        self._judge_agreement(state)

    def judge_end(self, state: State) -> None:
        """All faults are healed and nothing is left to do."""
        if self.truth.live:
            raise Violation(f"processes are left: {list(self.truth.live.values())}")
        for run in state.runs.values():
            if run.state is RunState.RUNNING:
                raise Violation(f"run {run.id} never ended")
        self._judge_agreement(state)
        for job in self.log_oracle.jobs.values():
            asked = (job.run, job.name) in self.stops_asked
            if job.stopped_by_user and not asked:
                raise Violation(f"{job.where} was stopped and nobody asked for it")
            if job.state not in TERMINAL:
                raise Violation(f"{job.where} ended as {job.state.name}")
            if job.state is JobState.CANCELLED:
                self._judge_cancelled(job.number)
            elif job.state is JobState.COMPLETED and job.template.retries < len(job.failures):
                raise Violation(f"{job.where} is COMPLETED after {len(job.failures)} failures")
            for child in job.children:
                self._judge_child(job, self.log_oracle.jobs[child])

    def _judge_child(self, job: JobFacts, child: JobFacts) -> None:
        told = f"{child.where} is {child.state.name} behind {job.name}, which is {job.state.name}"
        if child.template.kind == Kind.HANDLER:
            asked = self._is_users(child) or self.schedule_oracle.may_cancel(child.run)
            if job.state is JobState.DEAD and child.state is JobState.CANCELLED and not asked:
                raise Violation(told)
        elif job.template.on_failure == "continue":
            return  # it may have gone on without it before
        elif job.state in (JobState.DEAD, JobState.CANCELLED) and child.state is not JobState.CANCELLED and not job.is_service:
            raise Violation(told)

    def _is_users(self, job: JobFacts) -> bool:
        return (job.run, "") in self.cancelled or (job.run, job.name) in self.cancelled

    def _judge_cancelled(self, number: int) -> None:
        """A job is CANCELLED for a reason: a user's, or what became of a parent."""
        facts = self.log_oracle
        job = facts.jobs[number]
        behind = any(facts.blocks(facts.jobs[p], job) for p in job.parents)
        if job.template.kind == Kind.HANDLER:
            behind = not any(facts.jobs[p].state is JobState.DEAD for p in job.parents)
        behind = behind or any((job.run, facts.jobs[p].name) in self.stops_asked for p in job.parents)
        behind = behind or (job.run, job.name) in self.stops_asked
        rejected = facts.decisions.get((job.run, job.name), ("", True))[1] is False
        if not (behind or rejected or self._is_users(job) or self.schedule_oracle.may_cancel(job.run)):
            raise Violation(f"{job.where} is CANCELLED and nobody asked for it")

    def _judge_agreement(self, state: State) -> None:
        """The state and the log_oracle, two readers of one log."""
        self.talk.judge_agreement(state)
        facts = self.log_oracle
        plans = {s.name: (s.paused, s.due, s.waiting) for s in state.schedules.values()}
        told_plans = {
            s.name: (s.paused, following(s.timing, s.decided), s.waiting) for s in self.schedule_oracle.schedules.values()
        }
        if plans != told_plans:
            raise Violation(f"the master's schedules are {plans}, in the log {told_plans}")
        sealed = {number: job for number, job in state.jobs.items() if job.run.state is not RunState.OPENING}
        if sealed.keys() != {number for number, job in facts.jobs.items() if job.run not in facts.archived}:
            raise Violation("the master knows other jobs than its log")
        if state.bursts.keys() != facts.bursts.keys():
            raise Violation(f"the master knows the burst workers {list(state.bursts)}; its log {list(facts.bursts)}")
        for number, job in sealed.items():
            told = facts.jobs[number]
            if (number in state.dead) != (told.state is JobState.DEAD and number not in facts.purged):
                raise Violation(f"{told.where} is {told.state.name}; in the dead letter queue: {number in state.dead}")
            served = (job.service.ready_at > 0, job.service.old_lease) if job.service is not None else (False, 0)
            mine = (job.name, job.state, job.lease, job.attempt, job.failures, job.losses, job.doubts, *served)
            log = (
                told.name,
                told.state,
                told.lease,
                told.attempts,
                len(told.failures),
                len(told.blamed),
                len(told.doubted),
                told.ready,
                told.old_lease,
            )
            if mine != log:
                raise Violation(f"{told.where} is {mine} for the master and {log} in the log")
