"""Workers that break what they are given: attempts that end BROKEN, through no fault of their jobs.

Such an attempt costs its job no retry, and the next one goes to a worker that has not broken it, if
there is one. A worker that breaks one report of attempts after the other, and completes none in
between, is set aside: it gets nothing until its back-off is over, then one attempt on trial. What
that comes to takes the worker back, or sets it aside for longer.
"""

from __future__ import annotations

from titan.core.events import events as ev
from titan.core.state.state import Job
from titan.core.turn import Turn
from titan.model.backoff import backoff_delay
from titan.model.states import Outcome

BREAKS_LIMIT = 12
"""A job that so many attempts broke is DEAD: it may be the job after all."""
SICK_AFTER = 3
"""Reports of broken attempts in a row that set a worker aside."""
ASIDE_MIN_S, ASIDE_MAX_S = 5.0, 600.0


def is_blameless(job: Job, outcome: int) -> bool:
    """Whether an attempt costs its job no retry. A call that took its runner down is SIGNALED, so
    it is not among these."""
    return outcome == Outcome.BROKEN and job.service is None


def note_broken(turn: Turn, number: int, reason: str) -> None:
    """Attempts were just recorded as broken by a worker."""
    worker = turn.state.workers[number]
    if not worker.probing and (worker.aside_until or worker.breaks < SICK_AFTER):
        return
    times = worker.aside_times + 1
    wait = backoff_delay(times - 1, ASIDE_MIN_S, ASIDE_MAX_S)
    told = f"{worker.breaks} times in a row it broke what it was given: {reason}"
    turn.emit(ev.WorkerSetAside(number, told, turn.now + wait, turn.now))
    lane = turn.state.pinned.get(number)
    if lane is not None and lane.count:
        turn.emit(ev.JobsReleased(lane.jobs(), number, f"worker {worker.name} was set aside: {reason}", turn.now))


def note_sound(turn: Turn, number: int) -> None:
    """An attempt ran to its end there."""
    if turn.state.workers[number].aside_until:
        turn.emit(ev.WorkerTakenBack(number, turn.now))


def probe_if_due(turn: Turn, number: int) -> None:
    worker = turn.state.workers.get(number)
    if worker is not None and worker.aside_until and not worker.probing and worker.aside_until <= turn.now:
        turn.emit(ev.WorkerProbed(number, turn.now))
