"""Archiving: finished runs leave the state once the history has stored them. The state thus stays
small."""

from __future__ import annotations

from titan.core.events import events as ev
from titan.core.inputs import HistoryKept
from titan.core.turn import Turn
from titan.model.states import RunState


def on_history_kept(turn: Turn, received: HistoryKept) -> None:
    """Archive the finished runs.

    A run stays in the state if its jobs were retried or purged after the history stored the run.
    The history then stores the run again.
    """
    for i, name in enumerate(received.runs):
        run = turn.state.runs.get(name)
        if run is None or (received.changes and run.changes != received.changes[i]):
            continue
        if run.state not in (RunState.RUNNING, RunState.OPENING):
            turn.emit(ev.RunArchived(name, turn.now))
