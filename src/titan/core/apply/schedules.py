"""Writers of events about schedules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from titan.core.events import events as ev
from titan.core.state.state import Schedule, State


def _schedule_added(state: State, e: ev.ScheduleAdded) -> None:
    schedule = state.schedules.get(e.name)
    armed = schedule is not None and schedule.due and not schedule.paused
    if schedule is None:
        schedule = Schedule(e.name, e.number, e.key, e.dag, e.parents, e.timing, e.overlap, e.catch_up, e.at)
        state.schedules[e.name] = schedule
        state.schedule_names[e.number] = e.name
        state.next_schedule = max(state.next_schedule, e.number + 1)
    else:
        schedule.skipped += len(schedule.waiting)
        schedule.waiting = []
        schedule.key, schedule.dag, schedule.parents, schedule.timing = e.key, e.dag, e.parents, e.timing
        schedule.overlap, schedule.catch_up = e.overlap, e.catch_up
    schedule.paused, schedule.due, schedule.changed_at = e.paused, e.due, e.at
    if armed:
        state.disarm()
    state.await_schedule(schedule)


def _schedule_changed(state: State, e: ev.ScheduleChanged) -> None:
    schedule = state.schedules[e.name]
    assert schedule.paused is not e.paused, e.name
    schedule.paused, schedule.changed_at = e.paused, e.at
    if e.paused and schedule.due:
        state.disarm()
    state.await_schedule(schedule)


def _schedule_removed(state: State, e: ev.ScheduleRemoved) -> None:
    schedule = state.schedules.pop(e.name)
    if schedule.due and not schedule.paused:
        state.disarm()
    del state.schedule_names[schedule.number]


def _schedule_fired(state: State, e: ev.ScheduleFired) -> None:
    schedule = state.schedules[e.name]
    schedule.fired += 1
    schedule.last_at, schedule.last_run, schedule.changed_at = e.nominal, e.run, e.at
    if not e.by_user:
        _settle(state, schedule, e.nominal, e.due)


def _schedule_waited(state: State, e: ev.ScheduleWaited) -> None:
    schedule = state.schedules[e.name]
    assert schedule.due == e.nominal[0], e.name
    schedule.waiting.extend(e.nominal)
    schedule.changed_at = e.at
    _move_on(state, schedule, e.due)


def _schedule_skipped(state: State, e: ev.ScheduleSkipped) -> None:
    schedule = state.schedules[e.name]
    if e.why == "missed":
        schedule.missed += e.count
    elif e.why != "made":
        schedule.skipped += e.count
    schedule.changed_at = e.at
    _settle(state, schedule, e.first, e.due)


def _settle(state: State, schedule: Schedule, nominal: float, due: float) -> None:
    """Remove a decided nominal time, which is the first of `waiting` or the time that was due."""
    if schedule.waiting and schedule.waiting[0] == nominal:
        del schedule.waiting[0]
    else:
        assert nominal == schedule.due, schedule.name
    _move_on(state, schedule, due)


def _move_on(state: State, schedule: Schedule, due: float) -> None:
    if due != schedule.due:
        assert not due or due > schedule.due, schedule.name
        schedule.due = due
        state.await_schedule(schedule)


WRITERS: dict[type, Callable[[State, Any], None]] = {
    ev.ScheduleAdded: _schedule_added,
    ev.ScheduleChanged: _schedule_changed,
    ev.ScheduleRemoved: _schedule_removed,
    ev.ScheduleFired: _schedule_fired,
    ev.ScheduleWaited: _schedule_waited,
    ev.ScheduleSkipped: _schedule_skipped,
}
