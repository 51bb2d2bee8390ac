"""Progress and status reports of running jobs. The core drops reports of attempts that are not
current."""

from __future__ import annotations

from titan.core.events import events as ev
from titan.core.inputs import ProgressSeen, StatusesSeen
from titan.core.turn import Turn


def on_progress_seen(turn: Turn, received: ProgressSeen) -> None:
    held = turn.state.workers[received.worker].held
    jobs, fractions, messages = [], [], []
    for lease, fraction, message in zip(received.leases, received.fractions, received.messages, strict=True):
        number = held.get(lease)
        if number is not None:
            jobs.append(number)
            fractions.append(fraction)
            messages.append(message)
    if jobs:
        turn.emit(ev.ProgressReported(jobs, fractions, messages, turn.now))


def on_statuses_seen(turn: Turn, received: StatusesSeen) -> None:
    """Record new status lines. Workers repeat their status lines after each registration, so a
    known status line emits no event."""
    state = turn.state
    held = state.workers[received.worker].held
    fresh: dict[int, str] = {}
    for lease, text in zip(received.leases, received.texts, strict=True):
        number = held.get(lease)
        if number is not None and state.jobs[number].status != text:
            fresh[number] = text
    if fresh:
        turn.emit(ev.StatusReported(list(fresh), list(fresh.values()), turn.now))
