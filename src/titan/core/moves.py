"""A job goes from one state to another, and an attempt leaves its worker. For the writers alone: nothing else changes the state."""

from __future__ import annotations

from titan.core.state import Job, State
from titan.core.story import story
from titan.errors import Bug
from titan.model.states import ALLOWED, JobState


def move(state: State, number: int, job: Job, new: JobState, at: float) -> None:
    old = job.state
    if not ALLOWED[old] >> new & 1:
        told = "\n  ".join(story(state, number))
        raise Bug(f"job {job.run.id}/{job.name} cannot go from {old.name} to {new.name}; its story:\n  {told}")
    if old is JobState.QUEUED:
        state.dequeued(job)
    tally = job.run.tally
    tally[old] -= 1
    tally[new] += 1
    job.state = new
    job.since = at


def release_lease(state: State, job: Job) -> None:
    """The attempt is over: its worker no longer holds it."""
    worker = state.workers[job.worker]
    del worker.held[job.lease]
    worker.recalled.pop(job.lease, None)
    job.lease = 0
