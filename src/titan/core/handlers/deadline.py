"""Deadlines of runs: when a deadline passes, the jobs of the run that are not over are
cancelled."""

from __future__ import annotations

from titan.core.events import events as ev
from titan.core.handlers.cancel import cancel
from titan.core.state.state import Run
from titan.core.turn import Turn
from titan.model.causes import Cause
from titan.model.states import TERMINAL


def expire(turn: Turn, run: Run) -> None:
    """Cancel the jobs of a run whose deadline passed. Do nothing if all jobs are over."""
    jobs = turn.state.jobs
    doomed = [j for j in run.numbers() if jobs[j].state not in TERMINAL]
    if doomed:
        turn.emit(ev.RunExpired(run.id, turn.now))
        cancel(turn, doomed, Cause.DEADLINE, f"the deadline of its run passed, {run.deadline_s:g} s after it was submitted")
