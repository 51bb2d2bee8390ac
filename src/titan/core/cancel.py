"""Cancelling: by a user, or because what a job waits for will never come."""

from __future__ import annotations

from collections.abc import Iterable

from titan.core import effects as fx
from titan.core import events as ev
from titan.core.inputs import CancelRequested
from titan.core.state import State
from titan.core.turn import Turn
from titan.errors import NotFound
from titan.model.states import TERMINAL, RunState


def on_cancel_requested(turn: Turn, seen: CancelRequested) -> None:
    """Cancelling what is over already is no error; it cancels nothing."""
    state = turn.state
    run = state.runs.get(seen.run)
    if run is None and any(name == seen.run for name, _ in reversed(state.archived.values())):
        turn.order(fx.ReplyCancelled(seen.origin, seen.request, 0))  # it left in this very turn: it was over
        return
    if run is None or run.state is RunState.OPENING:
        turn.order(fx.Refuse(seen.origin, seen.request, NotFound.code, f"there is no run {seen.run!r}: `titan runs` lists them"))
        return
    if not seen.job:
        doomed = [j for j in range(run.first, run.first + run.count) if state.jobs[j].state not in TERMINAL]
        if doomed and run.state is RunState.RUNNING:
            turn.emit(ev.RunCancelled(run.id, turn.now))
        cancel(turn, doomed, "cancelled by a user")
    else:
        number = state.find(run, seen.job)
        if number is None:
            turn.order(fx.Refuse(seen.origin, seen.request, NotFound.code, f"run {run.id} has no job {seen.job!r}"))
            return
        doomed = [number] if state.jobs[number].state not in TERMINAL else []
        if doomed:
            cancel(turn, doomed, "cancelled by a user")
            # A new list: the old one is in an event already.
            doomed = [*doomed, *cancel_descendants(turn, number, f"its ancestor {seen.job} was cancelled by a user")]
    turn.order(fx.ReplyCancelled(seen.origin, seen.request, len(doomed)))


def cancel(turn: Turn, jobs: list[int], reason: str) -> None:
    """Cancels jobs that are not over, and has those that run stopped."""
    if not jobs:
        return
    state = turn.state
    stops: dict[int, list[int]] = {}
    for number in jobs:
        job = state.jobs[number]
        turn.runs[job.run.id] = job.run
        if job.lease:
            stops.setdefault(job.worker, []).append(job.lease)
    turn.emit(ev.JobsCancelled(jobs, reason, turn.now))
    for worker, leases in stops.items():
        turn.order(fx.SendStop(worker, leases))


def cancel_descendants(turn: Turn, number: int, reason: str) -> list[int]:
    """Cancels all that waits, directly or not, for a job that will never complete."""
    doomed = [j for j in _descendants(turn.state, (number,)) if turn.state.jobs[j].state not in TERMINAL]
    cancel(turn, doomed, reason)
    return doomed


def _descendants(state: State, roots: Iterable[int]) -> list[int]:
    seen: dict[int, None] = {}
    stack = list(roots)
    while stack:
        for child in state.jobs[stack.pop()].children or ():
            if child not in seen:
                seen[child] = None
                stack.append(child)
    return list(seen)
