"""Runs that grow: what a job adds to its run, and jobs that stand for others until their time has come.

A job with `expand` is a call that makes a job of each item of another's result; one with `pipeline` a call that adds the jobs of a
saved pipeline. Whoever depends on such a job waits for all that it added. What is sent is `titan.protocol.growth_messages.Grow`.
"""

from __future__ import annotations

import copy
import hashlib
import io
import os
import pickle
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from titan.errors import CallerError, InvalidGraph, LimitExceeded
from titan.model.dag import DagSpec, JobTemplate
from titan.protocol import messages as msg
from titan.sdk.arrays import BadArray, foreach_of, member, rows
from titan.sdk.fields import perm_name
from titan.sdk.functions import Function
from titan.sdk.job import DAG, Job
from titan.sdk.tasks import TaskCall

Ask = Callable[[msg.Message, type[Any]], Any]
"""Sends a request through the job's worker to the master, and returns the answer, of that kind."""
MAX_ITEMS = 100_000
MAX_FILE = 15 << 20


def key_of(spec: DagSpec, before: Sequence[str], *, before_children: bool) -> str:
    """An addition is known by the jobs it adds: another attempt of the same job that adds the same adds nothing more."""
    what = msgspec.msgpack.encode((spec.ids, list(before), before_children))
    return hashlib.sha256(what).hexdigest()[:40]


def grow(ask: Ask, spec: DagSpec, *, before: Sequence[str] = (), before_children: bool = False, key: str = "") -> int:
    """Adds jobs to the run of the job that asks; how many. Raises InvalidGraph, Conflict, NotFound."""
    key = key or key_of(spec, before, before_children=before_children)
    answer: msg.Grown = ask(msg.Grow(0, 0, "", key, spec, tuple(before), before_children), msg.Grown)
    return answer.jobs


# -- from within a job ------------------------------------------------------------------------------------------------------
def submit(
    *jobs: Job | TaskCall[Any],
    before: Iterable[str | Job] = (),
    before_children: bool = False,
    key: str = "",
) -> list[str]:
    """Adds jobs to the run of the job that calls this, all or none; returns their ids.

    - Their `parents` may be jobs of the run: the job itself, or others, over or not.
    - `before`: jobs of the run that wait for the addition from now on. They must not have been ready yet. `before_children`: so do
      the jobs that depend on this one.
    - A relative `file` is one of the project, if this job is of one; else, and with an absolute path, it is read here, at most
      15 MiB.
    - `key`: an addition of the same job with the same key is made once, also by a later attempt. Default: the ids.

    Raises InvalidGraph, Conflict, LimitExceeded; NotInJob outside of a job.
    """
    from titan import context
    from titan.sdk.staging import stage

    it = context.ask(msg.WhoAmI(0), msg.Identity)
    dag = DAG(it.job, jobs, project="/" if it.archive else None)
    staged = stage(dag, addition=True, archive=it.archive)
    try:
        if staged.unresolved:
            raise InvalidGraph(f"file: perm:{staged.unresolved[0]}: files of the master cannot be named in an addition")
        for hash_ in _lacking(list(staged.artifacts)):
            _put(hash_, staged.artifacts[hash_].read_bytes())
        names = [job if isinstance(job, str) else job.id for job in before]
        grow(context.ask, staged.spec, before=names, before_children=before_children, key=key)
    finally:
        staged.close()
    return staged.spec.ids


def submit_file(path: str, *, before: Iterable[str] = (), before_children: bool = False, key: str = "") -> list[str]:
    """Adds the jobs of a pipeline file, or with ``-`` of stdin, whose files lie beside it.

    In the folder of a job that has a project they are those of the project, as it was submitted; else they are read here. See
    `submit`. Raises InvalidPipeline.
    """
    from titan import context
    from titan.sdk.pipeline import load_addition

    it = context.ask(msg.WhoAmI(0), msg.Identity)
    root = _folder_of(it, Path(path).absolute().parent) if it.archive else None
    dag = load_addition(path, project=root is not None)
    jobs = dag.jobs
    if root is not None and dag.project is not None:
        inside = os.path.relpath(dag.project, root)
        jobs = tuple([_beside(inside, job) for job in jobs])
    return submit(*jobs, before=before, before_children=before_children, key=key)


def _folder_of(it: msg.Identity, inside: Path) -> Path | None:
    """The folder of this attempt, RUN/JOB.ATTEMPT, if `inside` lies in it."""
    folders = (inside, *inside.parents)
    return next((p for p in folders if p.name == f"{it.job}.{it.attempt}" and p.parent.name == it.run), None)


def _beside(folder: str, job: Job) -> Job:
    """A job whose file is named from this folder of its project, as one whose file is named from the project."""
    file = job.file
    if file is None or os.path.isabs(file) or perm_name(file):
        return job
    return _remade(job, file=os.path.join(folder, file))


