"""Jobs that stand for others until their time has come.

A job with `expand` is a call that makes a job of each item of another's result; one with `pipeline`
a call that adds the jobs of a saved pipeline. Whoever depends on such a job waits for all that it
added. What is sent is `titan.protocol.growth_messages.Grow`. What a job adds by itself is in
`additions`. Calls in journals name `expand_list` and `add_saved` of this module.
"""

from __future__ import annotations

import hashlib
import io
import pickle
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from titan.errors import CallerError, InvalidGraph
from titan.model.dag import DagSpec, JobTemplate
from titan.net.job_link import ask
from titan.protocol import messages as msg
from titan.sdk.arrays import BadArray, foreach_of, member, rows
from titan.sdk.functions import Function
from titan.sdk.job import Job

Ask = Callable[[msg.Message, type[Any]], Any]
"""Sends a request through the job's worker to the master, and returns the answer, of that kind."""
MAX_ITEMS = 100_000


def key_of(spec: DagSpec, before: Sequence[str], *, before_children: bool) -> str:
    """An addition is known by the jobs it adds: another attempt of the same job that adds the same
    adds nothing more."""
    what = msgspec.msgpack.encode((spec.ids, list(before), before_children))
    return hashlib.sha256(what).hexdigest()[:40]


def grow(ask: Ask, spec: DagSpec, *, before: Sequence[str] = (), before_children: bool = False, key: str = "") -> int:
    """Adds jobs to the run of the job that asks; how many. Raises InvalidGraph, Conflict, NotFound."""
    key = key or key_of(spec, before, before_children=before_children)
    answer: msg.Grown = ask(msg.Grow(0, 0, "", key, spec, tuple(before), before_children), msg.Grown)
    return answer.jobs


class Shape(msgspec.Struct, frozen=True, array_like=True):
    """What the jobs of an expansion have in common: those named `id` [0], [1] and so on."""

    id: str
    template: JobTemplate
    args: tuple[str, ...]


def expand_list(shape: bytes, items: object) -> list[str]:
    """Runs as a call: adds a job of this shape for each item, and returns their ids."""
    it = msgspec.msgpack.decode(shape, type=Shape)
    spec = expanded(it, items)
    if spec is None:
        return []
    grow(ask, spec, before_children=True)
    return spec.ids


def expanded(shape: Shape, items: object) -> DagSpec | None:
    """The jobs for these items, None for none. Raises CallerError for what is no list of items.

    >>> spec = expanded(Shape("work", JobTemplate(command="echo"), ("--part=${item}",)), ["a", 2])
    >>> spec.ids, spec.args
    (['work[0]', 'work[1]'], [('--part=a',), ('--part=2',)])
    """
    if isinstance(items, (str, bytes, Mapping)) or not isinstance(items, (Iterable, int)) or isinstance(items, bool):
        raise CallerError(f"{shape.id}: expand: the result must be a list of items or a number of jobs, not {_said(items)}")
    given = items if isinstance(items, int) else list(items)
    count = given if isinstance(given, int) else len(given)
    if count > MAX_ITEMS:
        raise CallerError(f"{shape.id}: expand: {count:,} items; the limit is {MAX_ITEMS:,}: let a job work on several")
    if count <= 0:
        return None
    try:
        found = list(rows(foreach_of(given), None, shape.args, ()))
    except BadArray as error:
        raise CallerError(f"{shape.id}: expand: {error}") from None
    return DagSpec(
        name=shape.id,
        version="",
        templates=[shape.template],
        ids=[member(shape.id, i) for i in range(count)],
        template_of=[0] * count,
        args=[args for args, _ in found],
        parents=[()] * count,
    )


def add_saved(name: str, prefix: str) -> list[str]:
    """Runs as a call: adds the jobs of a saved pipeline, each as PREFIX.ID, and returns their ids."""
    spec = prefixed(saved(ask, name), prefix)
    grow(ask, spec, before_children=True)
    return spec.ids


def saved(ask: Ask, name: str) -> DagSpec:
    """Raises NotFound."""
    answer: msg.Pipeline = ask(msg.GetPipeline(0, name), msg.Pipeline)
    return answer.dag


def prefixed(spec: DagSpec, prefix: str) -> DagSpec:
    """The same jobs under other names.

    >>> spec = DagSpec("d", "", [JobTemplate(command="true")], ["a", "b"], [0, 0], [(), ()], [(), ("a",)])
    >>> prefixed(spec, "sub").parents
    [(), ('sub.a',)]
    """
    named = {name: f"{prefix}.{name}" for name in spec.ids}
    templates = [
        msgspec.structs.replace(t, inputs=tuple([(path, named.get(job, job), output) for path, job, output in t.inputs]))
        if t.inputs
        else t
        for t in spec.templates
    ]
    parents = [tuple([named[p] for p in ps]) for ps in spec.parents]
    return msgspec.structs.replace(spec, ids=list(named.values()), parents=parents, templates=templates, deadline_s=0.0, group="")


_FUNCTIONS: dict[str, Function] = {}


def function_of(kind: str) -> Function:
    """`kind`: "expand" or "pipeline"."""
    if kind not in _FUNCTIONS:
        _FUNCTIONS[kind] = Function(expand_list if kind == "expand" else add_saved)
    return _FUNCTIONS[kind]


_PLANNED = [row.template for row in Job.ROWS.values() if row.planner and row.template]


def planner_template(kind: str, like: JobTemplate) -> JobTemplate:
    """Of the call that adds the jobs. It asks for no resources, which are for those."""
    same = {name: getattr(like, name) for name in _PLANNED}
    same["retries"] = max(like.retries, 1)
    return JobTemplate(function=function_of(kind).hash, requirement=like.requirement, **same)


class _Place:
    """Stands for the value of a parent."""

    def __init__(self, position: int) -> None:
        self.position = position


class _Pickler(pickle.Pickler):
    def persistent_id(self, value: object) -> int | None:
        return value.position if type(value) is _Place else None


def payload_of_expansion(shape: Shape, position: int) -> bytes:
    """The arguments of `expand_list`, where the items are the value of parent `position`."""
    into = io.BytesIO()
    _Pickler(into, protocol=5).dump((msgspec.msgpack.encode(shape), _Place(position)))
    return into.getvalue()


def payload_of_pipeline(name: str, prefix: str) -> bytes:
    return pickle.dumps((name, prefix), 5)


def _said(value: object) -> str:
    return "nothing" if value is None else f"a {type(value).__name__}"


def check_items_shape(job: str, args: Sequence[str]) -> None:
    """Places in `args` are looked at with the items there are; that they are places at all, here.
    Raises InvalidGraph."""
    for text in args:
        if "${matrix" in text.replace("$${", ""):
            raise InvalidGraph.of(job, "args", "an expansion has no matrix: write ${item}")
