"""Check of Titan's guarantees about the progress, statuses and results that jobs report.

- A recorded report came from the current attempt.
- A recorded report is never older than the report that was recorded before it.
- In the end the last report is recorded. This is checked only if the network loses no messages.
"""

from __future__ import annotations

from titan.core.events import events as ev
from titan.core.state.state import State
from titan.model.states import JobState
from titan.sim.oracle.ledger import ON_WORKER
from titan.sim.oracle.log import LogOracle
from titan.sim.oracle.processes import Host, ProcessOracle, Violation
from titan.sim.scenario import Faults
from titan.sim.trace import short


class ReportOracle:
    def __init__(self, log_oracle: LogOracle, process_oracle: ProcessOracle, faults: Faults) -> None:
        """Set up the oracle for the faults of the scenario."""
        self._log_oracle = log_oracle
        self._process_oracle = process_oracle
        self._lossy = faults.loss > 0.0
        late = (3 * faults.stall_s if faults.stall else 0.0) + (faults.spike_s if faults.spike else 0.0)
        self._patience_s = 2.0 + late
        """Time within which a report reaches the master if the connection is open."""
        self._statuses: dict[int, str] = {}
        """Job -> its durable status."""
        self._status_count: dict[int, int] = {}
        """Lease -> position of its durable status among the statuses that it reported, counted from
        1."""
        self._progress_count: dict[int, int] = {}
        """Lease -> position of the progress in the master's memory among the progress reports of
        the lease, counted from 1."""

    # -- the log -----------------------------------------------------------------------------------
    def record(self, event: ev.Event) -> None:
        """Check a durable event. This must happen before `LogOracle` records it."""
        match event:
            case ev.StatusReported(jobs, texts):
                for number, text in zip(jobs, texts, strict=True):
                    self._on_status(number, text)
            case ev.JobsDispatched(jobs=jobs) | ev.JobsLost(jobs=jobs) | ev.JobsRevived(jobs=jobs) | ev.JobsReused(jobs=jobs):
                for number in jobs:
                    self._statuses.pop(number, None)
            case ev.ServiceReplaced(job=number):
                if self._log_oracle.jobs[number].lease:
                    self._statuses.pop(number, None)
            case ev.JobsCompleted():
                self._on_completed(event)

    def _on_status(self, number: int, text: str) -> None:
        job = self._log_oracle.jobs[number]
        if job.state not in ON_WORKER:
            raise Violation(f"{job.where} is {job.state.name} and has the status {text!r}")
        reported = self._process_oracle.reports_of(job.lease).statuses
        if text not in reported:
            raise Violation(f"{job.where} has the status {text!r}; its lease {short(job.lease)} reported {reported}")
        count = reported.index(text) + 1
        if count <= self._status_count.get(job.lease, 0):
            raise Violation(f"{job.where} has the status {text!r} again, after {reported[self._status_count[job.lease] - 1]!r}")
        self._status_count[job.lease] = count
        self._statuses[number] = text

    def _on_completed(self, e: ev.JobsCompleted) -> None:
        for i, number in enumerate(e.jobs):
            job = self._log_oracle.jobs[number]
            reports, value = self._process_oracle.reports_of(job.lease), e.values[i] if e.values else b""
            last, recorded = reports.statuses[-1] if reports.statuses else "", self._statuses.get(number, "")
            if recorded != last and not self._lossy:
                raise Violation(f"{job.where} is COMPLETED with the status {recorded!r}; its last report is {last!r}")
            if value != reports.value and not job.template.function:
                raise Violation(f"{job.where} is COMPLETED with the value {value!r}; it last set {reports.value!r}")

    # -- a master ----------------------------------------------------------------------------------
    def judge_turn(self, state: State) -> None:
        """Check the progress reports in a master's memory after a turn."""
        for lease, row in state.progress.items():
            job, reported = state.jobs.get(self._log_oracle.leases[lease].job), self._process_oracle.reports_of(lease).progress
            if job is None or job.lease != lease or job.state not in ON_WORKER:
                raise Violation(f"the master has progress of lease {short(lease)}, which is not current")
            if row not in reported:
                raise Violation(f"{job.run.id}/{job.name} has the progress {row}; its lease {short(lease)} reported {reported}")
            count = reported.index(row) + 1
            if count < self._progress_count.get(lease, 0):
                newer = reported[self._progress_count[lease] - 1]
                raise Violation(f"{job.run.id}/{job.name} has the progress {row} after {newer}")
            self._progress_count[lease] = count

    def judge_agreement(self, state: State) -> None:
        """Check the statuses and values of a durable state against the log."""
        facts = self._log_oracle
        for number, job in state.jobs.items():
            logged = facts.jobs.get(number)
            if logged is None:
                continue  # its run is not submitted completely yet
            status = self._statuses.get(number, "")
            if job.status != status:
                raise Violation(f"{logged.where} has the status {job.status!r} in the master and {status!r} in the log")
            if logged.state is JobState.COMPLETED and job.value != logged.value:
                raise Violation(f"{logged.where} has the value {job.value!r} in the master and {logged.value!r} in the log")

    def judge_settled(self, state: State, host: Host, connected_s: float, now: float) -> None:
        """Check that a master knows the last reports of the jobs on a worker.

        The worker of `host` has been connected to the master for `connected_s`.
        """
        if self._lossy or connected_s < self._patience_s:
            return
        long_ago = now - self._patience_s
        for lease, process in self._process_oracle.live.items():
            reports = self._process_oracle.reports.get(lease)
            facts = self._log_oracle.leases.get(lease)
            job = state.jobs.get(facts.job) if facts is not None else None
            if process.host is not host or reports is None or job is None or job.lease != lease:
                continue
            where = f"{process.run}/{process.job}, connected for {connected_s:.1f} s,"
            if reports.progress and reports.progress_at < long_ago and state.progress.get(lease) != reports.progress[-1]:
                raise Violation(
                    f"{where} has the progress {state.progress.get(lease)} in the master; its last report is {reports.progress[-1]}"
                )
            if reports.statuses and reports.status_at < long_ago and job.status != reports.statuses[-1]:
                raise Violation(f"{where} has the status {job.status!r} in the master; its last report is {reports.statuses[-1]!r}")
