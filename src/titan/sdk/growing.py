"""Jobs that add other jobs to their run once their parents are done.

A job with `expand` is a call that adds a job for each item of a parent's result. A job with
`pipeline` is a call that adds the jobs of a saved pipeline. Dependents of such a job wait for all
added jobs. The request is `titan.protocol.growth_messages.Grow`. Additions by a job's own code are
in `additions`. Journals contain calls of this module's `expand_list` and `add_saved`, so those keep
their names.
"""

from __future__ import annotations

import hashlib
import io
import pickle
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from titan.errors import CallerError, InvalidGraph
from titan.model.conditions import renamed
from titan.model.dag import DagSpec, JobTemplate, Parallel
from titan.model.job_inputs import INDEX, array_of_source
from titan.model.job_results import renamed_results
from titan.net.job_link import ask
from titan.protocol import messages as msg
from titan.sdk.arrays import BadArray, foreach_of, member, rows
from titan.sdk.caching import cache_of_array
from titan.sdk.functions import Function
from titan.sdk.job import Job

Ask = Callable[[msg.Message, type[Any]], Any]
"""Sends a request through the job's worker to the master.

Returns the answer, of the given class.
"""
MAX_ITEMS = 100_000


def key_of(spec: DagSpec, before: Sequence[str], *, before_children: bool) -> str:
    """Return the default idempotency key of an addition, made of its jobs.

    Another attempt of the same job that adds the same jobs adds nothing more.
    """
    addition = msgspec.msgpack.encode((spec.ids, list(before), before_children))
    return hashlib.sha256(addition).hexdigest()[:40]


def grow(ask: Ask, spec: DagSpec, *, before: Sequence[str] = (), before_children: bool = False, key: str = "") -> int:
    """Add jobs to the run of the asking job. Return their number.

    Raises InvalidGraph, Conflict, NotFound.
    """
    key = key or key_of(spec, before, before_children=before_children)
    answer: msg.Grown = ask(msg.Grow(0, 0, "", key, spec, tuple(before), before_children), msg.Grown)
    return answer.jobs


class Shape(msgspec.Struct, frozen=True, array_like=True):
    """Common part of the jobs of an expansion, which are named `id`[0], `id`[1] and so on."""

    id: str
    template: JobTemplate
    args: tuple[str, ...]
    parents: tuple[str, ...] = ()
    """Jobs of the run that provide the inputs."""


def expand_list(shape: bytes, items: object) -> list[str]:
    """Add a job of this shape for each item, and return their ids. Runs as a call."""
    spec = expanded(msgspec.msgpack.decode(shape, type=Shape), items)
    if spec is None:
        return []
    grow(ask, spec, before_children=True)
    return spec.ids


def expanded(shape: Shape, items: object) -> DagSpec | None:
    """Return the jobs for these items, or None if there are no items.

    Raises CallerError if `items` is not a list or a number.

    >>> spec = expanded(Shape("work", JobTemplate(command="echo"), ("--part=${item}",)), ["a", 2])
    >>> spec.ids, spec.args
    (['work[0]', 'work[1]'], [('--part=a',), ('--part=2',)])
    """
    if isinstance(items, (str, bytes, Mapping)) or not isinstance(items, (Iterable, int)) or isinstance(items, bool):
        raise CallerError(f"{shape.id}: expand: the result must be a list of items or a number of jobs, not {_kind(items)}")
    item_list = items if isinstance(items, int) else list(items)
    count = item_list if isinstance(item_list, int) else len(item_list)
    if count > MAX_ITEMS:
        raise CallerError(f"{shape.id}: expand: {count:,} items; the limit is {MAX_ITEMS:,}: let each job process several items")
    if count <= 0:
        return None
    try:
        job_rows = list(rows(foreach_of(item_list), None, shape.args, ()))
    except BadArray as error:
        raise CallerError(f"{shape.id}: expand: {error}") from None
    template = shape.template
    if template.cache is not None:
        template = msgspec.structs.replace(template, cache=cache_of_array(template.cache, [args for args, _ in job_rows]))
    return DagSpec(
        name=shape.id,
        version="",
        templates=[template],
        ids=[member(shape.id, i) for i in range(count)],
        template_of=[0] * count,
        args=[args for args, _ in job_rows],
        parents=[shape.parents] * count,
    )


