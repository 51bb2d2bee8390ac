"""The judge of what jobs say of themselves: what is shown was said by the attempt that is current,
is never older than what was shown before, and is in the end the last that was said.

What messages say of that is judged whatever is lost; that the last of it arrives only where the
network loses nothing that it took.
"""

from __future__ import annotations

from titan.core.events import events as ev
from titan.core.state.state import State
from titan.model.states import JobState
from titan.sim.oracle.ledger import ON_WORKER
from titan.sim.oracle.log import LogOracle
from titan.sim.oracle.processes import Host, Truth, Violation
from titan.sim.scenario import Faults
from titan.sim.trace import short


class ReportOracle:
    def __init__(self, log_oracle: LogOracle, truth: Truth, faults: Faults) -> None:
        """`faults`: those of the scenario."""
        self._chronicle = log_oracle
        self._truth = truth
        self._lossy = faults.loss > 0.0
        late = (3 * faults.stall_s if faults.stall else 0.0) + (faults.spike_s if faults.spike else 0.0)
        self._patience_s = 2.0 + late
        """By then all that was said on a connection has come to the master."""
        self._statuses: dict[int, str] = {}
        """By job, durably."""
        self._shown: dict[int, int] = {}
        """How many statuses of a lease are overtaken, or durable."""
        self._seen: dict[int, int] = {}
        """The same of its progress, in the memory of masters."""

    # -- the log -----------------------------------------------------------------------------------
    def record(self, event: ev.Event) -> None:
        """The event is durable, and the log_oracle has not read it yet."""
        match event:
            case ev.StatusReported(jobs, texts):
                for number, text in zip(jobs, texts, strict=True):
                    self._on_status(number, text)
            case ev.JobsDispatched(jobs=jobs) | ev.JobsLost(jobs=jobs) | ev.JobsRevived(jobs=jobs):
                for number in jobs:
                    self._statuses.pop(number, None)
            case ev.ServiceReplaced(job=number):
                if self._chronicle.jobs[number].lease:
                    self._statuses.pop(number, None)
            case ev.JobsCompleted():
                self._on_completed(event)

    def _on_status(self, number: int, text: str) -> None:
        job = self._chronicle.jobs[number]
        if job.state not in ON_WORKER:
            raise Violation(f"{job.where} is {job.state.name} and has the status {text!r}")
        said = self._truth.said_by(job.lease).statuses
        if text not in said:
            raise Violation(f"{job.where} has the status {text!r}; its lease {short(job.lease)} said {said}")
        place = said.index(text) + 1
        if place <= self._shown.get(job.lease, 0):
            raise Violation(f"{job.where} has the status {text!r} again, after {said[self._shown[job.lease] - 1]!r}")
        self._shown[job.lease] = place
        self._statuses[number] = text

    def _on_completed(self, e: ev.JobsCompleted) -> None:
        for i, number in enumerate(e.jobs):
            job = self._chronicle.jobs[number]
            said, value = self._truth.said_by(job.lease), e.values[i] if e.values else b""
            last, shown = said.statuses[-1] if said.statuses else "", self._statuses.get(number, "")
            if shown != last and not self._lossy:
                raise Violation(f"{job.where} is COMPLETED with the status {shown!r}; the last that it said is {last!r}")
            if value != said.value and not job.template.function:
                raise Violation(f"{job.where} is COMPLETED with the value {value!r}; it last set {said.value!r}")

    # -- a master ----------------------------------------------------------------------------------
    def judge_turn(self, state: State) -> None:
        """A master has taken a turn."""
        for lease, row in state.progress.items():
            job, said = state.jobs.get(self._chronicle.leases[lease].job), self._truth.said_by(lease).progress
            if job is None or job.lease != lease or job.state not in ON_WORKER:
                raise Violation(f"the progress of lease {short(lease)} is kept, which is not current")
            if row not in said:
                raise Violation(f"{job.run.id}/{job.name} is told to be at {row}; its lease {short(lease)} said {said}")
            place = said.index(row) + 1
            if place < self._seen.get(lease, 0):
                raise Violation(f"{job.run.id}/{job.name} is told to be at {row} after {said[self._seen[lease] - 1]}")
            self._seen[lease] = place

    def judge_agreement(self, state: State) -> None:
        """Of a state that is durable."""
        facts = self._chronicle
        for number, job in state.jobs.items():
            told = facts.jobs.get(number)
            if told is None:
                continue  # its run is not whole yet
            status = self._statuses.get(number, "")
            if job.status != status:
                raise Violation(f"{told.where} has the status {job.status!r} for the master and {status!r} in the log")
            if told.state is JobState.COMPLETED and job.value != told.value:
                raise Violation(f"{told.where} has the value {job.value!r} for the master and {told.value!r} in the log")

    def judge_settled(self, state: State, host: Host, connected_s: float, now: float) -> None:
        """A worker has been connected to the master that has this state for that long: what its
        jobs last said is known there."""
        if self._lossy or connected_s < self._patience_s:
            return
        long_ago = now - self._patience_s
        for lease, process in self._truth.live.items():
            said = self._truth.said.get(lease)
            facts = self._chronicle.leases.get(lease)
            job = state.jobs.get(facts.job) if facts is not None else None
            if process.host is not host or said is None or job is None or job.lease != lease:
                continue
            where = f"{process.run}/{process.job}, connected for {connected_s:.1f} s,"
            if said.progress and said.progress_at < long_ago and state.progress.get(lease) != said.progress[-1]:
                raise Violation(f"{where} is at {state.progress.get(lease)} for the master; it last said {said.progress[-1]}")
            if said.statuses and said.status_at < long_ago and job.status != said.statuses[-1]:
                raise Violation(f"{where} has the status {job.status!r} for the master; it last said {said.statuses[-1]!r}")
