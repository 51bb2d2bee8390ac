"""What `on_failure` and `hitl_message` do to a graph: a handler waits for the jobs that name it, a gate stands behind its job.

The jobs that come out say everything in their `parents`; who named a handler, and which gate was put in, shows there alone.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

from titan.errors import InvalidGraph
from titan.sdk.arrays import array_of
from titan.sdk.failure_fields import GATE_SUFFIX
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
        if handler.type != "run" or handler.is_array:
            raise _fault(by[0], f"{name!r} is {'an array' if handler.is_array else 'a ' + handler.type}: a handler is a single job")
        if handler.parents:
            raise _fault(by[0], f"{name!r} has parents of its own: a handler waits for the jobs that name it, and for nothing else")
    return named


def wired(jobs: Sequence[Job]) -> Sequence[Job]:
    """The jobs as they are submitted, the given ones in their order; `jobs` itself if that is the same. Raises InvalidGraph."""
    handlers = handlers_of(jobs)
    gated = {job.id: job.id + GATE_SUFFIX for job in jobs if job.hitl_message is not None}
    if not handlers and not gated:
        return jobs
    ids = {job.id for job in jobs}
    made: list[Job] = []
    for job in jobs:
        parents = tuple(handlers[job.id]) if job.id in handlers else _behind_gates(job.parents, gated)
        made.append(job if parents == job.parents else _with_parents(job, parents))
        if job.hitl_message is not None:
            gate = gated[job.id]
            if gate in ids:
                raise InvalidGraph(f"job {gate!r}: id: the gate behind {job.id!r} has that id: give the job another", gate)
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


def _with_parents(job: Job, parents: tuple[str, ...]) -> Job:
    made = copy.copy(job)
    object.__setattr__(made, "parents", parents)
    return made


def _fault(job: str, problem: str) -> InvalidGraph:
    return InvalidGraph(f"job {job!r}: on_failure: {problem}", job)
