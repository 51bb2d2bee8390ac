"""A job goes from one state to another, and an attempt leaves its worker. For the writers alone: nothing else changes the state."""

from __future__ import annotations

from titan.core.state import FENCED_LIMIT, Job, State, Worker
from titan.core.story import story
from titan.errors import Bug
from titan.model.dag import Needs
from titan.model.demand import NOTHING, amounts_of, minus
from titan.model.states import ALLOWED, REVIVABLE, TERMINAL, JobState


def move(state: State, number: int, job: Job, new: JobState, at: float) -> None:
    old = job.state
    if not ALLOWED[old] >> new & 1:
        told = "\n  ".join(story(state, number))
        raise Bug(f"job {job.run.id}/{job.name} cannot go from {old.name} to {new.name}; its story:\n  {told}")
    if old is JobState.QUEUED:
        state.dequeued(job)
    _turn(job, new, at)
    if old is JobState.PAUSED:
        del state.gates[number]
        job.due = 0.0


def revive(job: Job, at: float) -> None:
    """The one way out of a terminal state: a user's word."""
    assert job.state in REVIVABLE, job.name
    _turn(job, JobState.WAITING, at)


def _turn(job: Job, new: JobState, at: float) -> None:
    tally, old = job.run.tally, job.state
    tally[old] -= 1
    tally[new] += 1
    job.state = new
    job.since = at


def satisfies(parent: Job, child: Job) -> bool:
    """Whether a child need not wait for this parent any more.

    A handler waits until all its parents are over (it runs as soon as one is DEAD); any other job for COMPLETED ones,
    or DEAD ones whose children are to go on.
    """
    if child.template.kind == "handler":
        return parent.state in TERMINAL
    return parent.state is JobState.COMPLETED or (parent.state is JobState.DEAD and parent.template.on_failure == "continue")


def blocks(parent: Job, child: Job) -> bool:
    """Whether a child will never run because of what became of this parent."""
    over = parent.state in (JobState.DEAD, JobState.CANCELLED)
    return over and child.template.kind != "handler" and not satisfies(parent, child)


def release_lease(state: State, job: Job) -> None:
    """The attempt is over: its worker no longer holds it."""
    worker = state.workers[job.worker]
    del worker.held[job.lease]
    if job.template.needs is not None:
        give_back(worker, job.lease, job.template.needs)
    worker.recalled.pop(job.lease, None)
    job.lease = 0


def rest(worker: Worker, at: float) -> None:
    """Some attempt of its is over: it may have nothing to do from now on."""
    if not worker.held:
        worker.idle_since = at


def give_back(worker: Worker, lease: int, needs: Needs) -> None:
    """An attempt that took something up leaves the worker's books; if its process is still to be ended, it takes it up till then.

    Should the worker turn out to have it still, it counts again: what it takes up is remembered for some time.
    """
    amounts = amounts_of(needs)
    if amounts == NOTHING:
        return
    worker.fenced[lease] = amounts
    if len(worker.fenced) > FENCED_LIMIT:
        for old in worker.fenced:
            if old not in worker.ending:
                del worker.fenced[old]
                break
    if lease not in worker.ending:
        worker.taken = minus(worker.taken, amounts)
