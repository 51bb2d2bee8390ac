"""Rules of `LogOracle` for events about services."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from titan.core.events import events as ev
from titan.model.states import JobState
from titan.sim.oracle.ledger import TERMINAL, Ledger
from titan.sim.oracle.processes import Violation
from titan.sim.oracle.records import JobFacts
from titan.sim.trace import short


def _services_reported(ledger: Ledger, e: ev.ServicesReported) -> None:
    for i, number in enumerate(e.jobs):
        job = ledger.jobs[number]
        if not job.is_service or job.state is not JobState.RUNNING or ledger.leases[job.lease].worker != e.worker:
            raise Violation(f"{job.where} is {job.state.name} and reported as a service of worker {e.worker}")
        if (job.lease, e.serials[i]) <= job.serial:
            raise Violation(f"{job.where}: report {e.serials[i]} of {short(job.lease)} came after {job.serial}")
        job.serial = (job.lease, e.serials[i])
        if e.ready_ats[i] and e.ready_ats[i] not in ledger.process_oracle.healthy.get(job.lease, ()):
            raise Violation(f"{job.where} is recorded as READY at {e.ready_ats[i]}, but no check found it healthy then")
        if job.old_lease and not e.ready_ats[i]:
            continue
        was, job.ready, job.address, job.old_lease = job.ready, e.ready_ats[i] > 0, e.addresses[i], 0
        if job.ready:
            ledger.trace.count("service READY")
            job.failures.clear()
            if not was:
                ledger.unlock(job, e.at)


def _services_stopped(ledger: Ledger, e: ev.ServicesStopped) -> None:
    for number in e.jobs:
        job = ledger.jobs[number]
        if not job.is_service or job.state in TERMINAL:
            raise Violation(f"{job.where} is {job.state.name} and was stopped as a service")
        waiting = _waits_for_the_end(ledger, job)
        job.state, job.lease, job.ready, job.old_lease = JobState.COMPLETED, 0, False, 0
        job.stopped_by_user = e.by_user
        others = [ledger.jobs[n] for n in ledger.runs[job.run] if not ledger.jobs[n].is_service]
        open_ = [other.name for other in others if other.state not in TERMINAL and not _waits_for_the_end(ledger, other)]
        has_users = any(not ledger.jobs[child].awaits_ends for child in job.children)
        keep = job.template.service is None or job.template.service.keep or not has_users
        if not job.stopped_by_user and (open_ or keep):
            raise Violation(f"{job.where} was stopped too early; keep: {keep}; jobs that need it: {open_}")
        if not job.stopped_by_user and waiting:
            raise Violation(f"{job.where} was stopped and COMPLETED while it waited for the end of services")
        ledger.unlock(job, e.at)


def _waits_for_the_end(ledger: Ledger, job: JobFacts) -> bool:
    """Return whether the job waits for the end of services, or depends on such a job."""
    parents = [ledger.jobs[parent] for parent in job.parents]
    if job.state is not JobState.WAITING:
        return False
    if job.awaits_ends:
        return any(parent.is_service or _waits_for_the_end(ledger, parent) for parent in parents)
    return any(_waits_for_the_end(ledger, parent) for parent in parents)


def _service_replaced(ledger: Ledger, e: ev.ServiceReplaced) -> None:
    job = ledger.jobs[e.job]
    if not job.is_service or job.state in TERMINAL:
        raise Violation(f"{job.where} is {job.state.name} and was replaced as a service")
    job.template = e.template
    job.failures.clear()
    if not job.lease:
        return
    if e.rolling and (not job.ready or job.old_lease):
        raise Violation(f"{job.where} keeps its old attempt during its replacement, and is not READY")
    if e.rolling:
        job.old_lease = job.lease
        ledger.trace.count("rolling replacement")
    ledger.end_lease(job, 0, JobState.QUEUED)
    job.released_from = 0


def _services_retired(ledger: Ledger, e: ev.ServicesRetired) -> None:
    for lease in e.leases:
        job = ledger.jobs[ledger.leases[lease].job]
        if job.old_lease != lease:
            raise Violation(f"{job.where}: lease {short(lease)} is retired and was not being replaced")
        job.old_lease, job.ready = 0, False


def _jobs_held(ledger: Ledger, e: ev.JobsHeld) -> None:
    for number in e.jobs:
        job = ledger.jobs[number]
        ledger.transition(job, JobState.WAITING, JobState.QUEUED, JobState.DELAYED, JobState.FAILED)
        job.due = 0.0
        ledger.trace.count("held for a service")
        if all(ledger.jobs[parent].is_done for parent in job.parents):
            raise Violation(f"{job.where} waits again although all its parents are done")


READERS: dict[type, Callable[[Ledger, Any], None]] = {
    ev.ServicesReported: _services_reported,
    ev.ServicesStopped: _services_stopped,
    ev.ServiceReplaced: _service_replaced,
    ev.ServicesRetired: _services_retired,
    ev.JobsHeld: _jobs_held,
}
