"""The states of a job, a run and a worker, and which may follow which.

Owns the transition table, from which docs/glossary.md's diagram is drawn. Must not know how a state
is stored or why it changes.
"""

from __future__ import annotations

from enum import IntEnum


class JobState(IntEnum):
    WAITING = 0
    DELAYED = 1
    QUEUED = 2
    DISPATCHED = 3
    RUNNING = 4
    PAUSED = 5
    COMPLETED = 6
    FAILED = 7
    DEAD = 8
    CANCELLED = 9


class RunState(IntEnum):
    RUNNING = 0
    COMPLETED = 1
    FAILED = 2
    """Some job is DEAD or was CANCELLED because of one; or its deadline passed."""
    CANCELLED = 3
    """By a user, or replaced by its schedule."""
    OPENING = 4
    """Its jobs are still coming in: it is nobody's run yet, and gone if the master or its submitter
    dies first."""


class WorkerState(IntEnum):
    ALIVE = 0
    SUSPECT = 1
    """Its connection broke; it has until its deadline to come back and keep its attempts."""
    LOST = 2
    """Silent past its deadline: its attempts were fenced and queued again."""
    LEFT = 3
    """It said goodbye."""


TERMINAL = (JobState.COMPLETED, JobState.DEAD, JobState.CANCELLED)

# A job whose parent is a service goes back to WAITING when that is no longer READY, as long as it
# has not been dispatched. Reports can be lost or overtaken, so a result may arrive for an attempt
# whose start was never reported: DISPATCHED leads wherever RUNNING does.
_ATTEMPT_ENDS = (JobState.COMPLETED, JobState.FAILED, JobState.QUEUED, JobState.DEAD, JobState.CANCELLED)
TRANSITIONS: dict[JobState, tuple[JobState, ...]] = {
    JobState.WAITING: (JobState.QUEUED, JobState.DELAYED, JobState.PAUSED, JobState.CANCELLED),
    JobState.DELAYED: (JobState.QUEUED, JobState.PAUSED, JobState.WAITING, JobState.CANCELLED),
    JobState.QUEUED: (JobState.DISPATCHED, JobState.WAITING, JobState.CANCELLED),
    JobState.DISPATCHED: (JobState.RUNNING, *_ATTEMPT_ENDS),
    JobState.RUNNING: _ATTEMPT_ENDS,
    JobState.PAUSED: (JobState.COMPLETED, JobState.CANCELLED),
    JobState.FAILED: (JobState.QUEUED, JobState.WAITING, JobState.DEAD, JobState.CANCELLED),
    JobState.COMPLETED: (),
    JobState.DEAD: (),
    JobState.CANCELLED: (),
}

REVIVABLE = (JobState.DEAD, JobState.CANCELLED)
"""A user may take a DEAD job off the dead letter queue: then it, and what was CANCELLED because of
it, is WAITING again."""
STOPPABLE = (JobState.WAITING, JobState.DELAYED, JobState.QUEUED, JobState.FAILED)
"""A service that is stopped goes from these, too, straight to COMPLETED."""

# The same as one bit mask per state, for the hot path: `ALLOWED[old] >> new & 1`.
ALLOWED: tuple[int, ...] = tuple(sum(1 << new for new in TRANSITIONS[old]) for old in JobState)


class Outcome(IntEnum):
    """How an attempt ended, as its worker saw it."""

    SUCCEEDED = 0
    EXITED = 1
    """With a code other than 0."""
    SIGNALED = 2
    """Also a call that took down the process that ran it, however it did."""
    TIMED_OUT = 3
    REFUSED = 4
    """It could not be started and never can be: no such file, bad interpreter, permission. Not
    retried."""
    BROKEN = 5
    """The worker's own machinery failed: disk full, no runner. Tried again, elsewhere if that can
    be; it costs no retry."""
    STOPPED = 6
    """Killed because the master said so. Its lease is fenced already."""
    RETURNED = 7
    """Never started: handed back, or abandoned by a worker that leaves. Counts as no failure."""
