"""Writers of events about reports of running jobs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from titan.core.events import events as ev
from titan.core.state.state import Extra, State


def _progress_reported(state: State, e: ev.ProgressReported) -> None:
    jobs, progress = state.jobs, state.progress
    for number, fraction, message in zip(e.jobs, e.fractions, e.messages, strict=True):
        lease = jobs[number].lease
        assert lease, number
        progress[lease] = (fraction, message)


def _status_reported(state: State, e: ev.StatusReported) -> None:
    for number, text in zip(e.jobs, e.texts, strict=True):
        job = state.jobs[number]
        assert job.lease, number
        job.extra = job.extra or Extra()
        job.extra.status = text


WRITERS: dict[type, Callable[[State, Any], None]] = {
    ev.ProgressReported: _progress_reported,
    ev.StatusReported: _status_reported,
}
