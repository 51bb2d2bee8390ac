"""What `on_failure`, `hitl_message` and `inputs` do to a graph: a handler waits for the jobs that
name it, a gate stands behind its job, and whoever is given a file waits for who makes it.

The jobs that come out say everything in their `parents`; who named a handler, and which gate was
put in, shows there alone.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

from titan.errors import InvalidGraph
from titan.model.files import INDEX, MAX_FILES, nested_problem
from titan.sdk.arrays import array_of, member
from titan.sdk.failure_fields import GATE_SUFFIX, Type
from titan.sdk.field_table import BadField
from titan.sdk.fields import id_problem
from titan.sdk.file_fields import Input, resolve_input
from titan.sdk.gate import Gate
from titan.sdk.job import Job


def handlers_of(jobs: Sequence[Job]) -> dict[str, list[str]]:
    """handler -> the jobs that name it. Raises InvalidGraph for a handler that is none."""
    named: dict[str, list[str]] = {}
    for job in jobs:
        if job.handler:
            named.setdefault(job.handler, []).append(job.id)
    if not named:
        return named
    known = {job.id: job for job in jobs}
    for name, by in named.items():
        handler = known.get(name)
        if handler is None:
            raise _fault(by[0], f"there is no job {name!r}")
        if handler.id in by:
            raise _fault(name, "a job cannot be its own handler")
        if handler.type != Type.RUN or handler.is_array:
            raise _fault(by[0], f"{name!r} is {'an array' if handler.is_array else 'a ' + handler.type}: a handler is a single job")
        if handler.parents:
            raise _fault(by[0], f"{name!r} has parents of its own: a handler waits for the jobs that name it, and for nothing else")
    return named


def wired(jobs: Sequence[Job]) -> Sequence[Job]:
    """The jobs as they are submitted, the given ones in their order; `jobs` itself if that is the
    same. Raises InvalidGraph."""
    handlers = handlers_of(jobs)
    gated = {job.id: job.id + GATE_SUFFIX for job in jobs if job.hitl_message is not None}
    if not handlers and not gated and not any(job.inputs for job in jobs):
        return jobs
    outputs = {job.id: dict(job.outputs) for job in jobs}
    arrays = {job.id: job.size for job in jobs if job.is_array}
    ids = {job.id for job in jobs}
    made: list[Job] = []
    for job in jobs:
        parents = tuple(handlers[job.id]) if job.id in handlers else _behind_gates(job.parents, gated)
        inputs, givers = _inputs(job, outputs, arrays) if job.inputs else ((), ())
        if inputs:  # behind the gate of who makes one too, if there is one
            parents = tuple(dict.fromkeys((*parents, *_behind_gates(givers, gated), *givers)))
        changed = parents != job.parents or inputs != job.inputs
        made.append(_with_parents(job, parents, inputs) if changed else job)
        if job.hitl_message is not None:
            gate = gated[job.id]
            if problem := id_problem(gate):
                raise InvalidGraph.of(job.id, "hitl_message", f"the gate behind the job is {gate!r}, which {problem}")
            if gate in ids:
                raise InvalidGraph.of(gate, "id", f"the gate behind {job.id!r} has that id: give the job another")
            made.append(Gate(gate, job.hitl_message, [job.id], max_wait=job.max_wait_seconds, webhook=job.webhook))
    return made


def _behind_gates(parents: tuple[str, ...], gated: dict[str, str]) -> tuple[str, ...]:
    """A job, an array or one of its jobs is waited for at the gate behind it."""
    if not gated or not parents:
        return parents
    return tuple(dict.fromkeys(gated.get(parent) or gated.get(_array(parent), parent) for parent in parents))


def _array(parent: str) -> str:
    """The array that a parent names a job of, "" if it names none."""
    return parent.partition("[")[0] if "${" in parent else array_of(parent)[0]


def _with_parents(job: Job, parents: tuple[str, ...], inputs: tuple[Input, ...]) -> Job:
    made = copy.copy(job)
    object.__setattr__(made, "parents", parents)
    object.__setattr__(made, "inputs", inputs)
    return made


def _inputs(job: Job, outputs: dict[str, dict[str, str]], arrays: dict[str, int]) -> tuple[tuple[Input, ...], tuple[str, ...]]:
    """Each with its path and the job that makes it, and the jobs and arrays that do. Of a whole
    array: PATH/0, PATH/1, ..."""
    try:
        found: list[Input] = []
        resolved = [resolve_input(one, outputs) for one in job.inputs]
        for one in resolved:
            if one.job in arrays:
                found += [Input(f"{one.path}/{i}", member(one.job, i), one.output) for i in range(arrays[one.job])]
            else:
                found.append(one)
        if len(found) > MAX_FILES:
            raise BadField(f"{len(found):,} files; the limit is {MAX_FILES}: let jobs between them put several into a folder")
        if problem := nested_problem([one.path for one in found]):
            raise BadField(problem)
        if not job.is_array and any(INDEX in one.job for one in found):
            raise BadField(f"{INDEX} stands for the position in an array, and this is a single job")
    except BadField as bad:
        raise InvalidGraph.of(job.id, "inputs", str(bad)) from None
    return tuple(found), tuple([one.job for one in resolved])


def _fault(job: str, problem: str) -> InvalidGraph:
    return InvalidGraph.of(job, "on_failure", problem)
