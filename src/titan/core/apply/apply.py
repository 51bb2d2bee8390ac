"""`apply(state, event)`: the only writer. Live and in recovery the same.

Every writer takes a decision as given; it asserts what must hold (an impossible transition raises
Bug with the job's story) and never decides. They stand by what they are about: `apply_runs`,
`apply_jobs`, `apply_schedules`, `apply_workers`, `apply_scaling`, `apply_store`, `apply_growth`,
`apply_reports`, `apply_files`, `apply_secrets`, and `apply_failure` for gates and the dead letter
queue.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from titan.core import apply_secrets
from titan.core.apply import clock as apply_clock
from titan.core.apply import files as apply_files
from titan.core.apply import gates_and_dlq as apply_failure
from titan.core.apply import growth as apply_growth
from titan.core.apply import jobs as apply_jobs
from titan.core.apply import reports as apply_reports
from titan.core.apply import runs as apply_runs
from titan.core.apply import scaling as apply_scaling
from titan.core.apply import schedules as apply_schedules
from titan.core.apply import services as apply_services
from titan.core.apply import sick_workers as apply_sickness
from titan.core.apply import store as apply_store
from titan.core.apply import workers as apply_workers
from titan.core.events import events as ev
from titan.core.state.state import State

_WRITERS: dict[type, Callable[[State, Any], None]] = {
    **apply_runs.WRITERS,
    **apply_jobs.WRITERS,
    **apply_schedules.WRITERS,
    **apply_workers.WRITERS,
    **apply_clock.WRITERS,
    **apply_sickness.WRITERS,
    **apply_failure.WRITERS,
    **apply_scaling.WRITERS,
    **apply_services.WRITERS,
    **apply_reports.WRITERS,
    **apply_store.WRITERS,
    **apply_growth.WRITERS,
    **apply_files.WRITERS,
    **apply_secrets.WRITERS,
}

_DURABLE = frozenset(_WRITERS) - frozenset(ev.VOLATILE)


def apply(state: State, event: Any) -> None:
    kind = type(event)
    _WRITERS[kind](state, event)
    if kind in _DURABLE and event.at:  # journals of old have events without a time
        state.decided_at = event.at
