"""Cancellation: by a user, or because a dependency will never complete."""

from __future__ import annotations

from titan.core import effects as fx
from titan.core.events import events as ev
from titan.core.handlers.ready import make_ready
from titan.core.inputs import CancelRequested
from titan.core.state.state import Job
from titan.core.turn import Turn
from titan.errors import NotFound
from titan.model.causes import CONSEQUENCES, UNNEEDED, Cause
from titan.model.dag import HANDLER
from titan.model.states import TERMINAL, JobState, RunState


def on_cancel_requested(turn: Turn, received: CancelRequested) -> None:
    """Cancel a job or a run. A job that is already over stays as it is, without an error."""
    state = turn.state
    run = state.runs.get(received.run)
    if run is None and any(name == received.run for name, _ in reversed(state.archived.values())):
        # the run was over, and was archived in this turn
        turn.order(fx.ReplyCancelled(received.origin, received.request, 0))
        return
    if run is None or run.state is RunState.OPENING:
        turn.order(
            fx.Refuse(
                received.origin, received.request, NotFound.code, f"there is no run {received.run!r}: `titan runs` lists them"
            )
        )
        return
    if not received.job:
        doomed = [j for j in run.numbers() if state.jobs[j].state not in TERMINAL]
        if doomed and run.state is RunState.RUNNING:
            turn.emit(ev.RunCancelled(run.id, turn.now, turn.actor))
        cancel(turn, doomed, Cause.ASKED, f"cancelled by {turn.asker}")
    else:
        number = state.find(run, received.job)
        if number is None:
            turn.order(fx.Refuse(received.origin, received.request, NotFound.code, f"run {run.id} has no job {received.job!r}"))
            return
        kept = (*TERMINAL, JobState.RUNNING) if received.unstarted else TERMINAL
        doomed = [number] if state.jobs[number].state not in kept else []
        if doomed:
            cancel(turn, doomed, Cause.ASKED, f"cancelled by {turn.asker}")
            # Make a new list, because the old list belongs to an event.
            doomed = [*doomed, *cancel_descendants(turn, number, f"its ancestor {received.job} was cancelled by {turn.asker}")]
    turn.order(fx.ReplyCancelled(received.origin, received.request, len(doomed)))


def cancel(turn: Turn, jobs: list[int], cause: Cause, reason: str) -> None:
    """Cancel jobs that are not over, and stop their processes. `reason` is for people."""
    if not jobs:
        return
    end(turn, jobs, ev.JobsCancelled(jobs, reason, turn.now, turn.actor, cause))


def skip(turn: Turn, jobs: list[int], reason: str, cause: Cause = Cause.NONE) -> None:
    """Skip WAITING jobs. `cause` is SKIPPED if the false condition is that of an ancestor."""
    if jobs:
        end(turn, jobs, ev.JobsSkipped(jobs, reason, turn.now, cause))


def end(turn: Turn, jobs: list[int], event: ev.JobsCancelled | ev.JobsSkipped | ev.ServicesStopped) -> None:
    """Emit the event that ends these jobs, and stop their processes."""
    stops: dict[int, list[int]] = {}
    for number in jobs:
        job = turn.state.jobs[number]
        turn.runs[job.run.id] = job.run
        if job.lease:
            stops.setdefault(job.worker, []).append(job.lease)
        if job.service is not None and job.service.old_lease:
            stops.setdefault(job.service.old_worker, []).append(job.service.old_lease)
    turn.emit(event)
    for worker, leases in stops.items():
        turn.order(fx.SendStop(worker, leases))


def is_consequence(job: Job) -> bool:
    """Return True if the job was cancelled because of other jobs, not by a user."""
    return job.cause in CONSEQUENCES


def is_unneeded(job: Job) -> bool:
    """Return True for a handler that was not needed, and for a job that depended on such a handler.
    These jobs do not make their run FAILED."""
    return job.cause in UNNEEDED


def cancel_descendants(turn: Turn, number: int, reason: str, cause: Cause = Cause.ANCESTOR) -> list[int]:
    """Cancel the descendants that can never run because a job did not complete, and return them.

    Make these jobs ready if they have no other open parents: the handlers of a DEAD job, its
    children if it has `on_failure` "continue", and jobs that wait for the end of their parents.

    With `Cause.SKIPPED`, descendants that wait are SKIPPED instead.
    """
    cancelled: list[int] = []
    pending = [([number], reason, cause)]
    while pending:
        roots, reason, cause = pending.pop()
        doomed, ready, handlers = _behind(turn, roots)
        skipped = [n for n in doomed if turn.state.jobs[n].state is JobState.WAITING] if cause is Cause.SKIPPED else []
        skip(turn, skipped, reason, cause)
        cancel(turn, [n for n in doomed if n not in skipped] if skipped else doomed, cause, reason)
        cancelled += doomed
        jobs = turn.state.jobs
        waiting = [n for n in (*ready, *handlers) if jobs[n].state is JobState.WAITING]
        make_ready(turn, [n for n in waiting if (handlers[n] if n in handlers else not jobs[n].missing)])
        idle = [h for h in handlers if jobs[h].state is JobState.WAITING and not jobs[h].missing]
        pending += _unneeded(turn, idle)
        cancelled += idle
    return cancelled


def dismiss(turn: Turn, handlers: list[int]) -> None:
    """Cancel handlers that are not needed, because all their parents are over and none is DEAD.
    Cancel the jobs that depend on these handlers too."""
    for roots, reason, cause in _unneeded(turn, handlers):
        for number in roots:
            cancel_descendants(turn, number, reason, cause)


def _unneeded(turn: Turn, handlers: list[int]) -> list[tuple[list[int], str, Cause]]:
    cancel(turn, handlers, Cause.NOT_NEEDED, "not needed")
    jobs = turn.state.jobs
    return [([h], f"its ancestor {jobs[h].name} was not needed", Cause.ANCESTOR_NOT_NEEDED) for h in handlers]


def _behind(turn: Turn, roots: list[int]) -> tuple[list[int], dict[int, None], dict[int, bool]]:
    """Return the dependents of the jobs `roots` in three groups: jobs that can never run, jobs that
    may go on in spite of the end of a parent, and handlers. The third group maps each handler to
    True if one of its visited parents is DEAD, else to False."""
    jobs = turn.state.jobs
    doomed: dict[int, None] = {}
    ready: dict[int, None] = {}
    handlers: dict[int, bool] = {}
    stack = list(roots)
    while stack:
        number = stack.pop()
        job = jobs[number]
        dead = job.state is JobState.DEAD
        goes_on = dead and job.template.on_failure == "continue"
        for child in job.children or ():
            entry = jobs[child]
            if entry.template.kind == HANDLER:
                handlers[child] = handlers.get(child, False) or dead
            elif goes_on or entry.template.when:
                ready[child] = None
            elif child not in doomed and entry.state not in TERMINAL:
                doomed[child] = None
                stack.append(child)
    return list(doomed), ready, handlers
