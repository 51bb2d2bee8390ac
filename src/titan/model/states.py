"""States of jobs, runs and workers, and the transitions between them.

This module owns the transition table; docs/glossary.md has a diagram of it. It must not know how a
state is stored or why it changes.
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
    SKIPPED = 10
    """The condition of the job is false, or an ancestor was skipped. This fails nothing."""


class RunState(IntEnum):
    RUNNING = 0
    COMPLETED = 1
    FAILED = 2
    """A job is DEAD, or was CANCELLED because of a DEAD job, or the deadline passed."""
    CANCELLED = 3
    """Cancelled by a user, or replaced by its schedule."""
    OPENING = 4
    """Jobs are still arriving, and users do not see the run yet. The run is dropped if the master
    or the submitter dies before all jobs have arrived."""


class WorkerState(IntEnum):
    ALIVE = 0
    SUSPECT = 1
    """The connection broke. The worker keeps its attempts if it returns before its deadline."""
    LOST = 2
    """The worker was silent past its deadline. The master fenced its attempts and queued them
    again."""
    LEFT = 3
    """The worker signed off."""


ON_WORKER = (JobState.DISPATCHED, JobState.RUNNING)
"""States of a job with an attempt that is assigned to a worker."""
TERMINAL = (JobState.COMPLETED, JobState.DEAD, JobState.CANCELLED, JobState.SKIPPED)

# A job that depends on a service goes back to WAITING when the service is no longer READY, unless
# the job was dispatched already. Reports can be lost or overtaken, so a result may arrive for an
# attempt whose start was never reported. DISPATCHED therefore has all transitions of RUNNING. A
# queued job whose input files cannot be laid out, and a waiting job whose condition cannot be
# evaluated, are DEAD without an attempt. A queued job that reuses an earlier result is COMPLETED
# without one.
_ATTEMPT_ENDS = (JobState.COMPLETED, JobState.FAILED, JobState.QUEUED, JobState.DEAD, JobState.CANCELLED)
TRANSITIONS: dict[JobState, tuple[JobState, ...]] = {
    JobState.WAITING: (
        *(JobState.QUEUED, JobState.DELAYED, JobState.PAUSED),
        *(JobState.DEAD, JobState.CANCELLED, JobState.SKIPPED),
    ),
    JobState.DELAYED: (JobState.QUEUED, JobState.PAUSED, JobState.WAITING, JobState.CANCELLED),
    JobState.QUEUED: (JobState.DISPATCHED, JobState.WAITING, JobState.COMPLETED, JobState.DEAD, JobState.CANCELLED),
    JobState.DISPATCHED: (JobState.RUNNING, *_ATTEMPT_ENDS),
    JobState.RUNNING: _ATTEMPT_ENDS,
    JobState.PAUSED: (JobState.COMPLETED, JobState.CANCELLED),
    JobState.FAILED: (JobState.QUEUED, JobState.WAITING, JobState.DEAD, JobState.CANCELLED),
    JobState.COMPLETED: (),
    JobState.DEAD: (),
    JobState.CANCELLED: (),
    JobState.SKIPPED: (),
}

REVIVABLE = (JobState.DEAD, JobState.CANCELLED, JobState.SKIPPED)
"""States of the jobs that a retry sets back to WAITING: the DEAD job, and jobs that were CANCELLED
or SKIPPED because of that job."""
STOPPABLE = (JobState.WAITING, JobState.DELAYED, JobState.QUEUED, JobState.FAILED)
"""Additional states from which a service goes straight to COMPLETED when it is stopped."""

# The transitions as one bit mask per state, for the hot path: `ALLOWED[old] >> new & 1`.
ALLOWED: tuple[int, ...] = tuple(sum(1 << new for new in TRANSITIONS[old]) for old in JobState)


class Outcome(IntEnum):
    """End of an attempt as its worker reports it."""

    SUCCEEDED = 0
    EXITED = 1
    """The exit code was not 0."""
    SIGNALED = 2
    """A signal ended the process. Also used for a call whose process died in any way."""
    TIMED_OUT = 3
    REFUSED = 4
    """The worker cannot start the attempt, and a retry would not help: no such file, bad
    interpreter, no permission. The job is not retried."""
    BROKEN = 5
    """The worker itself failed: disk full, no runner. The job is tried again, on another worker if
    possible, and this costs no retry."""
    STOPPED = 6
    """The worker killed the attempt on the master's order. The master has fenced the lease
    already."""
    RETURNED = 7
    """The attempt never started: the master recalled it, or its worker left. This does not count as
    a failure."""
