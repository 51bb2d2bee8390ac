"""`apply(state, event)`: the only code that changes the state, live and in recovery alike.

Writers stand by subject in the modules of this package. A writer takes a decision as a fact and
never decides. It asserts what must hold: an impossible transition raises Bug with the story of the
job.
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
}

_DURABLE = frozenset(_WRITERS) - frozenset(ev.VOLATILE)


def apply(state: State, event: Any) -> None:
    kind = type(event)
    _WRITERS[kind](state, event)
    if kind in _DURABLE and event.at:  # journals of old have events without a time
        state.decided_at = event.at
