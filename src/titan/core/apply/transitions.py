"""Transitions of jobs and releases of leases, for the writers only."""

from __future__ import annotations

from titan.core.state.state import FENCED_LIMIT, Job, State, Worker
from titan.core.state.story import story
from titan.errors import Bug
from titan.model.dag import Needs, waits_for_end
from titan.model.demand import NOTHING, amounts_of, minus
from titan.model.states import ALLOWED, ON_WORKER, REVIVABLE, STOPPABLE, TERMINAL, JobState


def move(state: State, number: int, job: Job, new: JobState, at: float) -> None:
    """Move a job to another state. Raises Bug with the job's story if the transition is not
    allowed."""
    old = job.state
    if not ALLOWED[old] >> new & 1 and not (job.service is not None and new is JobState.COMPLETED and old in STOPPABLE):
        lines = "\n  ".join(story(state, number))
        raise Bug(f"job {job.run.id}/{job.name} cannot go from {old.name} to {new.name}; its story:\n  {lines}")
    if old is JobState.QUEUED:
        state.dequeued(job)
    _set_state(state, job, new, at)
    if old is JobState.PAUSED:
        del state.gates[number]
        job.due = 0.0
    if job.service is not None and new in TERMINAL:
        state.drop_service(number, job)
        end_old(state, job)
        if new is not JobState.COMPLETED and job.service.ready_at:
            job.service.ready_at = 0.0
            count_missing(state, job, 1)


def revive(state: State, number: int, job: Job, at: float) -> None:
    """Move a job from a terminal state back to WAITING. This happens only on a user's request."""
    assert job.state in REVIVABLE or (job.service is not None and job.state is JobState.COMPLETED), job.name
    if job.service is not None:
        state.add_service(number, job)
    hush(job)
    _set_state(state, job, JobState.WAITING, at)


def _set_state(state: State, job: Job, new: JobState, at: float) -> None:
    if job.template.parallel is not None and (change := (new in ON_WORKER) - (job.state in ON_WORKER)):
        state.note_active(job, change)
    tally, old = job.run.tally, job.state
    tally[old] -= 1
    tally[new] += 1
    job.state = new
    job.since = at


def satisfies(parent: Job, child: Job) -> bool:
    """Return True if a child no longer has to wait for this parent.

    A failure handler and a job with `when` wait for each parent to be over. (A handler runs as soon
    as one parent is DEAD, even if others are open.) Any other job waits for a parent to be
    COMPLETED, a READY service, or DEAD with `on_failure` "continue".
    """
    if waits_for_end(child.template):
        return parent.state in TERMINAL
    return parent.is_done or (parent.state is JobState.DEAD and parent.template.on_failure == "continue")


def lacks_service(state: State, job: Job) -> bool:
    """Return True if the job must wait because a service that it depends on is not READY."""
    if not job.missing or waits_for_end(job.template):
        return False
    parents = [state.jobs[number] for number in job.parents]
    return any(parent.service is not None and not satisfies(parent, job) for parent in parents)


def blocks(parent: Job, child: Job) -> bool:
    """Return True if the state of this parent means that the child will never run."""
    over = parent.state in (JobState.DEAD, JobState.CANCELLED, JobState.SKIPPED)
    return over and not waits_for_end(child.template) and not satisfies(parent, child)


def release_lease(state: State, job: Job) -> None:
    """Remove the lease of an ended attempt from its worker."""
    worker = state.workers[job.worker]
    del worker.held[job.lease]
    worker.lent.pop(job.lease, None)
    if job.template.needs is not None:
        give_back(worker, job.lease, job.template.needs)
    worker.recalled.pop(job.lease, None)
    state.progress.pop(job.lease, None)
    job.lease = 0
    if job.service is None:
        return
    state.serve(worker, -1)
    if job.service.ready_at and not job.service.old_lease:
        job.service.ready_at = 0.0
        count_missing(state, job, 1)


def hush(job: Job) -> None:
    """Clear the status line of the last attempt."""
    if job.extra is not None and job.extra.status:
        job.extra.status = ""


def rest(worker: Worker, at: float) -> None:
    """Record the time since which the worker is idle, if it has no attempts left."""
    if not worker.held and not worker.retiring:
        worker.idle_since = at


def give_back(worker: Worker, lease: int, needs: Needs) -> None:
    """Release the resources of an attempt that leaves `held`.

    The amounts stay in `fenced` for some time. If the process still runs, or the worker reports
    that it still holds the attempt, the amounts count as in use until the attempt ends.
    """
    amounts = amounts_of(needs)
    if amounts == NOTHING:
        return
    worker.fenced[lease] = amounts
    if len(worker.fenced) > FENCED_LIMIT:
        for old in worker.fenced:
            if old not in worker.ending and old not in worker.retiring:
                del worker.fenced[old]
                break
    if lease not in worker.ending and lease not in worker.retiring:
        worker.taken = minus(worker.taken, amounts)


def end_old(state: State, job: Job) -> None:
    """If a service is being replaced, move its old attempt to `ending`."""
    s = job.service
    if s is not None and s.old_lease:
        worker = state.workers[s.old_worker]
        del worker.retiring[s.old_lease]
        worker.ending[s.old_lease] = None
        s.old_lease = 0
        state.serve(worker, -1)


def count_missing(state: State, job: Job, change: int) -> None:
    """Add `change` to `missing` of a service's children: 1 if the service is no longer READY, -1 if
    it is READY now."""
    for child in job.children or ():
        if waits_for_end(state.jobs[child].template):
            continue
        state.jobs[child].missing += change
        if change > 0:
            state.unsettled[child] = None
