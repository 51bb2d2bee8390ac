"""`apply(state, event)`: the only writer of the state, both live and in recovery.

A writer carries out a decision and makes none. It asserts its preconditions: an impossible
transition raises Bug with the job's story (its recorded history). Each module of this package holds
the writers of one subject.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from titan.core.apply import (
    clock,
    files,
    gates_and_dlq,
    growth,
    jobs,
    reports,
    result_cache,
    runs,
    scaling,
    schedules,
    secrets,
    services,
    sick_workers,
    store,
    workers,
)
from titan.core.events import events as ev
from titan.core.state.state import State

_WRITERS: dict[type, Callable[[State, Any], None]] = {
    **runs.WRITERS,
    **jobs.WRITERS,
    **schedules.WRITERS,
    **workers.WRITERS,
    **clock.WRITERS,
    **sick_workers.WRITERS,
    **gates_and_dlq.WRITERS,
    **scaling.WRITERS,
    **services.WRITERS,
    **reports.WRITERS,
    **store.WRITERS,
    **growth.WRITERS,
    **files.WRITERS,
    **secrets.WRITERS,
    **result_cache.WRITERS,
}

_DURABLE = frozenset(_WRITERS) - frozenset(ev.VOLATILE)


def apply(state: State, event: Any) -> None:
    kind = type(event)
    _WRITERS[kind](state, event)
    if kind in _DURABLE and event.at:  # older journals have events without a time
        state.decided_at = event.at
