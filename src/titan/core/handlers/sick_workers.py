"""Workers that break attempts. A broken attempt ends BROKEN, through no fault of its job.

A broken attempt costs its job no retry. The next attempt goes to a worker that has not broken an
attempt of the job, if there is such a worker. A worker is set aside when consecutive reports hold
only broken attempts. A worker set aside gets no attempts until its back-off is over. Then it is on
trial: it gets one attempt beside the attempts that still run. When an attempt runs to its end, or a
service becomes READY, the worker is no longer set aside. When the attempt is broken, the worker is
set aside for longer.
"""

from __future__ import annotations

from titan.core.events import events as ev
from titan.core.state.state import Job
from titan.core.turn import Turn
from titan.model.backoff import backoff_delay
from titan.model.states import Outcome

BREAKS_LIMIT = 12
"""Number of broken attempts at which a job is DEAD, because the job itself may be at fault."""
SICK_AFTER = 3
"""Number of consecutive reports of broken attempts that sets a worker aside."""
ASIDE_MIN_S, ASIDE_MAX_S = 5.0, 600.0


def is_blameless(job: Job, outcome: int) -> bool:
    """Return True if a failed attempt costs its job no retry. A call that takes its runner down
    ends SIGNALED and does cost a retry."""
    return outcome == Outcome.BROKEN and job.service is None


def note_broken(turn: Turn, number: int, reason: str) -> None:
    """Set the worker `number` aside if it has broken too many attempts in a row, or is on trial."""
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
    """Let the worker `number` take work again. An attempt ran to its end on the worker, or a
    service became READY there."""
    if turn.state.workers[number].aside_until:
        turn.emit(ev.WorkerTakenBack(number, turn.now))


def probe_if_due(turn: Turn, number: int) -> None:
    worker = turn.state.workers.get(number)
    if worker is not None and worker.aside_until and not worker.probing and worker.aside_until <= turn.now:
        turn.emit(ev.WorkerProbed(number, turn.now))