def expand(
    job: Job, items: Iterable[Any] | int, *, join: Job | None = None, before_children: bool = False, key: str = ""
) -> list[str]:
    """Adds a job like `job` for each item (a string, number, path, or a mapping of names to such), as ID[0], ID[1], ..., and
    `join`, which waits for them all. In `args` ``${item}``, ``${item.KEY}`` and ``${index}`` stand for what differs.

    See `submit`.
    """
    if job.is_array:
        raise InvalidGraph(f"job {job.id!r}: foreach: it is an array already", job.id)
    given = items if isinstance(items, int) else list(items)
    if not given:
        return submit(join, before_children=before_children, key=key) if join is not None else []
    many = _remade(job, foreach=foreach_of(given))
    more = [] if join is None else [_remade(join, parents=(*join.parents, job.id))]
    return submit(many, *more, before_children=before_children, key=key)


def submit_saved(name: str, prefix: str = "", *, before_children: bool = False) -> list[str]:
    """Adds the jobs of a saved pipeline, each as PREFIX.ID (default: the pipeline's name). See `submit`. Raises NotFound."""
    from titan import context

    spec = prefixed(saved(context.ask, name), prefix or name)
    grow(context.ask, spec, before_children=before_children)
    return spec.ids


def _remade(job: Job, **fields: Any) -> Job:
    made = copy.copy(job)
    for name, value in fields.items():
        object.__setattr__(made, name, value)
    return made


def _lacking(hashes: list[str]) -> list[str]:
    from titan.context import ask

    return ask(msg.Stage(0, hashes, [0] * len(hashes)), msg.Staged).missing if hashes else []


def _put(hash_: str, data: bytes) -> None:
    from titan.context import ask

    if len(data) > MAX_FILE:
        raise LimitExceeded(f"a file of {len(data):,} bytes; one that a job adds a job with takes at most {MAX_FILE:,}")
    ask(msg.SendFile(0, "", len(data), hash_), msg.Stored, data)


# -- jobs that stand for others ---------------------------------------------------------------------------------------------
class Shape(msgspec.Struct, frozen=True, array_like=True):
    """What the jobs of an expansion have in common: those named `id` [0], [1] and so on."""

    id: str
    template: JobTemplate
    args: tuple[str, ...]


def expand_list(shape: bytes, items: object) -> list[str]:
    """Runs as a call: adds a job of this shape for each item, and returns their ids."""
    from titan.context import ask

    it = msgspec.msgpack.decode(shape, type=Shape)
    spec = expanded(it, items)
    if spec is None:
        return []
    grow(ask, spec, before_children=True)
    return spec.ids


def expanded(it: Shape, items: object) -> DagSpec | None:
    """The jobs for these items, None for none. Raises CallerError for what is no list of items.

    >>> spec = expanded(Shape("work", JobTemplate(command="echo"), ("--part=${item}",)), ["a", 2])
    >>> spec.ids, spec.args
    (['work[0]', 'work[1]'], [('--part=a',), ('--part=2',)])
    """
    if isinstance(items, (str, bytes, Mapping)) or not isinstance(items, (Iterable, int)) or isinstance(items, bool):
        raise CallerError(f"{it.id}: expand: the result must be a list of items or a number of jobs, not {_said(items)}")
    given = items if isinstance(items, int) else list(items)
    count = given if isinstance(given, int) else len(given)
    if count > MAX_ITEMS:
        raise CallerError(f"{it.id}: expand: {count:,} items; the limit is {MAX_ITEMS:,}: let a job work on several")
    if count <= 0:
        return None
    try:
        found = list(rows(foreach_of(given), None, it.args, ()))
    except BadArray as error:
        raise CallerError(f"{it.id}: expand: {error}") from None
    return DagSpec(
        name=it.id,
        version="",
        templates=[it.template],
        ids=[member(it.id, i) for i in range(count)],
        template_of=[0] * count,
        args=[args for args, _ in found],
        parents=[()] * count,
    )


def add_saved(name: str, prefix: str) -> list[str]:
    """Runs as a call: adds the jobs of a saved pipeline, each as PREFIX.ID, and returns their ids."""
    from titan.context import ask

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


def planner_template(kind: str, like: JobTemplate) -> JobTemplate:
    """Of the call that adds the jobs. It asks for no resources, which are for those."""
    return JobTemplate(
        function=function_of(kind).hash,
        requirement=like.requirement,
        priority=like.priority,
        delay_s=like.delay_s,
        run_at=like.run_at,
        retries=max(like.retries, 1),
    )


class _Place:
    """Stands for the value of a parent."""

    def __init__(self, position: int) -> None:
        self.position = position


class _Pickler(pickle.Pickler):
    def persistent_id(self, it: object) -> int | None:
        return it.position if type(it) is _Place else None


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
    """Places in `args` are looked at with the items there are; that they are places at all, here. Raises InvalidGraph."""
    for text in args:
        if "${matrix" in text.replace("$${", ""):
            raise InvalidGraph(f"job {job!r}: args: an expansion has no matrix: write ${{item}}", job)
