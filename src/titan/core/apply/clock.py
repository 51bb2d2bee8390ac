"""Writer of the event ClockSetBack."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from titan.core.events import events as ev
from titan.core.state.state import Schedule, State
from titan.core.state.terms import keep_notice
from titan.model.timing import Timing


def timing_at(schedule: Schedule, at: float) -> Timing:
    """Return the timing of a schedule, corrected if the clock was ahead when the schedule was
    added.

    The corrected start is as far in the future as the start was when the schedule was added.
    """
    ahead = schedule.added_at - at
    return (
        replace(schedule.timing, start=schedule.timing.start - ahead)
        if schedule.timing.start > at and ahead > 0
        else schedule.timing
    )


def _clock_set_back(state: State, e: ev.ClockSetBack) -> None:
    at = e.at
    for run in state.runs.values():
        run.submitted_at, run.finished_at = min(run.submitted_at, at), min(run.finished_at, at)
    for job in state.jobs.values():
        ahead = job.since - at
        if ahead > 0:
            job.since = at
            if job.due and job.due > at:
                job.due = max(at, job.due - ahead)
        job.started_at, job.finished_at = min(job.started_at, at), min(job.finished_at, at)
        gate = job.extra.gate if job.extra is not None else None
        if gate is not None:
            gate.opened_at, gate.decided_at = min(gate.opened_at, at), min(gate.decided_at, at)
            if job.due:
                gate.expires_at = job.due
    for name, due in zip(e.schedules, e.dues, strict=True):
        schedule = state.schedules[name]
        schedule.timing = timing_at(schedule, at)
        schedule.due, schedule.waiting = due, [nominal for nominal in schedule.waiting if nominal < due]
    for schedule in state.schedules.values():
        schedule.changed_at, schedule.added_at = min(schedule.changed_at, at), min(schedule.added_at, at)
    for worker in state.workers.values():
        worker.joined_at, worker.left_at = min(worker.joined_at, at), min(worker.left_at, at)
        worker.idle_since = min(worker.idle_since, at)
    keep_notice(state, at, e.notice)
    state.reindex()


WRITERS: dict[type, Callable[[State, Any], None]] = {ev.ClockSetBack: _clock_set_back}
