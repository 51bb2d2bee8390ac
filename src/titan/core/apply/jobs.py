"""Writers of events about jobs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from titan.core.apply.transitions import give_back, hush, move, release_lease, rest
from titan.core.events import events as ev
from titan.core.state.state import NO_WORKER, Extra, Past, State, TimerKind
from titan.model.causes import Cause, cause_of_old
from titan.model.dag import HANDLER, waits_for_end
from titan.model.demand import amounts_of, plus
from titan.model.states import JobState, Outcome

WAITING, DELAYED, QUEUED, DISPATCHED, RUNNING = (
    JobState.WAITING,
    JobState.DELAYED,
    JobState.QUEUED,
    JobState.DISPATCHED,
    JobState.RUNNING,
)
BROKEN_ON_KEPT = 8
"""Maximum number of workers recorded per job as having broken its attempts."""
COMPLETED, FAILED, DEAD, CANCELLED = JobState.COMPLETED, JobState.FAILED, JobState.DEAD, JobState.CANCELLED


def _jobs_queued(state: State, e: ev.JobsQueued) -> None:
    jobs, at = state.jobs, e.at
    for i, number in enumerate(e.jobs):
        job = jobs[number]
        assert job.missing == 0 or job.state is not WAITING or job.template.kind == HANDLER, job.name
        move(state, number, job, QUEUED, at)
        job.pin = e.pins[i] if e.pins else NO_WORKER
        job.due, job.queued_at, job.sent_at = 0.0, at, 0.0
        state.enqueue(number, job)


def _jobs_delayed(state: State, e: ev.JobsDelayed) -> None:
    for number, until in zip(e.jobs, e.until, strict=True):
        job = state.jobs[number]
        move(state, number, job, DELAYED, e.at)
        job.due = until
        state.arm(until, TimerKind.JOB, number)


def _jobs_released(state: State, e: ev.JobsReleased) -> None:
    for number in e.jobs:
        job = state.jobs[number]
        if job.state is QUEUED and job.pin != NO_WORKER:
            state.dequeued(job)
            job.pin = NO_WORKER
            state.enqueue(number, job)
        job.note(Past(e.at, job.attempt, e.worker, -1, -1, e.reason, True))


def _jobs_bound(state: State, e: ev.JobsBound) -> None:
    for number, pin in zip(e.jobs, e.pins, strict=True):
        job = state.jobs[number]
        assert job.state is QUEUED and pin != NO_WORKER, job.name
        state.dequeued(job)
        job.pin = pin
        state.enqueue(number, job)


def _jobs_dispatched(state: State, e: ev.JobsDispatched) -> None:
    worker, jobs, lease = state.workers[e.worker], state.jobs, e.first_lease
    assert lease >= state.next_lease, lease
    held, at = worker.held, e.at
    for number in e.jobs:
        job = jobs[number]
        move(state, number, job, DISPATCHED, at)
        job.attempt += 1
        job.worker = e.worker
        job.lease = lease
        job.pin = NO_WORKER
        job.sent_at, job.started_at, job.finished_at = at, 0.0, 0.0
        if job.extra is not None:
            hush(job)
        held[lease] = number
        lease += 1
        if job.template.needs is not None:
            worker.taken = plus(worker.taken, amounts_of(job.template.needs))
        if job.service is not None:
            state.serve(worker, 1)
    state.next_lease = lease
    state.reload(worker)


def _jobs_started(state: State, e: ev.JobsStarted) -> None:
    for number, at in zip(e.jobs, e.ats, strict=True):
        job = state.jobs[number]
        move(state, number, job, RUNNING, at)
        job.started_at = at


def _jobs_completed(state: State, e: ev.JobsCompleted) -> None:
    worker, jobs, at = state.workers[e.worker], state.jobs, e.at
    held = worker.held
    for i, number in enumerate(e.jobs):
        job = jobs[number]
        holder = held.pop(job.lease)
        assert holder == number, job.name
        if worker.recalled:
            worker.recalled.pop(job.lease, None)
        if worker.lent:
            worker.lent.pop(job.lease, None)
        if state.progress:
            state.progress.pop(job.lease, None)
        if job.template.needs is not None:
            give_back(worker, job.lease, job.template.needs)
        move(state, number, job, COMPLETED, at)
        if job.service is not None:
            worker.serving -= 1  # `note_pace` below updates the depth
        job.lease = 0
        job.started_at = e.started[i]
        job.finished_at = e.finished[i]
        job.cpu_s = e.cpu_s[i]
        job.peak_bytes = e.peak_bytes[i]
        job.outcome = Outcome.SUCCEEDED
        job.exit_code = 0
        job.reason = e.reasons[i] if e.reasons else ""
        if e.lost or job.extra is not None:
            job.note_lost(e.lost[i] if e.lost else "")
        if e.values:
            job.value = e.values[i]
        if e.outputs and e.outputs[i]:
            job.extra = job.extra or Extra()
            job.extra.outputs = e.outputs[i]
        if job.children is not None:
            was_ready = job.service is not None and job.service.ready_at > 0
            for child in job.children:
                if not was_ready or waits_for_end(jobs[child].template):
                    jobs[child].missing -= 1
    worker.breaks = 0
    state.note_pace(worker, (sum(e.finished) - sum(e.started)) / len(e.jobs))
    rest(worker, at)
    state.reload(worker)


def _jobs_failed(state: State, e: ev.JobsFailed) -> None:
    worker, blameless = state.workers[e.worker], frozenset(e.blameless)
    for i, number in enumerate(e.jobs):
        job = state.jobs[number]
        release_lease(state, job)
        move(state, number, job, FAILED, e.at)
        if number in blameless:
            job.extra = job.extra or Extra()
            job.extra.breaks += 1
            kept = [known for known in job.extra.broken_on if known != e.worker]
            job.extra.broken_on = (*kept[-BROKEN_ON_KEPT + 1 :], e.worker)
        else:
            job.failures += 1
        job.started_at, job.finished_at = e.started[i], e.finished[i]
        job.cpu_s, job.peak_bytes = e.cpu_s[i], e.peak_bytes[i]
        job.outcome, job.exit_code, job.reason = Outcome(e.outcomes[i]), e.exit_codes[i], e.reasons[i]
        job.note_lost(e.lost[i] if e.lost else "")
        if e.values:
            job.value = e.values[i]
        if job.service is not None and job.outcome is Outcome.REFUSED:
            job.service.refused_by.append(e.worker)
        job.note_attempt(e.finished[i], e.worker, e.outcomes[i], e.exit_codes[i], e.reasons[i])
        job.due = e.retry_at[i]
        if job.due:
            state.arm(job.due, TimerKind.JOB, number)
    worker.breaks = worker.breaks + 1 if len(e.blameless) == len(e.jobs) else 0
    rest(worker, e.at)
    state.reload(worker)


def _jobs_lost(state: State, e: ev.JobsLost) -> None:
    worker = state.workers[e.worker]
    for i, number in enumerate(e.jobs):
        job = state.jobs[number]
        release_lease(state, job)
        move(state, number, job, QUEUED, e.at)
        job.pin = e.pins[i] if e.pins else NO_WORKER
        job.note_attempt(e.at, e.worker, Outcome.RETURNED, -1, e.reason)
        job.queued_at, job.sent_at, job.started_at = e.at, 0.0, 0.0
        hush(job)
        state.enqueue(number, job)
        if job.missing:
            state.unsettled[number] = None
    for number in e.blamed:
        state.jobs[number].losses += 1
        worker.blamed[number] = None
    for number in e.doubted:
        state.jobs[number].add_doubts(1)
        worker.doubted[number] = None
    rest(worker, e.at)
    state.reload(worker)


def _jobs_died(state: State, e: ev.JobsDied) -> None:
    for number in e.jobs:
        job = state.jobs[number]
        if job.lease:
            release_lease(state, job)
            rest(state.workers[job.worker], e.at)
            job.finished_at = e.at
            job.note_attempt(e.at, job.worker, Outcome.BROKEN, -1, e.reason)
            state.reload(state.workers[job.worker])
        move(state, number, job, DEAD, e.at)
        job.pin = NO_WORKER
        if e.reason:
            job.reason = e.reason
        state.dead[number] = None
        if job.children is not None:
            goes_on = job.template.on_failure == "continue"
            for child in job.children:
                entry = state.jobs[child]
                if goes_on or waits_for_end(entry.template):
                    entry.missing -= 1


def _jobs_cancelled(state: State, e: ev.JobsCancelled) -> None:
    cause = Cause(e.cause) if e.cause else cause_of_old(e.reason)
    for number in e.jobs:
        job = state.jobs[number]
        if job.lease:
            worker = state.workers[job.worker]
            worker.ending[job.lease] = None
            release_lease(state, job)
            rest(worker, e.at)
        timed = job.due and job.state in (DELAYED, FAILED)
        move(state, number, job, CANCELLED, e.at)
        if timed:
            state.disarm()
        job.reason, job.cause = e.reason, cause
        job.finished_at = e.at
        if job.children is not None:
            for child in job.children:
                if waits_for_end(state.jobs[child].template):
                    state.jobs[child].missing -= 1


def _jobs_skipped(state: State, e: ev.JobsSkipped) -> None:
    for number in e.jobs:
        job = state.jobs[number]
        move(state, number, job, JobState.SKIPPED, e.at)
        job.reason, job.cause, job.finished_at = e.reason, Cause(e.cause), e.at
        for child in job.children or ():
            if waits_for_end(state.jobs[child].template):
                state.jobs[child].missing -= 1


WRITERS: dict[type, Callable[[State, Any], None]] = {
    ev.JobsQueued: _jobs_queued,
    ev.JobsDelayed: _jobs_delayed,
    ev.JobsReleased: _jobs_released,
    ev.JobsBound: _jobs_bound,
    ev.JobsDispatched: _jobs_dispatched,
    ev.JobsStarted: _jobs_started,
    ev.JobsCompleted: _jobs_completed,
    ev.JobsFailed: _jobs_failed,
    ev.JobsLost: _jobs_lost,
    ev.JobsDied: _jobs_died,
    ev.JobsCancelled: _jobs_cancelled,
    ev.JobsSkipped: _jobs_skipped,
}
