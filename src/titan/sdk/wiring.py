"""Effects of `on_failure`, `always`, `if`, `hitl_message` and `inputs` on a graph.

A failure handler waits for the jobs that name it. A gate is added after its job. A job waits for
the jobs that make its inputs, and for those that its condition or its texts name. An `always` job
without parents waits for the jobs of the DAG. The resulting jobs express all this in their
`parents`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence, Set
from typing import Any

from titan.errors import InvalidGraph
from titan.model.conditions import parse
from titan.model.files import MAX_INPUT_FILES, nested_problem
from titan.model.job_inputs import INDEX, NAMED, NUMBERED, array_of_source
from titan.model.patterns import is_pattern, root_of
from titan.sdk.arrays import array_of
from titan.sdk.failure_fields import GATE_SUFFIX, Type
from titan.sdk.field_table import BadField
from titan.sdk.fields import id_problem
from titan.sdk.file_fields import Input, array_or_job, resolve_input
from titan.sdk.gate import Gate
from titan.sdk.job import Job
from titan.sdk.result_texts import is_left_to_shell, named_results, takes_results
from titan.sdk.tasks import TaskCall


def handlers_of(jobs: Sequence[Job]) -> dict[str, list[str]]:
    """Return each handler with the jobs that name it.

    Raises InvalidGraph for an invalid handler.
    """
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
            raise _fault(by[0], f"the handler {name!r} is not a job of the DAG")
        if handler.id in by:
            raise _fault(name, "a job cannot be its own handler")
        if handler.type != Type.RUN or handler.is_array:
            raise _fault(by[0], f"{name!r} is {'an array' if handler.is_array else 'a ' + handler.type}: a handler is a single job")
        if field := "always" if handler.always else "condition" if handler.condition else "":
            key = Job.ROWS[field].key or field
            raise InvalidGraph.of(name, field, f"the job is the failure handler of {by[0]!r}: leave out {key} or that on_failure")
        if handler.parents:
            raise _fault(by[0], f"{name!r} has parents: a handler waits only for the jobs that name it")
    return named


def gate_id(job: str) -> str:
    """Return the id of the gate after a job."""
    return job + GATE_SUFFIX


def wired(jobs: Sequence[Job], gate_id: Callable[[str], str] = gate_id, calls: Sequence[TaskCall[Any]] = ()) -> Sequence[Job]:
    """Return the jobs to submit, in their order, with gates. Raises InvalidGraph.

    `gate_id` names the gate after a job. `calls` are the other nodes of the graph. The result is
    `jobs` itself if nothing changes.
    """
    result = _wired(jobs, gate_id)
    return _after_all(result, calls) if any(job.always and not job.parents for job in jobs) else result


def _after_all(jobs: Sequence[Job], calls: Sequence[TaskCall[Any]]) -> Sequence[Job]:
    """Return the jobs with parents for `always` jobs that have none: all jobs and calls, except
    services, `always` jobs, and dependents of these `always` jobs."""
    last = [job.id for job in jobs if job.always and not job.parents]
    children: dict[str, list[str]] = {}
    for job in jobs:
        for parent in job.parents:
            for name in dict.fromkeys((parent, _array(parent))):
                children.setdefault(name, []).append(job.id)
    for call in calls:
        for parent in (*[above.id for above in call.parents], *call.task._after):
            for name in dict.fromkeys((parent, _array(parent))):
                children.setdefault(name, []).append(call.id)
    behind = dict.fromkeys(last)
    stack = list(last)
    while stack:
        for child in children.get(stack.pop(), ()):
            if child not in behind:
                behind[child] = None
                stack.append(child)
    others = [job.id for job in jobs if not job.always and job.service is None and job.id not in behind]
    parents = (*others, *[call.id for call in calls if call.id not in behind])
    return [_with_parents(job, parents, job.inputs) if job.always and not job.parents else job for job in jobs]


def _wired(jobs: Sequence[Job], gate_id: Callable[[str], str]) -> Sequence[Job]:
    handlers = handlers_of(jobs)
    gated = {job.id: gate_id(job.id) for job in jobs if job.hitl_message is not None}
    if not handlers and not gated and not any(job.inputs or job.condition or takes_results(job) for job in jobs):
        return jobs
    outputs = {job.id: {output.name: output.path for output in job.outputs} for job in jobs}
    arrays = {job.id: job.size for job in jobs if job.is_array or job.expand is not None}
    services = {job.id for job in jobs if job.service is not None}
    ids = {job.id for job in jobs}
    result: list[Job] = []
    for job in jobs:
        parents = tuple(handlers[job.id]) if job.id in handlers else _after_gates(job.parents, gated)
        inputs, producers = _inputs(job, outputs, arrays) if job.inputs else ((), ())
        if inputs:  # also waits for the gate after a producer, if there is one
            parents = tuple(dict.fromkeys((*parents, *_after_gates(producers, gated), *producers)))
        if job.condition:
            named = _condition_jobs(job, arrays, services)
            parents = tuple(dict.fromkeys((*parents, *_after_gates(named, gated), *named)))
        if results := _result_jobs(job, arrays, services, ids):
            if job.id in handlers:
                raise InvalidGraph.of(*results[0][:2], "a failure handler takes no results: read them by context.value_of")
            names = tuple([name for _, _, name in results])
            parents = tuple(dict.fromkeys((*parents, *_after_gates(names, gated), *names)))
        changed = parents != job.parents or inputs != job.inputs
        result.append(_with_parents(job, parents, inputs) if changed else job)
        if job.hitl_message is not None:
            gate = gated[job.id]
            if problem := id_problem(gate):
                raise InvalidGraph.of(job.id, "hitl_message", f"the gate after the job is {gate!r}, which {problem}")
            if gate in ids:
                raise InvalidGraph.of(gate, "id", f"the gate after {job.id!r} has this id: choose another id for this job")
            result.append(Gate(gate, job.hitl_message, [job.id], max_wait=job.max_wait_seconds, webhook=job.webhook))
    return result


def _after_gates(parents: tuple[str, ...], gated: dict[str, str]) -> tuple[str, ...]:
    """Return the parents, each replaced by the gate after it or after its array."""
    if not gated or not parents:
        return parents
    return tuple(dict.fromkeys(gated.get(parent) or gated.get(_array(parent), parent) for parent in parents))


def _array(parent: str) -> str:
    """Return the array to whose jobs the parent belongs; "" if it belongs to none."""
    return parent.partition("[")[0] if "${" in parent else array_of(parent)[0]


def _with_parents(job: Job, parents: tuple[str, ...], inputs: tuple[Input, ...]) -> Job:
    changed = copy.copy(job)
    object.__setattr__(changed, "parents", parents)
    object.__setattr__(changed, "inputs", inputs)
    return changed


def _inputs(job: Job, outputs: dict[str, dict[str, str]], arrays: dict[str, int]) -> tuple[tuple[Input, ...], tuple[str, ...]]:
    """Return the resolved inputs, and the jobs and arrays that make them."""
    try:
        inputs = [_with_path(resolve_input(item, outputs), outputs, arrays) for item in job.inputs]
        producers = [array_of_source(item.job) or item.job for item in inputs]
        for item, producer in zip(inputs, producers, strict=True):
            if array_of_source(item.job) and producer not in arrays:
                raise BadField(f"{item.job!r}: {producer!r} is no array: write {producer}.{item.output}")
        count = sum(arrays.get(producer, 1) for producer in producers)
        if count > MAX_INPUT_FILES:
            raise BadField(f"has {count:,} files; the limit is {MAX_INPUT_FILES:,}: combine files into folders in a job between")
        if problem := nested_problem([item.path for item in inputs if item.path and _is_one(item, outputs)]):
            raise BadField(problem)
        if not job.is_array and any(INDEX in item.job for item in inputs):
            raise BadField(f"{INDEX} is the index in an array, but this is a single job")
    except BadField as bad:
        raise InvalidGraph.of(job.id, "inputs", str(bad)) from None
    return tuple(inputs), tuple(producers)


def _condition_jobs(job: Job, arrays: Mapping[str, int], services: Set[str]) -> tuple[str, ...]:
    """Return the jobs that a condition names. Raises InvalidGraph if one has no single end."""
    condition = parse(job.condition)
    for name in condition.jobs:
        if name in arrays:
            raise InvalidGraph.of(job.id, "condition", f"{name!r} stands for several jobs: name one of them, or a job behind them")
        if name in services or _array(name) in services:
            raise InvalidGraph.of(job.id, "condition", f"{name!r} is a service, which has no result: name another job")
        if job.id in (name, _array(name)):
            raise InvalidGraph.of(job.id, "condition", f"{name!r} is the job itself: name another job")
    waits_for = [parent for parent in job.parents if parent in services or _array(parent) in services]
    if waits_for and condition.jobs_by_state and not job.always:
        problem = f"reads the state of a job, so it cannot wait for the service {waits_for[0]!r}: put a job between them"
        raise InvalidGraph.of(job.id, "condition", problem)
    return condition.jobs


def _result_jobs(job: Job, arrays: Mapping[str, int], services: Set[str], ids: Set[str]) -> list[tuple[str, str, str]]:
    """Return (job, field, name) of each job whose result the texts of a job name. Raises
    InvalidGraph if one has no single result."""
    found = []
    for field, name, placeholder in named_results(job):
        if name not in ids and _array(name) not in arrays and is_left_to_shell(job, field, placeholder):
            continue
        problem = ""
        if name in arrays:
            member = placeholder.replace(name, f"{name}[0]", 1)
            problem = f"{name!r} stands for several jobs: name one of them, as in {member}, or a job behind them"
        elif name in services or _array(name) in services:
            problem = f"{name!r} is a service, which has no result: name another job"
        elif job.id in (name, _array(name)):
            problem = f"{name!r} is the job itself: name another job"
        if problem:
            raise InvalidGraph.of(job.id, field, f"{placeholder}: {problem}")
        found.append((job.id, field, name))
    return found


def _with_path(item: Input, outputs: dict[str, dict[str, str]], arrays: dict[str, int]) -> Input:
    """Return the input with its path and source, as `titan.model.job_inputs` defines them.

    A whole array with a path gives numbered files, PATH/0, PATH/1 and so on. Otherwise its files
    keep their names.
    """
    if item.job in arrays:
        return item._replace(job=item.job + (NUMBERED if item.path else NAMED))
    if item.path or array_of_source(item.job):
        return item
    path = outputs[array_or_job(item.job)][item.output]
    return item._replace(path=root_of(path) if is_pattern(path) else path)


def _is_one(item: Input, outputs: dict[str, dict[str, str]]) -> bool:
    """Return True if nothing else may have or enclose the path of the input."""
    return not is_pattern(outputs[array_or_job(item.job)][item.output]) and not item.job.endswith(NAMED)


def _fault(job: str, problem: str) -> InvalidGraph:
    return InvalidGraph.of(job, "on_failure", problem)
