"""Writers of events about runs: submission, arrival in parts, end, archiving."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from titan.core.events import events as ev
from titan.core.state.service import ServiceState
from titan.core.state.state import ARCHIVED_LIMIT, Job, Opening, Run, State
from titan.model.dag import SERVICE
from titan.model.states import JobState, RunState

WAITING = JobState.WAITING


def _run_submitted(state: State, e: ev.RunSubmitted) -> None:
    run = Run(e.run, e.key, e.name, e.version, e.templates, e.first_job, len(e.ids), e.at)
    run.deadline_s, run.schedule, run.scheduled_at, run.group = e.deadline_s, e.schedule, e.scheduled_at, e.group
    run.actor, run.source, run.fresh = e.actor, e.source, e.fresh
    _enter_run(state, run)
    _add_jobs(state, run, 0, e)
    _seal(state, run)


def _run_opened(state: State, e: ev.RunOpened) -> None:
    run = Run(e.run, e.key, e.name, e.version, e.templates, e.first_job, e.count, e.at, RunState.OPENING, added=0)
    run.deadline_s, run.schedule, run.scheduled_at, run.group = e.deadline_s, e.schedule, e.scheduled_at, e.group
    run.actor, run.source, run.fresh = e.actor, e.source, e.fresh
    if run.schedule:
        state.filling[run.schedule] = run.id
    _enter_run(state, run)
    state.opening[run.id] = Opening(run, set())


def _jobs_added(state: State, e: ev.JobsAdded) -> None:
    run = state.runs[e.run]
    assert run.state is RunState.OPENING and run.added + len(e.ids) <= run.count, run.id
    _add_jobs(state, run, run.added, e)
    run.added += len(e.ids)
    opening = state.opening.get(run.id)
    if opening is not None:
        opening.ids.update(e.ids)


def _run_sealed(state: State, e: ev.RunSealed) -> None:
    run = state.runs[e.run]
    assert run.added == run.count, run.id
    run.state, run.added, run.submitted_at = RunState.RUNNING, -1, e.at
    state.opening.pop(run.id, None)
    _seal(state, run)


def _run_dropped(state: State, e: ev.RunDropped) -> None:
    run = state.runs.pop(e.run)
    assert run.state is RunState.OPENING, run.id
    state.opening.pop(run.id, None)
    state.filling.pop(run.schedule, None)
    state.services.pop(run.id, None)
    for number in range(run.first, run.first + run.added):
        del state.jobs[number]


def _run_archived(state: State, e: ev.RunArchived) -> None:
    run = state.runs.pop(e.run)
    assert run.state not in (RunState.RUNNING, RunState.OPENING), run.id
    for number in run.numbers():
        job = state.jobs.pop(number)
        state.dead.pop(number, None)
        if job.extra is not None and job.extra.gate is not None:
            for token in job.extra.gate.tokens:
                del state.tokens[token]
    state.tables.forget(run)
    state.releasing.pop(run.id, None)
    if run.key:
        del state.keys[run.key]
        state.archived[run.key] = (run.id, run.count)
        if len(state.archived) > ARCHIVED_LIMIT:
            del state.archived[next(iter(state.archived))]


def _roots_released(state: State, e: ev.RootsReleased) -> None:
    if e.position >= state.runs[e.run].count:
        del state.releasing[e.run]
    else:
        state.releasing[e.run] = e.position


def _enter_run(state: State, run: Run) -> None:
    assert run.id not in state.runs and run.first >= state.next_job, run.id
    state.runs[run.id] = run
    state.next_job = run.first + run.count


def _seal(state: State, run: Run) -> None:
    if run.key:
        state.keys[run.key] = run.id
    state.releasing[run.id] = 0
    state.await_deadline(run)
    if run.schedule:
        state.filling.pop(run.schedule, None)
        state.live.setdefault(run.schedule, {})[run.id] = None


def _add_jobs(state: State, run: Run, position: int, e: ev.RunSubmitted | ev.JobsAdded) -> None:
    """Add the jobs in the columns of an event to a run, from `position` on."""
    jobs, base, first, templates = state.jobs, run.first, run.first + position, run.templates
    run.tally[WAITING] += len(e.ids)
    for i, name in enumerate(e.ids):
        parents = e.parents[i]
        if parents:
            parents = tuple([base + p for p in parents])
        jobs[first + i] = Job(name, run, templates[e.template_of[i]], e.args[i], parents, len(parents), since=e.at)
    for i, payload in enumerate(e.payloads):
        jobs[first + i].payload = payload
    if any(template.kind == SERVICE for template in templates):
        for number in range(first, first + len(e.ids)):
            if jobs[number].template.kind == SERVICE:
                jobs[number].service = ServiceState()
                state.add_service(number, jobs[number])
    for i, positions in enumerate(e.parents):
        for p in positions:
            parent = jobs[base + p]
            if parent.children is None:
                parent.children = []
            parent.children.append(first + i)


def _run_cancelled(state: State, e: ev.RunCancelled) -> None:
    state.runs[e.run].cancelled = True


def _run_finished(state: State, e: ev.RunFinished) -> None:
    run = state.runs[e.run]
    assert run.open == 0 and run.state is RunState.RUNNING, run.id
    run.state = RunState(e.state)
    run.finished_at = e.at
    if run.deadline_s and not run.expired:
        state.disarm()
    if run.schedule:
        live = state.live[run.schedule]
        del live[run.id]
        if not live:
            del state.live[run.schedule]


def _run_expired(state: State, e: ev.RunExpired) -> None:
    state.runs[e.run].expired = True


WRITERS: dict[type, Callable[[State, Any], None]] = {
    ev.RunSubmitted: _run_submitted,
    ev.RunOpened: _run_opened,
    ev.JobsAdded: _jobs_added,
    ev.RunSealed: _run_sealed,
    ev.RunDropped: _run_dropped,
    ev.RunArchived: _run_archived,
    ev.RootsReleased: _roots_released,
    ev.RunCancelled: _run_cancelled,
    ev.RunExpired: _run_expired,
    ev.RunFinished: _run_finished,
}
