"""A job goes from one state to another, and an attempt leaves its worker. For the writers alone:
nothing else changes the state."""

from __future__ import annotations

from titan.core.state.state import FENCED_LIMIT, Job, State, Worker
from titan.core.state.story import story
from titan.errors import Bug
from titan.model.dag import HANDLER, Needs
from titan.model.demand import NOTHING, amounts_of, minus
from titan.model.states import ALLOWED, REVIVABLE, STOPPABLE, TERMINAL, JobState


def move(state: State, number: int, job: Job, new: JobState, at: float) -> None:
    old = job.state
    if not ALLOWED[old] >> new & 1 and not (job.service is not None and new is JobState.COMPLETED and old in STOPPABLE):
        told = "\n  ".join(story(state, number))
        raise Bug(f"job {job.run.id}/{job.name} cannot go from {old.name} to {new.name}; its story:\n  {told}")
    if old is JobState.QUEUED:
        state.dequeued(job)
    _turn(job, new, at)
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
    """The one way out of a terminal state: a user's word."""
    assert job.state in REVIVABLE or (job.service is not None and job.state is JobState.COMPLETED), job.name
    if job.service is not None:
        state.add_service(number, job)
    hush(job)
    _turn(job, JobState.WAITING, at)


def _turn(job: Job, new: JobState, at: float) -> None:
    tally, old = job.run.tally, job.state
    tally[old] -= 1
    tally[new] += 1
    job.state = new
    job.since = at


def satisfies(parent: Job, child: Job) -> bool:
    """Whether a child need not wait for this parent any more.

    A handler waits until all its parents are over (it runs as soon as one is DEAD); any other job
    for COMPLETED ones, READY services, or DEAD ones whose children are to go on.
    """
    if child.template.kind == HANDLER:
        return parent.state in TERMINAL
    return parent.is_done or (parent.state is JobState.DEAD and parent.template.on_failure == "continue")


def lacks_service(state: State, job: Job) -> bool:
    """Whether it has to wait, as a service that it depends on is not READY."""
    if not job.missing or job.template.kind == HANDLER:
        return False
    parents = [state.jobs[number] for number in job.parents]
    return any(parent.service is not None and not satisfies(parent, job) for parent in parents)


def blocks(parent: Job, child: Job) -> bool:
    """Whether a child will never run because of what became of this parent."""
    over = parent.state in (JobState.DEAD, JobState.CANCELLED)
    return over and child.template.kind != HANDLER and not satisfies(parent, child)


def release_lease(state: State, job: Job) -> None:
    """The attempt is over: its worker no longer holds it."""
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
    """What its last attempt said of itself is over: the next one says its own."""
    if job.extra is not None and job.extra.status:
        job.extra.status = ""


def rest(worker: Worker, at: float) -> None:
    """Some attempt of its is over: it may have nothing to do from now on."""
    if not worker.held and not worker.retiring:
        worker.idle_since = at


def give_back(worker: Worker, lease: int, needs: Needs) -> None:
    """An attempt that took something up leaves the worker's books; if its process is still there,
    it takes it up till that ends.

    Should the worker turn out to have it still, it counts again: what it takes up is remembered for
    some time.
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
    """The attempt of a service that was replaced is to end, if there is one."""
    s = job.service
    if s is not None and s.old_lease:
        worker = state.workers[s.old_worker]
        del worker.retiring[s.old_lease]
        worker.ending[s.old_lease] = None
        s.old_lease = 0
        state.serve(worker, -1)


def count_missing(state: State, job: Job, change: int) -> None:
    """A service is no longer (`change` 1), or now (-1), what its children wait for."""
    for child in job.children or ():
        if state.jobs[child].template.kind == HANDLER:
            continue  # it waits for the end
        state.jobs[child].missing += change
        if change > 0:
            state.unsettled[child] = None