def add_saved(name: str, prefix: str) -> list[str]:
    """Add the jobs of a saved pipeline, each as PREFIX.ID, and return their ids. Runs as a call."""
    spec = prefixed(saved(ask, name), prefix)
    grow(ask, spec, before_children=True)
    return spec.ids


def saved(ask: Ask, name: str) -> DagSpec:
    """Return the DAG of a saved pipeline. Raises NotFound."""
    answer: msg.Pipeline = ask(msg.GetPipeline(0, name), msg.Pipeline)
    return answer.dag


def prefixed(spec: DagSpec, prefix: str) -> DagSpec:
    """Return the same jobs with ids of the form PREFIX.ID.

    >>> template = JobTemplate(command="true")
    >>> spec = DagSpec("d", "", [template], ["a", "b"], [0, 0], [(), ()], [(), ("a",)])
    >>> prefixed(spec, "sub").parents
    [(), ('sub.a',)]
    """
    named = {name: f"{prefix}.{name}" for name in spec.ids}
    templates = [_with_names(t, prefix, named) for t in spec.templates]
    parents = [tuple([named[p] for p in ps]) for ps in spec.parents]
    args = [
        tuple([renamed_results(text, named) for text in texts]) if spec.templates[t].fills_results else texts
        for t, texts in zip(spec.template_of, spec.args, strict=True)
    ]
    return msgspec.structs.replace(
        spec, ids=list(named.values()), parents=parents, args=args, templates=templates, deadline_s=0.0, group=""
    )


def _with_names(template: JobTemplate, prefix: str, named: Mapping[str, str]) -> JobTemplate:
    """Return the template with the new ids of the jobs that it names."""
    t = template
    if t.inputs or t.condition:
        inputs = tuple([(path, _renamed(job, prefix, named), output) for path, job, output in t.inputs])
        t = msgspec.structs.replace(t, inputs=inputs, condition=renamed(t.condition, named) if t.condition else "")
    if t.parallel is not None:
        t = msgspec.structs.replace(t, parallel=Parallel(f"{prefix}.{t.parallel.array}", t.parallel.most))
    if t.fills_results:
        t = msgspec.structs.replace(
            t,
            command=renamed_results(t.command, named),
            argv=tuple([renamed_results(text, named) for text in t.argv]),
            env=tuple([(name, renamed_results(text, named)) for name, text in t.env]),
        )
    return t


def _renamed(source: str, prefix: str, named: Mapping[str, str]) -> str:
    """Return the source of an input among the renamed jobs."""
    return f"{prefix}.{source}" if array_of_source(source) or INDEX in source else named.get(source, source)


_FUNCTIONS: dict[str, Function] = {}


def function_of(kind: str) -> Function:
    """Return the function of a planner; `kind` is "expand" or "pipeline"."""
    if kind not in _FUNCTIONS:
        _FUNCTIONS[kind] = Function(expand_list if kind == "expand" else add_saved)
    return _FUNCTIONS[kind]


_PLANNED = [row.template for row in Job.ROWS.values() if row.planner and row.template]


def planner_template(kind: str, like: JobTemplate) -> JobTemplate:
    """Return the template of the call that adds the jobs.

    It asks for no resources: those are for the added jobs.
    """
    same = {name: getattr(like, name) for name in _PLANNED}
    same["retries"] = max(like.retries, 1)
    return JobTemplate(function=function_of(kind).hash, requirement=like.requirement, **same)


class _ParentValue:
    """Placeholder for the value of a parent."""

    def __init__(self, position: int) -> None:
        self.position = position


class _Pickler(pickle.Pickler):
    def persistent_id(self, value: object) -> int | None:
        return value.position if type(value) is _ParentValue else None


def payload_of_expansion(shape: Shape, position: int) -> bytes:
    """Return the arguments of `expand_list`, with the value of parent `position` as the items."""
    into = io.BytesIO()
    _Pickler(into, protocol=5).dump((msgspec.msgpack.encode(shape), _ParentValue(position)))
    return into.getvalue()


def payload_of_pipeline(name: str, prefix: str) -> bytes:
    return pickle.dumps((name, prefix), 5)


def _kind(value: object) -> str:
    return "nothing" if value is None else f"a {type(value).__name__}"


def check_items_shape(job: str, args: Sequence[str]) -> None:
    """Check the placeholders in `args`, as far as that is possible without the items.

    Raises InvalidGraph.
    """
    for text in args:
        if "${matrix" in text.replace("$${", ""):
            raise InvalidGraph.of(job, "args", "an expansion has no matrix: write ${item}")
