"""Which content the state refers to, by SHA-256. What nothing refers to may be removed from the
store.

A run refers to its scripts, archives, functions and arguments, to the values that its jobs came to,
and to what they left and published. A schedule and a saved pipeline refer to what their runs will
need; a shared key to its versions.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from titan.core.state.state import Job, Run, State
from titan.model.dag import JobTemplate
from titan.model.values import BY_CONTENT_BYTES, artifact_of

_HASH = re.compile(rb"[0-9a-f]{64}")


def of_templates(templates: Iterable[JobTemplate]) -> Iterator[str]:
    for it in templates:
        for hash_ in (it.file_hash, it.archive, it.function):
            if hash_:
                yield hash_


def of_payload(payload: bytes) -> Iterator[str]:
    """The arguments of a call. Those of a planner hold the template of the jobs that it will add,
    so any text in them that may be a hash counts as one: a hash too many keeps a blob, a hash too
    few loses it."""
    if len(payload) == BY_CONTENT_BYTES and (hash_ := artifact_of(payload)) is not None:
        yield hash_
    elif len(payload) >= 64:
        for found in _HASH.findall(payload):
            yield found.decode()


def of_jobs(jobs: Iterable[Job]) -> Iterator[str]:
    for job in jobs:
        if job.payload:
            yield from of_payload(job.payload)
        if len(job.value) == BY_CONTENT_BYTES and (hash_ := artifact_of(job.value)) is not None:
            yield hash_
        if job.extra is not None:
            for output in job.extra.outputs:
                yield output.hash


def of_run_itself(run: Run) -> Iterator[str]:
    """Without its jobs."""
    yield from of_templates(run.templates)
    for versions in run.published.values():
        for version in versions:
            yield version.hash


def of_run(state: State, run: Run) -> set[str]:
    """All that a run refers to; of one that is being submitted in parts, what is there of it."""
    found = set(of_run_itself(run))
    found.update(of_jobs(state.jobs[number] for number in numbers_of(run)))
    return found


def numbers_of(run: Run) -> Iterable[int]:
    """The jobs that are there."""
    return run.numbers() if run.added < 0 else range(run.first, run.first + run.added)


def apart_from_runs(state: State) -> set[str]:
    """Return the content that schedules, saved pipelines and shared keys refer to."""
    found = {version.hash for versions in state.published.values() for version in versions}
    for dag in (*[it.dag for it in state.schedules.values()], *[it.dag for it in state.saved.values()]):
        found.update(of_templates(dag.templates))
        for payload in dag.payloads:
            found.update(of_payload(payload))
    return found
