"""Writers of events about gates and the dead letter queue."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from titan.core.apply.transitions import move, revive
from titan.core.events import events as ev
from titan.core.state import snapshot
from titan.core.state.run import MAX_EARLIER_RETRIES
from titan.core.state.state import NO_WORKER, TOKENS_LIMIT, Extra, GateFacts, Job, Past, State, TimerKind
from titan.model.causes import Cause
from titan.model.dag import waits_for_end
from titan.model.states import JobState, RunState


def _run_restored(state: State, e: ev.RunRestored) -> None:
    assert e.run not in state.runs, e.run
    before = state.next_job
    snapshot.load(state, e.chunks)
    run = state.runs[e.run]
    state.tables.add(run)
    assert max((part.stop for part in run.ranges(0, run.count)), default=0) <= before, run.id
    for number in run.numbers():
        job = state.jobs[number]
        # A number from another journal names no worker here. A forgotten worker keeps its number.
        if job.worker >= state.next_worker:
            job.worker = NO_WORKER
        if job.in_dlq:
            state.dead[number] = None
        state.index_gate(number, job)
    if run.key and run.key in state.keys:
        run.key = ""
    elif run.key:
        state.archived.pop(run.key, None)
        state.keys[run.key] = run.id


def _jobs_revived(state: State, e: ev.JobsRevived) -> None:
    run = state.runs[e.run]
    for i, number in enumerate(e.jobs):
        job = state.jobs[number]
        dead = job.state is JobState.DEAD
        assert dead == (i < e.retried), job.name
        # Jobs that wait for its end, and children that went on without it, must wait for it again.
        goes_on = job.state is JobState.COMPLETED or (dead and job.template.on_failure == "continue")
        for child in job.children or ():
            entry = state.jobs[child]
            if goes_on or waits_for_end(entry.template):
                entry.missing += 1
                if job.service is not None:
                    state.unsettled[child] = None  # `hold` moves the child to WAITING unless it is dispatched
        was = job.state
        stopped = was is JobState.COMPLETED
        revive(state, number, job, e.at)
        if job.service is not None:
            job.service.refused_by.clear()
            job.service.ready_at = 0.0  # `ready_at` is still set if the service ended by itself
        state.dead.pop(number, None)
        if dead:
            job.note(Past(e.at, job.attempt, NO_WORKER, -1, -1, f"taken off the dead letter queue by {e.by}: {job.reason}"))
            _forgive(job)
        elif stopped:
            job.note(Past(e.at, job.attempt, NO_WORKER, -1, -1, "restarted: a retried job depends on this service"))
        else:
            job.note(Past(e.at, job.attempt, NO_WORKER, -1, -1, f"waits again: it was {was.name} because {job.reason}"))
        job.reason, job.cause, job.finished_at, job.due = "", Cause.NONE, 0.0, 0.0
        job.note_lost("")
    for worker in state.workers.values():
        for counted in (worker.blamed, worker.doubted):
            if counted:
                for number in e.jobs[: e.retried]:
                    counted.pop(number, None)
    run.state, run.finished_at = RunState.RUNNING, 0.0
    run.deadline_s, run.expired = 0.0, False  # the user who retries decides how long the run may take
    if run.schedule:
        state.live.setdefault(run.schedule, {})[run.id] = None
    run.changes += 1
    if run.retried[0]:
        run.earlier_retries = (*run.earlier_retries, run.retried)[-MAX_EARLIER_RETRIES:]
    run.retried = (e.key, e.retried, len(e.jobs) - e.retried)


def _forgive(job: Job) -> None:
    job.failures = job.losses = 0
    if job.extra is not None:
        job.extra.breaks, job.extra.broken_on = 0, ()
    job.value = b""
    if job.extra is not None:
        job.extra.doubts, job.extra.purged = 0, False


def _dead_purged(state: State, e: ev.DeadPurged) -> None:
    for number in e.dead:
        job = state.jobs[number]
        job.run.changes += 1
        assert job.in_dlq, job.name
        del state.dead[number]
        job.extra = job.extra or Extra()
        job.extra.purged = True
        job.note(Past(e.at, job.attempt, NO_WORKER, -1, -1, "purged from the dead letter queue"))


def _gates_opened(state: State, e: ev.GatesOpened) -> None:
    for number, until in zip(e.jobs, e.until, strict=True):
        job = state.jobs[number]
        move(state, number, job, JobState.PAUSED, e.at)
        state.gates[number] = None
        job.extra = job.extra or Extra()
        job.extra.gate = GateFacts(e.at, until)
        job.note(Past(e.at, 0, NO_WORKER, -1, -1, "the gate opened"))
        job.due = until
        state.arm(until, TimerKind.JOB, number)


def gate_facts(job: Job) -> GateFacts:
    """Return the facts of a gate that has opened."""
    assert job.extra is not None and job.extra.gate is not None, job.name
    return job.extra.gate


def _token_issued(state: State, e: ev.TokenIssued) -> None:
    tokens = gate_facts(state.jobs[e.job]).tokens
    tokens.append(e.digest)
    state.tokens[e.digest] = e.job
    if len(tokens) > TOKENS_LIMIT:
        del state.tokens[tokens.pop(0)]


def _webhook_ended(state: State, e: ev.WebhookEnded) -> None:
    job = state.jobs[e.job]
    gate_facts(job).webhook = e.result
    note = "its webhook was delivered" if e.result == "delivered" else f"its webhook was given up: {e.result}"
    job.note(Past(e.at, 0, NO_WORKER, -1, -1, note))


def _gates_decided(state: State, e: ev.GatesDecided) -> None:
    for number in e.jobs:
        job = state.jobs[number]
        move(state, number, job, JobState.COMPLETED if e.approved else JobState.CANCELLED, e.at)
        facts = gate_facts(job)
        facts.decided_at, facts.approved, facts.by, facts.comment, facts.key = e.at, e.approved, e.by, e.comment, e.key
        decision = f"{'approved' if e.approved else 'rejected'} by {e.by or 'the clock'}"
        decision += f": {' '.join(e.comment.split())}" if e.comment else ""
        job.note(Past(e.at, 0, NO_WORKER, -1, -1, decision))
        job.reason, job.cause = decision, Cause.NONE if e.approved else Cause.REJECTED
        job.finished_at = e.at
        for child in job.children or ():
            if e.approved or waits_for_end(state.jobs[child].template):
                state.jobs[child].missing -= 1


WRITERS: dict[type, Callable[[State, Any], None]] = {
    ev.RunRestored: _run_restored,
    ev.JobsRevived: _jobs_revived,
    ev.DeadPurged: _dead_purged,
    ev.GatesOpened: _gates_opened,
    ev.TokenIssued: _token_issued,
    ev.WebhookEnded: _webhook_ended,
    ev.GatesDecided: _gates_decided,
}
