"""Writers of events about burst workers, orders to leave, and forgotten workers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from titan.core.events import events as ev
from titan.core.state.burst_worker import Burst
from titan.core.state.state import FORGOTTEN_LIMIT, LEAVE, LEAVE_NOW, State, TimerKind


def _worker_asked(state: State, e: ev.WorkerAsked) -> None:
    worker = state.workers[e.worker]
    worker.asked, worker.told_by = LEAVE_NOW if e.now else LEAVE, e.actor


def _burst_requested(state: State, e: ev.BurstRequested) -> None:
    for name in e.names:
        assert name not in state.bursts, name
        state.bursts[name] = Burst(name, e.rule, e.capabilities, e.slots, e.at)
    state.burst_serial += len(e.names)


def _burst_retired(state: State, e: ev.BurstRetired) -> None:
    for name in e.names:
        state.bursts[name].retired_at = e.at


def _burst_ended(state: State, e: ev.BurstEnded) -> None:
    for name in e.names:
        del state.bursts[name]


def _workers_forgotten(state: State, e: ev.WorkersForgotten) -> None:
    """Remove workers from the state but keep their names for the jobs that ran on them.

    If the state has no runs, no job refers to a worker, so no name needs to be kept.
    """
    for number in e.workers:
        worker = state.workers.pop(number)
        assert not worker.held and not worker.connection, worker.name
        del state.worker_numbers[worker.name]
        state.forgotten[number] = worker.name
        state.pool.drop(number)
        lane = state.pinned.pop(number, None)
        assert lane is None or not lane.count, worker.name
        state.touched.pop(number, None)
    if not state.runs:
        state.forgotten.clear()
    while len(state.forgotten) > FORGOTTEN_LIMIT:
        del state.forgotten[next(iter(state.forgotten))]


def _scale_reviewed(state: State, e: ev.ScaleReviewed) -> None:
    for rule, reason, changed, waiting in zip(e.rules, e.reasons, e.changed, e.waiting, strict=True):
        state.scale_reasons[rule] = (e.at, reason)
        if changed:
            state.scale_changed[rule] = e.at
        if not waiting:
            state.scale_waiting.pop(rule, None)
        else:
            state.scale_waiting.setdefault(rule, e.at)
    state.scale_due = e.at + state.in_force.scale_every_s
    state.arm(state.scale_due, TimerKind.SCALE, 0)


WRITERS: dict[type, Callable[[State, Any], None]] = {
    ev.WorkerAsked: _worker_asked,
    ev.BurstRequested: _burst_requested,
    ev.BurstRetired: _burst_retired,
    ev.BurstEnded: _burst_ended,
    ev.WorkersForgotten: _workers_forgotten,
    ev.ScaleReviewed: _scale_reviewed,
}
