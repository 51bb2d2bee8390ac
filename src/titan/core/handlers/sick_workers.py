"""Workers that break attempts: these end BROKEN, through no fault of their jobs.

A broken attempt costs its job no retry. The next attempt goes to a worker that has not broken the
job, if there is one. A worker is set aside when consecutive reports hold only broken attempts. It
gets nothing until its back-off is over, then one attempt on trial beside those that still run. An
attempt that runs to its end, or a service that becomes READY, takes the worker back. A broken one
sets it aside for longer.
"""

from __future__ import annotations

from titan.core.events import events as ev
from titan.core.state.state import Job
from titan.core.turn import Turn
from titan.model.backoff import backoff_delay
from titan.model.states import Outcome

BREAKS_LIMIT = 12
"""A job is DEAD when this many of its attempts were broken, because the job itself may be at
fault."""
SICK_AFTER = 3
"""Number of consecutive reports of broken attempts that sets a worker aside."""
ASIDE_MIN_S, ASIDE_MAX_S = 5.0, 600.0


def is_blameless(job: Job, outcome: int) -> bool:
    """Return True if a failed attempt costs its job no retry. A call that takes its runner down is
    SIGNALED and does cost one."""
    return outcome == Outcome.BROKEN and job.service is None


def note_broken(turn: Turn, number: int, reason: str) -> None:
    """Set the worker aside if it has broken too many attempts in a row. `number` is the worker."""
    worker = turn.state.workers[number]
    if not worker.probing and (worker.aside_until or worker.breaks < SICK_AFTER):
        return
    times = worker.aside_times + 1
    wait = backoff_delay(times - 1, ASIDE_MIN_S, ASIDE_MAX_S)
    text = f"its last {worker.breaks} reports held only broken attempts: {reason}"
    turn.emit(ev.WorkerSetAside(number, text, turn.now + wait, turn.now))
    lane = turn.state.pinned.get(number)
    if lane is not None and lane.count:
        turn.emit(ev.JobsReleased(lane.jobs(), number, f"worker {worker.name} was set aside: {reason}", turn.now))


def note_sound(turn: Turn, number: int) -> None:
    """Take a worker on trial back: an attempt ran to its end, or a service became READY, there."""
    if turn.state.workers[number].aside_until:
        turn.emit(ev.WorkerTakenBack(number, turn.now))


def probe_if_due(turn: Turn, number: int) -> None:
    worker = turn.state.workers.get(number)
    if worker is not None and worker.aside_until and not worker.probing and worker.aside_until <= turn.now:
        turn.emit(ev.WorkerProbed(number, turn.now))
