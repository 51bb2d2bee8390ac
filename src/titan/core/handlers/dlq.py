"""Retry and purge of dead jobs. A DEAD job is in the dead letter queue until a user retries or
purges it.

A retry also revives other jobs:

- Jobs that were cancelled because of the DEAD job, including handlers that were not needed, and
  skipped dependents, unless another parent blocks them. Conditions are evaluated again.
- Stopped services that a revived job depends on.

A retry does not revive jobs that a user cancelled, rejected gates, or handlers that have run. A
retried handler runs at once if one of its parents is still DEAD. The handler is cancelled as not
needed if all its parents have completed meanwhile. A run that has left the state is restored whole
from the history.
"""

from __future__ import annotations

from collections.abc import Callable

from titan.core import effects as fx
from titan.core.apply.transitions import blocks
from titan.core.events import events as ev
from titan.core.handlers.cancel import dismiss, is_consequence
from titan.core.handlers.ready import queue, without_conditions
from titan.core.inputs import DeadDismissed, DeadRetried
from titan.core.state import snapshot
from titan.core.state.state import Job, Run, State
from titan.core.turn import Turn
from titan.errors import Conflict, NotFound, TitanError
from titan.model.dag import HANDLER, waits_for_end
from titan.model.states import JobState, RunState


def on_dead_retried(turn: Turn, received: DeadRetried) -> None:
    try:
        run = _run(turn.state, received)
        state = _live_or_kept(turn.state, received)
        known = state.runs[received.run]
        for key, *counts in (known.retried, *known.earlier_retries):
            if received.key and key == received.key:  # repeated, because the first answer was lost
                turn.order(fx.ReplyRetried(received.origin, received.request, received.run, *counts))
                return
        jobs, retried = plan(state, _wanted(state, received))
        if not retried:
            raise Conflict(_nothing(state, received))
    except TitanError as error:
        turn.order(fx.Refuse(received.origin, received.request, error.code, str(error), received.job))
        return
    if run is None:
        turn.emit(ev.RunRestored(received.run, received.chunks, turn.now))
    turn.emit(ev.JobsRevived(received.run, jobs, retried, received.by, received.key, turn.now, turn.actor))
    ready, unneeded = _ready(turn.state, jobs)
    queue(turn, without_conditions(turn, ready))
    dismiss(turn, unneeded)
    turn.order(fx.ReplyRetried(received.origin, received.request, received.run, retried, len(jobs) - retried))


def _ready(state: State, revived: list[int]) -> tuple[list[int], list[int]]:
    """Return the revived jobs that are ready, and the handlers that are no longer needed. A handler
    is ready as soon as one of its parents is DEAD."""
    ready, unneeded = [], []
    for number in revived:
        job = state.jobs[number]
        if job.template.kind == HANDLER:
            if any(state.jobs[p].state is JobState.DEAD for p in job.parents):
                ready.append(number)
            elif not job.missing:
                unneeded.append(number)
        elif not job.missing:
            ready.append(number)
    return ready, unneeded


def on_dead_dismissed(turn: Turn, received: DeadDismissed) -> None:
    """Purge dead jobs. A job that is already purged stays as it is, without an error."""
    try:
        run = _run(turn.state, received)
        state = _live_or_kept(turn.state, received)
        doomed = [j for j in _wanted(state, received) if state.jobs[j].in_dlq]
    except TitanError as error:
        turn.order(fx.Refuse(received.origin, received.request, error.code, str(error), received.job))
        return
    if doomed:
        if run is None:
            turn.emit(ev.RunRestored(received.run, received.chunks, turn.now))
        turn.emit(ev.DeadPurged(doomed, turn.now, turn.actor))
    turn.order(fx.ReplyPurged(received.origin, received.request, len(doomed)))


def _run(state: State, received: DeadRetried | DeadDismissed) -> Run | None:
    """Return the run, or None if only the history has it. Raises NotFound."""
    run = state.runs.get(received.run)
    if run is not None and run.state is not RunState.OPENING:
        return run
    if run is not None or not received.chunks:
        raise NotFound(f"there is no run {received.run[:80]!r}: `titan dlq` lists the dead jobs")
    return None


