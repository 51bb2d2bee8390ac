"""`apply(state, event)`: the only writer. Live and in recovery the same.

Every function here takes a decision as given; it asserts what must hold (an impossible transition raises Bug with the job's
story) and never decides.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from titan.core import events as ev
from titan.core.state import ARCHIVED_LIMIT, NO_WORKER, TIMER_JOB, Job, Opening, Past, Run, State, Worker
from titan.core.story import story
from titan.errors import Bug
from titan.model.states import ALLOWED, JobState, Outcome, RunState, WorkerState

WAITING, DELAYED, QUEUED, DISPATCHED, RUNNING = (
    JobState.WAITING,
    JobState.DELAYED,
    JobState.QUEUED,
    JobState.DISPATCHED,
    JobState.RUNNING,
)
COMPLETED, FAILED, DEAD, CANCELLED = JobState.COMPLETED, JobState.FAILED, JobState.DEAD, JobState.CANCELLED


def apply(state: State, event: ev.Event) -> None:
    _WRITERS[type(event)](state, event)


def _move(state: State, number: int, job: Job, new: JobState, at: float) -> None:
    old = job.state
    if not ALLOWED[old] >> new & 1:
        told = "\n  ".join(story(state, number))
        raise Bug(f"job {job.run.id}/{job.name} cannot go from {old.name} to {new.name}; its story:\n  {told}")
    if old is QUEUED:
        state.dequeued(job)
    tally = job.run.tally
    tally[old] -= 1
    tally[new] += 1
    job.state = new
    job.since = at


def _release_lease(state: State, job: Job) -> None:
    """The attempt is over: its worker no longer holds it."""
    worker = state.workers[job.worker]
    del worker.held[job.lease]
    worker.recalled.pop(job.lease, None)
    job.lease = 0


# -- master ----------------------------------------------------------------------------------------------------------
def _master_started(state: State, e: ev.MasterStarted) -> None:
    assert e.term > state.term, "terms only grow"
    state.term = e.term
    state.cluster = e.cluster
    state.next_job = state.next_lease = e.term << 32
    for worker in state.workers.values():
        worker.connection = 0
        if worker.state in (WorkerState.ALIVE, WorkerState.SUSPECT):
            worker.state = WorkerState.SUSPECT
            worker.heard_at = e.at
            worker.deadline = e.at + state.settings.loss_s
            state.watch(worker)
        state.seat(worker)


# -- runs ------------------------------------------------------------------------------------------------------------
def _run_submitted(state: State, e: ev.RunSubmitted) -> None:
    run = Run(e.run, e.key, e.name, e.version, e.templates, e.first_job, len(e.ids), e.at)
    _enter_run(state, run)
    _add_jobs(state, run, 0, e)
    _seal(state, run)


def _run_opened(state: State, e: ev.RunOpened) -> None:
    run = Run(e.run, e.key, e.name, e.version, e.templates, e.first_job, e.count, e.at, RunState.OPENING, added=0)
    _enter_run(state, run)
    state.opening[run.id] = Opening(run, set())


def _jobs_added(state: State, e: ev.JobsAdded) -> None:
    run = state.runs[e.run]
    assert run.state is RunState.OPENING and run.added + len(e.ids) <= run.count, run.id
    _add_jobs(state, run, run.added, e)
    run.added += len(e.ids)
    opening = state.opening.get(run.id)
    if opening is not None:
        opening.ids.update(e.ids)


def _run_sealed(state: State, e: ev.RunSealed) -> None:
    run = state.runs[e.run]
    assert run.added == run.count, run.id
    run.state, run.added, run.submitted_at = RunState.RUNNING, -1, e.at
    state.opening.pop(run.id, None)
    _seal(state, run)


def _run_dropped(state: State, e: ev.RunDropped) -> None:
    run = state.runs.pop(e.run)
    assert run.state is RunState.OPENING, run.id
    state.opening.pop(run.id, None)
    for number in range(run.first, run.first + run.added):
        del state.jobs[number]


def _run_archived(state: State, e: ev.RunArchived) -> None:
    run = state.runs.pop(e.run)
    assert run.state not in (RunState.RUNNING, RunState.OPENING), run.id
    for number in range(run.first, run.first + run.count):
        del state.jobs[number]
        state.dead.pop(number, None)
    state.forget_names(run)
    if run.key:
        del state.keys[run.key]
        state.archived[run.key] = (run.id, run.count)
        if len(state.archived) > ARCHIVED_LIMIT:
            del state.archived[next(iter(state.archived))]


def _roots_released(state: State, e: ev.RootsReleased) -> None:
    if e.position >= state.runs[e.run].count:
        del state.releasing[e.run]
    else:
        state.releasing[e.run] = e.position


def _enter_run(state: State, run: Run) -> None:
    assert run.id not in state.runs and run.first >= state.next_job, run.id
    state.runs[run.id] = run
    state.next_job = run.first + run.count


def _seal(state: State, run: Run) -> None:
    if run.key:
        state.keys[run.key] = run.id
    state.releasing[run.id] = 0


def _add_jobs(state: State, run: Run, position: int, e: ev.RunSubmitted | ev.JobsAdded) -> None:
    """Jobs from `position` on, in columns."""
    jobs, base, first, templates = state.jobs, run.first, run.first + position, run.templates
    run.tally[WAITING] += len(e.ids)
    for i, name in enumerate(e.ids):
        parents = e.parents[i]
        if parents:
            parents = tuple([base + p for p in parents])
        jobs[first + i] = Job(name, run, templates[e.template_of[i]], e.args[i], parents, len(parents), since=e.at)
    for i, payload in enumerate(e.payloads):
        jobs[first + i].payload = payload
    for i, positions in enumerate(e.parents):
        for p in positions:
            parent = jobs[base + p]
            if parent.children is None:
                parent.children = []
            parent.children.append(first + i)


def _run_cancelled(state: State, e: ev.RunCancelled) -> None:
    state.runs[e.run].cancelled = True


def _run_finished(state: State, e: ev.RunFinished) -> None:
    run = state.runs[e.run]
    assert run.open == 0 and run.state is RunState.RUNNING, run.id
    run.state = RunState(e.state)
    run.finished_at = e.at


# -- jobs ------------------------------------------------------------------------------------------------------------
def _jobs_queued(state: State, e: ev.JobsQueued) -> None:
    jobs, at = state.jobs, e.at
    for i, number in enumerate(e.jobs):
        job = jobs[number]
        assert job.missing == 0, job.name
        _move(state, number, job, QUEUED, at)
        job.pin = e.pins[i] if e.pins else NO_WORKER
        job.due = 0.0
        state.enqueue(number, job)


def _jobs_delayed(state: State, e: ev.JobsDelayed) -> None:
    for number, until in zip(e.jobs, e.until, strict=True):
        job = state.jobs[number]
        _move(state, number, job, DELAYED, e.at)
        job.due = until
        state.arm(until, TIMER_JOB, number)


def _jobs_released(state: State, e: ev.JobsReleased) -> None:
    for number in e.jobs:
        job = state.jobs[number]
        if job.state is QUEUED and job.pin != NO_WORKER:
            state.dequeued(job)
            job.pin = NO_WORKER
            state.enqueue(number, job)
        job.note(Past(e.at, job.attempt, e.worker, -1, -1, e.reason))


def _jobs_dispatched(state: State, e: ev.JobsDispatched) -> None:
    worker, jobs, lease = state.workers[e.worker], state.jobs, e.first_lease
    assert lease >= state.next_lease, lease
    held, at = worker.held, e.at
    for number in e.jobs:
        job = jobs[number]
        _move(state, number, job, DISPATCHED, at)
        job.attempt += 1
        job.worker = e.worker
        job.lease = lease
        job.pin = NO_WORKER
        job.started_at = job.finished_at = 0.0
        held[lease] = number
        lease += 1
    state.next_lease = lease
    state.reload(worker)


def _jobs_started(state: State, e: ev.JobsStarted) -> None:
    for number, at in zip(e.jobs, e.ats, strict=True):
        job = state.jobs[number]
        _move(state, number, job, RUNNING, at)
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
        _move(state, number, job, COMPLETED, at)
        job.lease = 0
        job.started_at = e.started[i]
        job.finished_at = e.finished[i]
        job.cpu_s = e.cpu_s[i]
        job.peak_bytes = e.peak_bytes[i]
        job.outcome = Outcome.SUCCEEDED
        job.exit_code = 0
        job.reason = ""
        if e.values:
            job.value = e.values[i]
        if job.children is not None:
            for child in job.children:
                jobs[child].missing -= 1
    state.note_pace(worker, (sum(e.finished) - sum(e.started)) / len(e.jobs))
    state.reload(worker)


def _jobs_failed(state: State, e: ev.JobsFailed) -> None:
    worker = state.workers[e.worker]
    for i, number in enumerate(e.jobs):
        job = state.jobs[number]
        _release_lease(state, job)
        _move(state, number, job, FAILED, e.at)
        job.failures += 1
        job.started_at, job.finished_at = e.started[i], e.finished[i]
        job.cpu_s, job.peak_bytes = e.cpu_s[i], e.peak_bytes[i]
        job.outcome, job.exit_code, job.reason = Outcome(e.outcomes[i]), e.exit_codes[i], e.reasons[i]
        if e.values:
            job.value = e.values[i]
        job.note(Past(e.finished[i], job.attempt, e.worker, e.outcomes[i], e.exit_codes[i], e.reasons[i]))
        job.due = e.retry_at[i]
        if job.due:
            state.arm(job.due, TIMER_JOB, number)
    state.reload(worker)


def _jobs_lost(state: State, e: ev.JobsLost) -> None:
    worker = state.workers[e.worker]
    for i, number in enumerate(e.jobs):
        job = state.jobs[number]
        _release_lease(state, job)
        _move(state, number, job, QUEUED, e.at)
        job.pin = e.pins[i] if e.pins else NO_WORKER
        job.note(Past(e.at, job.attempt, e.worker, Outcome.RETURNED, -1, e.reason))
        job.started_at = 0.0
        state.enqueue(number, job)
    for number in e.blamed:
        state.jobs[number].losses += 1
        worker.blamed[number] = None
    state.reload(worker)


def _jobs_died(state: State, e: ev.JobsDied) -> None:
    for number in e.jobs:
        job = state.jobs[number]
        if job.lease:
            _release_lease(state, job)
            job.finished_at = e.at
            job.note(Past(e.at, job.attempt, job.worker, Outcome.BROKEN, -1, e.reason))
            state.reload(state.workers[job.worker])
        _move(state, number, job, DEAD, e.at)
        if e.reason:
            job.reason = e.reason
        state.dead[number] = None


def _jobs_cancelled(state: State, e: ev.JobsCancelled) -> None:
    for number in e.jobs:
        job = state.jobs[number]
        if job.lease:
            worker = state.workers[job.worker]
            worker.ending[job.lease] = None
            _release_lease(state, job)
        _move(state, number, job, CANCELLED, e.at)
        job.reason = e.reason
        job.finished_at = e.at


# -- workers ---------------------------------------------------------------------------------------------------------
def _worker_joined(state: State, e: ev.WorkerJoined) -> None:
    worker = state.workers.get(e.worker)
    if worker is None:
        worker = Worker(e.worker, e.name, e.incarnation, e.capabilities, e.slots, e.facts, e.at)
        state.workers[e.worker] = worker
        state.worker_numbers[e.name] = e.worker
    elif worker.incarnation == e.incarnation:
        for number in worker.blamed:  # it was cut off, not taken down
            job = state.jobs.get(number)
            if job is not None:
                job.losses -= 1
        worker.blamed.clear()
    else:
        assert not worker.held, worker.name
        worker.ending.clear()
        worker.blamed.clear()
        worker.draining = False
        worker.joined_at = e.at
    worker.incarnation, worker.capabilities, worker.slots, worker.facts = e.incarnation, e.capabilities, e.slots, e.facts
    worker.state, worker.left_at = WorkerState.SUSPECT, 0.0
    state.seat(worker)


def _worker_drained(state: State, e: ev.WorkerDrained) -> None:
    worker = state.workers[e.worker]
    worker.draining = True
    state.seat(worker)


def _worker_gone(state: State, number: int, into: WorkerState, at: float) -> None:
    worker = state.workers[number]
    worker.state, worker.connection, worker.left_at = into, 0, at
    worker.ending.clear()
    state.seat(worker)


def _worker_lost(state: State, e: ev.WorkerLost) -> None:
    _worker_gone(state, e.worker, WorkerState.LOST, e.at)


def _worker_left(state: State, e: ev.WorkerLeft) -> None:
    _worker_gone(state, e.worker, WorkerState.LEFT, e.at)


def _leases_ending(state: State, e: ev.LeasesEnding) -> None:
    worker = state.workers[e.worker]
    worker.ending.update(dict.fromkeys(e.leases))
    state.reload(worker)


def _leases_ended(state: State, e: ev.LeasesEnded) -> None:
    worker = state.workers[e.worker]
    for lease in e.leases:
        worker.ending.pop(lease, None)
    state.reload(worker)


def _hear(state: State, worker: Worker, at: float) -> None:
    worker.heard_at = at
    worker.deadline = at + state.settings.loss_s


def _worker_connected(state: State, e: ev.WorkerConnected) -> None:
    worker = state.workers[e.worker]
    worker.state, worker.connection = WorkerState.ALIVE, e.connection
    _hear(state, worker, e.at)
    state.watch(worker)
    state.seat(worker)


def _worker_heard(state: State, e: ev.WorkerHeard) -> None:
    worker = state.workers[e.worker]
    worker.recalled.clear()  # a recall may have been lost: what still waits there may be asked for again
    _hear(state, worker, e.at)


def _leases_recalled(state: State, e: ev.LeasesRecalled) -> None:
    state.workers[e.worker].recalled.update(dict.fromkeys(e.leases))


def _worker_suspected(state: State, e: ev.WorkerSuspected) -> None:
    worker = state.workers[e.worker]
    worker.state, worker.connection = WorkerState.SUSPECT, 0
    state.seat(worker)


_WRITERS: dict[type, Callable[[State, Any], None]] = {
    ev.MasterStarted: _master_started,
    ev.RunSubmitted: _run_submitted,
    ev.RunOpened: _run_opened,
    ev.JobsAdded: _jobs_added,
    ev.RunSealed: _run_sealed,
    ev.RunDropped: _run_dropped,
    ev.RunArchived: _run_archived,
    ev.RootsReleased: _roots_released,
    ev.JobsQueued: _jobs_queued,
    ev.JobsDelayed: _jobs_delayed,
    ev.JobsReleased: _jobs_released,
    ev.JobsDispatched: _jobs_dispatched,
    ev.JobsStarted: _jobs_started,
    ev.JobsCompleted: _jobs_completed,
    ev.JobsFailed: _jobs_failed,
    ev.JobsLost: _jobs_lost,
    ev.JobsDied: _jobs_died,
    ev.JobsCancelled: _jobs_cancelled,
    ev.RunCancelled: _run_cancelled,
    ev.RunFinished: _run_finished,
    ev.WorkerJoined: _worker_joined,
    ev.WorkerDrained: _worker_drained,
    ev.WorkerLost: _worker_lost,
    ev.WorkerLeft: _worker_left,
    ev.LeasesEnding: _leases_ending,
    ev.LeasesEnded: _leases_ended,
    ev.WorkerConnected: _worker_connected,
    ev.WorkerHeard: _worker_heard,
    ev.LeasesRecalled: _leases_recalled,
    ev.WorkerSuspected: _worker_suspected,
}
