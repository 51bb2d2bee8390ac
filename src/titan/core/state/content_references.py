"""References from the state to content, by SHA-256. The master may remove content that has no
reference.

A run refers to its scripts, archives, functions, arguments, results, outputs and published files. A
schedule and a saved pipeline refer to the content that their future runs need. A shared key refers
to its versions. A result that is kept for later jobs refers to its outputs and its value.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from titan.core.state.state import Job, Run, State
from titan.model.dag import JobTemplate
from titan.model.files import StoredFile
from titan.model.values import BY_CONTENT_BYTES, artifact_of

_HASH = re.compile(rb"[0-9a-f]{64}")


def of_templates(templates: Iterable[JobTemplate]) -> Iterator[str]:
    for template in templates:
        for hash_ in content_of(template):
            if hash_:
                yield hash_


def content_of(template: JobTemplate) -> tuple[str, ...]:
    """Return the hashes that a template refers to; some may be empty."""
    stdin = "" if template.stdin.startswith("/") else template.stdin
    return template.file_hash, template.archive, template.function, stdin


def of_payload(payload: bytes) -> Iterator[str]:
    """Yield the hashes that the arguments of a call may refer to.

    If a call adds jobs, its pickled arguments contain the templates of these jobs. Any text in the
    arguments that looks like a hash therefore counts as a reference. An extra reference only keeps
    a blob too long; a missing reference would lose the blob.
    """
    if len(payload) == BY_CONTENT_BYTES and (hash_ := artifact_of(payload)) is not None:
        yield hash_
    elif len(payload) >= 64:
        for found in _HASH.findall(payload):
            yield found.decode()


def of_jobs(jobs: Iterable[Job]) -> Iterator[str]:
    for job in jobs:
        if job.payload:
            yield from of_payload(job.payload)
        yield from of_result(job.value, job.outputs)


def of_result(value: bytes, outputs: Iterable[StoredFile]) -> Iterator[str]:
    if len(value) == BY_CONTENT_BYTES and (hash_ := artifact_of(value)) is not None:
        yield hash_
    for output in outputs:
        yield output.hash


def of_run_itself(run: Run) -> Iterator[str]:
    """Yield the references of a run, without the references of its jobs."""
    yield from of_templates(run.templates)
    for versions in run.published.values():
        for version in versions:
            yield version.hash


def of_run(state: State, run: Run) -> set[str]:
    """Return all references of a run. For a run that is still being submitted in parts, include
    only the jobs that have arrived."""
    found = set(of_run_itself(run))
    found.update(of_jobs(state.jobs[number] for number in numbers_of(run)))
    return found


def numbers_of(run: Run) -> Iterable[int]:
    """Return the numbers of the run's jobs that have arrived."""
    return run.numbers() if run.added < 0 else range(run.first, run.first + run.added)


def apart_from_runs(state: State) -> set[str]:
    """Return the content that schedules, saved pipelines, shared keys and kept results refer to."""
    found = {version.hash for versions in state.published.values() for version in versions}
    for result in state.result_cache.results.values():
        found.update(of_result(result.value, result.outputs))
    dags = [schedule.dag for schedule in state.schedules.values()]
    dags += [pipeline.dag for pipeline in state.saved.values()]
    for dag in dags:
        found.update(of_templates(dag.templates))
        for payload in dag.payloads:
            found.update(of_payload(payload))
    return found
