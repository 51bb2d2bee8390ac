"""Writers of events about workers that are set aside."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from titan.core.events import events as ev
from titan.core.state.state import State, TimerKind


def _set_aside(state: State, e: ev.WorkerSetAside) -> None:
    worker = state.workers[e.worker]
    worker.aside_until, worker.aside_reason, worker.probing, worker.probe_slots = e.until, e.reason, False, 0
    worker.aside_times += 1
    state.arm(e.until, TimerKind.ASIDE, e.worker)
    state.seat(worker)


def _probed(state: State, e: ev.WorkerProbed) -> None:
    worker = state.workers[e.worker]
    taken = len(worker.held) + len(worker.ending) + len(worker.retiring)
    worker.probing, worker.probe_slots = True, min(worker.slots, taken + 1)
    state.seat(worker)


def _taken_back(state: State, e: ev.WorkerTakenBack) -> None:
    worker = state.workers[e.worker]
    worker.recover()
    state.seat(worker)


WRITERS: dict[type, Callable[[State, Any], None]] = {
    ev.WorkerSetAside: _set_aside,
    ev.WorkerProbed: _probed,
    ev.WorkerTakenBack: _taken_back,
}