def _live_or_kept(state: State, received: DeadRetried | DeadDismissed) -> State:
    if received.run in state.runs:
        return state
    kept = State(state.settings)
    snapshot.load(kept, received.chunks)
    if received.run not in kept.runs:
        raise NotFound(f"there is no run {received.run[:80]!r}: `titan dlq` lists the dead jobs")
    return kept


def _wanted(state: State, received: DeadRetried | DeadDismissed) -> list[int]:
    """Return the dead jobs that the request names, in the order of the DAG. Raises NotFound or
    Conflict."""
    run = state.runs[received.run]
    if not received.job:
        return [j for j in run.numbers() if state.jobs[j].state is JobState.DEAD]
    number = state.find(run, received.job)
    if number is None:
        raise NotFound(f"run {run.id} has no job {received.job[:128]!r}: `titan dlq {run.id}` lists its dead jobs")
    job = state.jobs[number]
    if job.state is not JobState.DEAD:
        raise Conflict(f"{run.id}/{job.name} is {job.state.name}, not DEAD: `titan dlq` lists the dead jobs")
    return [number]


def _nothing(state: State, received: DeadRetried) -> str:
    if not received.job:
        return f"run {received.run} has no dead job that could run again: `titan dlq` lists the dead jobs"
    number = state.find(state.runs[received.run], received.job)
    assert number is not None
    job = state.jobs[number]
    behind = next(state.jobs[p] for p in job.parents if blocks(state.jobs[p], job))
    return f"{received.run}/{job.name} cannot run again: its parent {behind.name} is {behind.state.name}"


def plan(state: State, dead: list[int]) -> tuple[list[int], int]:
    """Return the jobs to revive, and the number of retried jobs.

    The retried jobs come first; they are the jobs of `dead` that can run again. The cancelled jobs
    and stopped services that are revived with them follow.
    """
    jobs = state.jobs
    region: dict[int, None] = dict.fromkeys(dead)
    fresh = list(dead)
    while fresh:
        _spread(region, fresh, jobs.__getitem__)
        _narrow(region, jobs.__getitem__)
        fresh = _services_of(region, jobs.__getitem__)
        region.update(dict.fromkeys(fresh))
    retried = [j for j in region if jobs[j].state is JobState.DEAD]
    return [*retried, *(j for j in region if jobs[j].state is not JobState.DEAD)], len(retried)


def _spread(region: dict[int, None], fresh: list[int], entry: Callable[[int], Job]) -> None:
    """Add to `region`, the jobs to revive, the jobs that were cancelled or skipped because of the
    jobs `fresh`."""
    stack = list(fresh)
    while stack:
        for child in entry(stack.pop()).children or ():
            job = entry(child)
            consequence = job.state is JobState.SKIPPED or (job.state is JobState.CANCELLED and is_consequence(job))
            if child not in region and consequence:
                region[child] = None
                stack.append(child)


def _services_of(region: dict[int, None], entry: Callable[[int], Job]) -> list[int]:
    """Return the COMPLETED services that jobs of `region` need."""
    parents = dict.fromkeys(p for number in region for p in entry(number).parents if not waits_for_end(entry(number).template))
    return [p for p in parents if p not in region and entry(p).service is not None and entry(p).state is JobState.COMPLETED]


def _narrow(region: dict[int, None], entry: Callable[[int], Job]) -> None:
    """Remove from `region` the jobs that are blocked by a parent outside of `region`, and then the
    dependents of the removed jobs."""

    def stays(number: int) -> bool:
        job = entry(number)
        if waits_for_end(job.template) and job.state in (JobState.CANCELLED, JobState.SKIPPED):
            return any(p in region for p in job.parents)
        return not any(p not in region and blocks(entry(p), job) for p in job.parents)

    pending = list(region)
    while pending:
        number = pending.pop()
        if number in region and not stays(number):
            del region[number]
            pending += [child for child in entry(number).children or () if child in region]
