"""Writers of events about jobs added to running runs, and about saved pipelines."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from titan.core.apply.transitions import satisfies
from titan.core.events import events as ev
from titan.core.state.run import Growth
from titan.core.state.service import ServiceState
from titan.core.state.state import Job, SavedPipeline, State
from titan.model.dag import SERVICE
from titan.model.states import JobState


def _run_grown(state: State, e: ev.RunGrown) -> None:
    run, jobs, first = state.runs[e.run], state.jobs, e.first_job
    assert first >= state.next_job and e.ids, run.id
    position, count = run.count, len(e.ids)
    growth = Growth(first, position, count, e.by, e.depth, e.key, e.at)
    run.grown.append(growth)
    if len(run.grown) == 1:
        run.templates = run.templates.copy()  # an event holds the current list, and events must not change
    run.templates += e.templates
    run.count += count
    run.tally[JobState.WAITING] += count
    state.next_job = first + count
    for i, name in enumerate(e.ids):
        number, template = first + i, e.templates[e.template_of[i]]
        parents = tuple([first + p - position if p >= position else run.number(p) for p in e.parents[i]])
        job = jobs[number] = Job(name, run, template, e.args[i], parents, 0, since=e.at)
        if e.payloads:
            job.payload = e.payloads[i]
        if template.kind == SERVICE:
            job.service = ServiceState()
            state.add_service(number, job)
    for number in range(first, first + count):
        for parent in jobs[number].parents:
            _put_behind(state, number, parent)
    for number, positions in e.before:
        job = jobs[number]
        behind = tuple([first + p - position for p in positions])
        job.parents += behind
        for parent in behind:
            _put_behind(state, number, parent)
    state.tables.note_growth(run, growth, e.ids)
    state.releasing.setdefault(run.id, position)


def _put_behind(state: State, number: int, parent: int) -> None:
    job, entry = state.jobs[number], state.jobs[parent]
    if entry.children is None:
        entry.children = []
    entry.children.append(number)
    job.missing += not satisfies(entry, job)


def _pipeline_saved(state: State, e: ev.PipelineSaved) -> None:
    state.saved[e.name] = SavedPipeline(e.name, e.dag, e.at)


def _pipeline_removed(state: State, e: ev.PipelineRemoved) -> None:
    del state.saved[e.name]


WRITERS: dict[type, Callable[[State, Any], None]] = {
    ev.RunGrown: _run_grown,
    ev.PipelineSaved: _pipeline_saved,
    ev.PipelineRemoved: _pipeline_removed,
}
