"""Writers of events about services and the jobs that wait for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from titan.core.apply.transitions import count_missing, end_old, hush, move, release_lease, rest
from titan.core.events import events as ev
from titan.core.state.state import NO_WORKER, Past, State
from titan.model.dag import waits_for_end
from titan.model.states import JobState, Outcome


def _services_reported(state: State, e: ev.ServicesReported) -> None:
    for i, number in enumerate(e.jobs):
        job = state.jobs[number]
        s = job.service
        assert s is not None and state.workers[e.worker].held.get(job.lease) == number, job.name
        if s.lease != job.lease:
            assert not s.ready_at or s.old_lease, job.name
            s.earlier += s.restarts
            s.lease = job.lease
        was, now = s.ready_at > 0, e.ready_ats[i] > 0
        s.serial, s.restarts, s.reason = e.serials[i], e.restarts[i], e.reasons[i]
        s.next_start = e.next_starts[i] if e.next_starts else 0.0
        if s.old_lease and not now:
            continue  # the service counts as READY because its old attempt is still READY
        replaced = bool(s.old_lease)
        s.ready_at, s.address = e.ready_ats[i], e.addresses[i] or s.address
        end_old(state, job)
        if now:
            job.failures = 0
            s.refused_by.clear()
        if was != now:
            count_missing(state, job, -1 if now else 1)
        if was != now or replaced:
            note = f"READY at {s.address}" if now else f"not READY: {s.reason}"
            job.note(Past(e.ready_ats[i] or e.at, job.attempt, e.worker, -1, -1, note))


def _services_stopped(state: State, e: ev.ServicesStopped) -> None:
    for number in e.jobs:
        job = state.jobs[number]
        assert job.service is not None, job.name
        if job.lease:
            state.workers[job.worker].ending[job.lease] = None
            release_lease(state, job)
            rest(state.workers[job.worker], e.at)
        if job.due > e.at:
            state.disarm()
        done = job.is_done
        move(state, number, job, JobState.COMPLETED, e.at)
        if not done:
            count_missing(state, job, -1)
        for child in job.children or ():
            if waits_for_end(state.jobs[child].template):
                state.jobs[child].missing -= 1
        job.service.ready_at = 0.0
        job.outcome, job.exit_code, job.reason = Outcome.SUCCEEDED, -1, e.reason
        job.finished_at, job.due, job.pin = e.at, 0.0, NO_WORKER


def _service_replaced(state: State, e: ev.ServiceReplaced) -> None:
    job = state.jobs[e.job]
    s = job.service
    assert s is not None, job.name
    if e.template != job.template:
        # not appended in place: the run may share this list with the event that created it, and
        # events must not change
        job.run.templates = [*job.run.templates, e.template]
        job.template = e.template
    job.args = e.args
    job.note(Past(e.at, job.attempt, job.worker, -1, -1, e.reason))
    job.failures = 0
    s.refused_by.clear()
    if not job.lease:
        return
    worker = state.workers[job.worker]
    if e.rolling:
        assert s.ready_at and not s.old_lease and job.state is JobState.RUNNING, job.name
        worker.retiring[job.lease] = e.job
        s.old_lease, s.old_worker = job.lease, job.worker
    else:
        worker.ending[job.lease] = None
    release_lease(state, job)
    if e.rolling:
        state.serve(worker, 1)
    rest(worker, e.at)
    move(state, e.job, job, JobState.QUEUED, e.at)
    job.pin, job.started_at = e.pin, 0.0
    hush(job)
    state.enqueue(e.job, job)
    if job.missing:
        state.unsettled[e.job] = None


def _services_retired(state: State, e: ev.ServicesRetired) -> None:
    worker = state.workers[e.worker]
    for lease in e.leases:
        job = state.jobs[worker.retiring.pop(lease)]
        s = job.service
        assert s is not None and s.old_lease == lease, job.name
        s.old_lease, s.ready_at = 0, 0.0
        state.serve(worker, -1)
        count_missing(state, job, 1)
        job.note(Past(e.at, job.attempt, e.worker, -1, -1, "the old process ended before its replacement was READY"))
    if worker.fenced:
        worker.taken = state.count_taken(worker)
    rest(worker, e.at)
    state.reload(worker)


def _jobs_held(state: State, e: ev.JobsHeld) -> None:
    for number in e.jobs:
        job = state.jobs[number]
        assert job.missing, job.name
        if job.due > e.at:
            state.disarm()
        move(state, number, job, JobState.WAITING, e.at)
        job.pin, job.due = NO_WORKER, 0.0


WRITERS: dict[type, Callable[[State, Any], None]] = {
    ev.ServicesReported: _services_reported,
    ev.ServicesStopped: _services_stopped,
    ev.ServiceReplaced: _service_replaced,
    ev.ServicesRetired: _services_retired,
    ev.JobsHeld: _jobs_held,
}
