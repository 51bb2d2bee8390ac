"""Check of schedules and deadlines in the durable log.

The master must decide about every nominal time once, in order, and by the policies of the schedule.
This module must use neither `core.apply` nor `model.timing`, because then it could not detect a
mistake there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from titan.core.events import events as ev
from titan.model.timing import Timing
from titan.sim.oracle.ledger import TERMINAL
from titan.sim.oracle.log import LogOracle
from titan.sim.oracle.processes import Violation
from titan.sim.trace import Trace

LATE_S = 60.0
MAX_WAITING = 1_000
EPSILON = 1e-6


class ScheduleFacts(msgspec.Struct):
    name: str
    timing: Timing
    overlap: str
    catch_up: str
    paused: bool
    decided: float
    """Newest nominal time about which the master has decided; at first, the time at which the
    schedule was added."""
    missed: float = 0.0
    """Nominal times up to this time were missed, because the schedule was paused or no master
    ran."""
    waiting: list[float] = msgspec.field(default_factory=list)
    live: dict[str, None] = msgspec.field(default_factory=dict)
    """Unfinished runs of the schedule."""


class RunFacts(msgspec.Struct):
    """Facts about a run from its submission."""

    deadline: float
    schedule: str
    scheduled_at: float
    expired: bool = False


class ScheduleOracle:
    def __init__(self, log_oracle: LogOracle, trace: Trace, *, slack_s: float, calm: bool) -> None:
        """Set up the oracle. A turn of the master may be late by at most `slack_s`."""
        self.schedules: dict[str, ScheduleFacts] = {}
        self.fired: dict[tuple[str, float], str] = {}
        """(schedule, nominal time) -> run."""
        self.replaced: dict[str, None] = {}
        self.runs: dict[str, RunFacts] = {}
        self._opened: dict[str, ev.RunOpened] = {}
        self._log_oracle = log_oracle
        self._trace = trace
        self._slack_s = slack_s
        self._calm = calm

    def record(self, event: ev.Event) -> None:
        """Check a durable event. This must happen after `LogOracle` records it."""
        reader = _READERS.get(type(event))
        if reader is not None:
            reader(self, event)

    def may_cancel(self, run: str) -> bool:
        """Return whether open jobs of a run may be cancelled without a request."""
        return self.runs[run].expired or run in self.replaced

    # -- deadlines ---------------------------------------------------------------------------------
    def _run_submitted(self, e: ev.RunSubmitted) -> None:
        self._make(e.run, e.at, e)

    def _run_opened(self, e: ev.RunOpened) -> None:
        self._opened[e.run] = e

    def _run_sealed(self, e: ev.RunSealed) -> None:
        self._make(e.run, e.at, self._opened.pop(e.run))

    def _make(self, run: str, at: float, e: ev.RunSubmitted | ev.RunOpened) -> None:
        self.runs[run] = RunFacts(at + e.deadline_s if e.deadline_s else 0.0, e.schedule, e.scheduled_at)
        if e.schedule:
            self.schedules[e.schedule].live[run] = None

    def _run_expired(self, e: ev.RunExpired) -> None:
        run_facts = self.runs[e.run]
        self._trace.count("deadline passed")
        if not run_facts.deadline or e.at < run_facts.deadline - EPSILON:
            raise Violation(f"run {e.run} expired at {e.at}; its deadline is {run_facts.deadline}")
        run_facts.expired = True

    def _jobs_revived(self, e: ev.JobsRevived) -> None:
        """Lift the deadline of a run whose dead jobs are retried, and count the run as open."""
        run_facts = self.runs[e.run]
        run_facts.deadline = 0.0  # jobs that the deadline has cancelled stay cancelled
        if run_facts.schedule in self.schedules:
            self.schedules[run_facts.schedule].live[e.run] = None

    def _jobs_moved(self, e: ev.JobsDispatched | ev.JobsCompleted | ev.JobsReused) -> None:
        for number in e.jobs:
            run = self._log_oracle.jobs[number].run
            run_facts = self.runs[run]
            if run_facts.deadline and e.at > run_facts.deadline + self._slack_s:
                raise Violation(f"run {run} still runs {e.at - run_facts.deadline:.3f} s after its deadline")

    # -- schedules ---------------------------------------------------------------------------------
    def _master_started(self, e: ev.MasterStarted) -> None:
        for facts in self.schedules.values():
            if not facts.paused:
                facts.missed = e.at

    def _schedule_added(self, e: ev.ScheduleAdded) -> None:
        live = self.schedules[e.name].live if e.name in self.schedules else {}
        facts = ScheduleFacts(e.name, e.timing, e.overlap, e.catch_up, e.paused, e.at, live=live)
        self.schedules[e.name] = facts
        self._judge_due(facts, e.due)

    def _schedule_changed(self, e: ev.ScheduleChanged) -> None:
        facts = self.schedules[e.name]
        if facts.paused is e.paused:
            raise Violation(f"schedule {e.name} is paused twice or resumed twice")
        facts.paused = e.paused
        if not e.paused:
            facts.missed = e.at

    def _schedule_removed(self, e: ev.ScheduleRemoved) -> None:
        facts = self.schedules.pop(e.name)
        if not facts.paused:
            due = following(facts.timing, facts.decided)
            if due < e.at - self._slack_s:
                raise Violation(f"schedule {e.name} has not decided about {due} when it is removed at {e.at}")
            if facts.waiting and not facts.live:
                raise Violation(f"schedule {e.name} has waiting times {facts.waiting} and no open run")

    def _schedule_fired(self, e: ev.ScheduleFired) -> None:
        facts, run_facts = self.schedules[e.name], self.runs.get(e.run)
        if run_facts is None or (run_facts.schedule, run_facts.scheduled_at) != (e.name, e.nominal):
            raise Violation(f"schedule {e.name} fired for {e.nominal}; its run {e.run} is {run_facts}")
        if e.by_user:
            self._trace.count("schedule run by hand")
            return
        if facts.paused:
            raise Violation(f"schedule {e.name} is paused and fired for {e.nominal}")
        if self.fired.setdefault((e.name, e.nominal), e.run) != e.run:
            raise Violation(f"schedule {e.name} started {e.run} and {self.fired[e.name, e.nominal]} for {e.nominal}")
        others = [run for run in facts.live if run != e.run and self._is_open(run)]
        if others:
            raise Violation(f"schedule {e.name} started {e.run} while {others} are open")
        if facts.waiting:
            if e.nominal != facts.waiting.pop(0):
                raise Violation(f"schedule {e.name} fired for {e.nominal} before older waiting times")
            self._trace.count("schedule fired after waiting")
        else:
            self._decide(facts, e.nominal, e.at, missed=False)
            if e.at - e.nominal > (1.0 if self._calm else LATE_S):
                raise Violation(f"schedule {e.name} fired {e.at - e.nominal:.3f} s late for {e.nominal}")
        self._judge_due(facts, e.due)

    def _schedule_waited(self, e: ev.ScheduleWaited) -> None:
        facts = self.schedules[e.name]
        missed = e.why == "missed"
        if not missed and facts.overlap == "skip":
            raise Violation(f"schedule {e.name} has the overlap policy skip, but {e.nominal} wait")
        if not missed and not facts.waiting and not any(map(self._is_open, facts.live)):
            raise Violation(f"schedule {e.name} has no open run, but {e.nominal} wait")
        for nominal in e.nominal:
            self._decide(facts, nominal, e.at, missed=missed)
        if missed:
            self._trace.count(f"caught up: {facts.catch_up}")
            limit = {"skip": 0, "last": 1, "all": MAX_WAITING}[facts.catch_up]
            if len(e.nominal) > limit or following(facts.timing, facts.decided) <= facts.missed:
                raise Violation(
                    f"schedule {e.name} catches up with {facts.catch_up}: {e.nominal} of the times up to {facts.missed}"
                )
        facts.waiting += e.nominal
        if len(facts.waiting) > MAX_WAITING:
            raise Violation(f"schedule {e.name} has {len(facts.waiting)} waiting times; the maximum is {MAX_WAITING}")
        self._judge_due(facts, e.due)

    def _schedule_skipped(self, e: ev.ScheduleSkipped) -> None:
        facts = self.schedules[e.name]
        self._trace.count(f"schedule skipped: {e.why}")
        count, nominal = 0, e.first
        while nominal <= e.last:
            self._decide(facts, nominal, e.at, missed=e.why == "missed")
            count, nominal = count + 1, following(facts.timing, nominal)
        if min(count, 100) != e.count or facts.decided != e.last or e.more is not (count > 100):
            raise Violation(f"schedule {e.name} skipped {count} times up to {facts.decided}, and recorded {e}")
        if e.why == "missed":
            left = 0
            while nominal <= facts.missed:
                left, nominal = left + 1, following(facts.timing, nominal)
            if left != {"skip": 0, "last": 1}.get(facts.catch_up):
                raise Violation(f"schedule {e.name} catches up with {facts.catch_up}: all but {left} were skipped")
            self._trace.count(f"caught up: {facts.catch_up}")
        elif e.why != "overlap" or facts.overlap != "skip":
            raise Violation(f"schedule {e.name} skipped {e.first}: {e.why}; its policy is {facts.overlap}")
        elif not facts.waiting and not any(map(self._is_open, facts.live)):
            raise Violation(f"schedule {e.name} skipped {e.first} without an open run")
        self._judge_due(facts, e.due)

    def _run_cancelled(self, e: ev.RunCancelled) -> None:
        schedule = self.runs[e.run].schedule
        if schedule and schedule in self.schedules and self.schedules[schedule].overlap == "replace":
            self._trace.count("schedule replaced a run")
            self.replaced[e.run] = None

    def _run_finished(self, e: ev.RunFinished) -> None:
        run_facts = self.runs[e.run]
        if run_facts.schedule in self.schedules:
            self.schedules[run_facts.schedule].live.pop(e.run, None)

    # -- rules -------------------------------------------------------------------------------------
    def _decide(self, facts: ScheduleFacts, nominal: float, at: float, *, missed: bool) -> None:
        """Record the decision about a nominal time.

        Raises Violation if the time is out of order or in the future, or if `missed` is wrong.
        """
        expected = following(facts.timing, facts.decided)
        if nominal != expected:
            raise Violation(f"schedule {facts.name} decides about {nominal}; next is {expected}")
        if at < nominal - EPSILON:
            raise Violation(f"schedule {facts.name} decides about {nominal} too early, at {at}")
        if missed is not (nominal <= facts.missed) and at - nominal <= LATE_S:
            counted = "counts as missed" if missed else "does not count as missed"
            raise Violation(f"schedule {facts.name}: {nominal} {counted}; the missed times end at {facts.missed}")
        facts.decided = nominal

    def _judge_due(self, facts: ScheduleFacts, due: float) -> None:
        if due != following(facts.timing, facts.decided):
            raise Violation(f"schedule {facts.name} has {due} as its next time instead of {following(facts.timing, facts.decided)}")

    def _is_open(self, run: str) -> bool:
        facts = self._log_oracle
        return any(facts.jobs[number].state not in TERMINAL for number in facts.runs[run])


def following(timing: Timing, after: float) -> float:
    """Return the next nominal time of an interval, or of a cron expression for every n seconds."""
    if timing.cron:
        step = int(timing.cron.partition(" ")[0].removeprefix("*/"))
        assert timing.cron == f"*/{step} * * * * *" and 60 % step == 0 and timing.tz == "UTC", timing
        return float((int(after) // step + 1) * step)
    every, start = round(timing.every_s * 1000), round(timing.start * 1000)
    number = max(0, (after * 1000 - start) // every + 1)
    found = (start + number * every) / 1000
    return found if found > after else (start + (number + 1) * every) / 1000


_READERS: dict[type, Callable[[ScheduleOracle, Any], None]] = {
    ev.MasterStarted: ScheduleOracle._master_started,
    ev.RunSubmitted: ScheduleOracle._run_submitted,
    ev.RunOpened: ScheduleOracle._run_opened,
    ev.JobsRevived: ScheduleOracle._jobs_revived,
    ev.RunSealed: ScheduleOracle._run_sealed,
    ev.RunExpired: ScheduleOracle._run_expired,
    ev.RunCancelled: ScheduleOracle._run_cancelled,
    ev.RunFinished: ScheduleOracle._run_finished,
    ev.JobsDispatched: ScheduleOracle._jobs_moved,
    ev.JobsCompleted: ScheduleOracle._jobs_moved,
    ev.JobsReused: ScheduleOracle._jobs_moved,
    ev.ScheduleAdded: ScheduleOracle._schedule_added,
    ev.ScheduleChanged: ScheduleOracle._schedule_changed,
    ev.ScheduleRemoved: ScheduleOracle._schedule_removed,
    ev.ScheduleFired: ScheduleOracle._schedule_fired,
    ev.ScheduleWaited: ScheduleOracle._schedule_waited,
    ev.ScheduleSkipped: ScheduleOracle._schedule_skipped,
}
