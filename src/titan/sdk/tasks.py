"""`titan.task`: functions whose calls make a graph instead of running.

A call of a task is a node. It holds its pickled arguments and the nodes among them. Their results
replace those nodes when the call runs. Owns nodes, options, and the plan of wanted nodes as a DAG.
It must not know how the DAG is sent.
"""

from __future__ import annotations

import copy
import functools
import itertools
import pickle
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, NamedTuple, NoReturn, Protocol, TypedDict, TypeVar, cast, overload

from titan.errors import CallerError, InvalidGraph
from titan.model.dag import MAX_PRIORITY, MAX_RETRIES, Cache, DagSpec, JobTemplate
from titan.model.demand import MAX_GPUS
from titan.model.names import NAME_RULE, match_name
from titan.model.secrets import NOT_FOR_CALLS
from titan.sdk.caching import cache_of
from titan.sdk.field_table import BadField
from titan.sdk.fields import Integer, timeout_of
from titan.sdk.functions import Function, Parcel, arguments_of, parcelled, printable
from titan.sdk.needs import cpus_of, main_capability, memory_of, needs_of, requirement_of
from titan.sdk.pickles import dumps
from titan.sdk.slot_release import session

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
_NAME_CHARS = 100
_UNFIT = re.compile(r"[^A-Za-z0-9_.:@+=,\[\]-]+")
_numbers = itertools.count()


def _job_name(task: str) -> str:
    return _UNFIT.sub("_", task)[:_NAME_CHARS].lstrip(".:@+=,[]-") or "task"


class MapOptions(TypedDict, total=False):
    """Options for the calls of a map. They mean the same as in `Job`."""

    retries: int
    priority: int
    requirement: str | Sequence[str]
    cpus: float
    memory: int | str
    gpus: int
    cache: bool | Mapping[str, Any] | Cache


class CallOptions(MapOptions, total=False):
    """Options for calls."""

    timeout: float | str | None


_CHECKS: dict[str, Callable[[Any], Any]] = {
    "retries": Integer(0, MAX_RETRIES),
    "timeout": timeout_of,
    "priority": Integer(-MAX_PRIORITY, MAX_PRIORITY),
    "requirement": requirement_of,
    "cpus": cpus_of,
    "memory": memory_of,
    "gpus": Integer(0, MAX_GPUS, "a whole number of GPUs"),
    "cache": cache_of,
}


@dataclass(frozen=True, slots=True)
class Options:
    """Options for the calls of a function. They mean the same as in `Job`."""

    name: str = ""
    """Name of the task; "" for a function that is no task."""
    retries: int = 0
    timeout: float | None = None
    priority: int = 1
    requirement: str | tuple[str, ...] = "GENERAL"
    cpus: float = 0.0
    memory: int = 0
    gpus: int = 0
    cache: bool | Mapping[str, Any] | Cache | None = None

    def __post_init__(self) -> None:
        for field, check in _CHECKS.items():
            try:
                object.__setattr__(self, field, check(getattr(self, field)))
            except BadField as bad:
                raise InvalidGraph(f"{_owner(self.name)}: {field}: {bad}") from None

    def changed(self, changes: Mapping[str, Any]) -> Options:
        """Return these options with some changes. Raises InvalidGraph."""
        unknown = next((key for key in changes if key not in Options.__slots__), "")
        if unknown == "secrets":
            raise InvalidGraph(f"{_owner(self.name)}: secrets: {NOT_FOR_CALLS}")
        if unknown:
            known = [name for name in Options.__slots__ if self.name or name != "name"]
            raise InvalidGraph(f"{_owner(self.name)}: unknown option {unknown!r}: use one of {', '.join(known)}")
        return replace(self, **changes) if changes else self


def _owner(task: str) -> str:
    return f"task {task!r}" if task else "options of calls"


class Identified(Protocol):
    """A job or a node of a DAG."""

    @property
    def id(self) -> str: ...


class Task(Generic[T_co]):
    """Function whose calls are nodes of a graph. See `task`."""

    def __init__(self, function: Callable[..., T_co], options: Options, after: tuple[str, ...] = ()) -> None:
        self.function = function
        self._options = options
        self._after = after
        functools.update_wrapper(self, function, updated=())

    def __call__(self, *args: Any, **kwargs: Any) -> TaskCall[T_co]:
        """Return a node. Its arguments are pickled now, so later changes to them have no effect."""
        return TaskCall(self, *_pack(args, kwargs))

    def run(self, *args: Any, **kwargs: Any) -> T_co:
        """Call the function in this process."""
        return self.function(*args, **kwargs)

    def options(self, **changes: Any) -> Task[T_co]:
        """Return the same task with other options.

        The options are those of `titan.task`.
        """
        return Task(self.function, self._options.changed(changes), self._after)

    def after(self, *others: Identified | str) -> Task[T_co]:
        """Return the same task, whose calls also wait for these jobs of a DAG.

        Each is a Job, a task call or an id. The calls do not receive their results.
        """
        ids = [other if isinstance(other, str) else other.id for other in others]
        return Task(self.function, self._options, tuple(dict.fromkeys((*self._after, *ids))))

    def __reduce__(self) -> Any:
        # In a job the task's name refers to the plain function, which `copy.copy` returns as it is.
        return copy.copy, (self.function,)

    def __repr__(self) -> str:
        return f"<Task {self._options.name}>"


class JobValue(NamedTuple):
    """Placeholder for the result of a Job of the same DAG, as an argument of a call."""

    id: str


value_of_kind: dict[type, Callable[[Any], JobValue]] = {}
"""Classes whose objects are placeholders among the arguments of a call, with their converters.

`titan.sdk.job` registers `Job` here.
"""


class TaskCall(Generic[T_co]):
    """A call that has not run.

    Pass it to other tasks in place of its result, or to `Client.compute`.
    """

    __slots__ = ("__weakref__", "_id", "parcel", "parents", "payload", "task")

    def __init__(
        self, task: Task[T_co], payload: bytes, parcel: Parcel | None, parents: tuple[TaskCall[Any] | JobValue, ...]
    ) -> None:
        self.task = task
        self.payload = payload
        self.parcel = parcel
        self.parents = parents
        """Parents in the order of their placeholders."""
        self._id = ""

    @property
    def calls(self) -> list[TaskCall[Any]]:
        """Parents that are task calls."""
        return [parent for parent in self.parents if isinstance(parent, TaskCall)]

    @property
    def id(self) -> str:
        """Id of the call's job in a DAG: the id given to `named`, else the task's name and a
        number."""
        if not self._id:
            self._id = f"{_job_name(self.task._options.name)}-{next(_numbers)}"
        return self._id

    def named(self, id: str) -> TaskCall[T_co]:
        """Set the id of the call's job in a DAG, and return this call.

        Raises InvalidGraph if the id is malformed, or the call has another id already.
        """
        if match_name(id) is None:
            raise InvalidGraph(f"job id {id[:140]!r} is malformed: an id is {NAME_RULE}")
        if self._id not in ("", id):
            raise InvalidGraph(f"{self!r} already has the id {self._id!r}: call `named` before the call is used")
        self._id = id
        return self

    def __reduce__(self) -> NoReturn:
        raise pickle.PicklingError(f"{self!r} has no result yet: pass it to another task, or compute it")

    def __bool__(self) -> NoReturn:
        raise TypeError(f"{self!r} has no result yet: compute it first")

    def __repr__(self) -> str:
        return f"<TaskCall of {self.task._options.name}>"


@overload
def task(function: Callable[..., T], /) -> Task[T]: ...
@overload
def task(
    *,
    name: str = "",
    retries: int = 0,
    timeout: float | str | None = None,
    priority: int = 1,
    requirement: str | Sequence[str] = "GENERAL",
    cpus: float = 0.0,
    memory: int | str = 0,
    gpus: int = 0,
    cache: bool | Mapping[str, Any] | Cache = False,
) -> Callable[[Callable[..., T]], Task[T]]: ...
def task(
    function: Callable[..., Any] | None = None,
    /,
    *,
    name: str = "",
    retries: int = 0,
    timeout: float | str | None = None,
    priority: int = 1,
    requirement: str | Sequence[str] = "GENERAL",
    cpus: float = 0.0,
    memory: int | str = 0,
    gpus: int = 0,
    secrets: Sequence[str] = (),
    cache: bool | Mapping[str, Any] | Cache = False,
) -> Any:
    """Make a function a task: a call of it returns a node (TaskCall) instead of running.

    - A node waits for the nodes among its arguments. Those may be anywhere, also inside lists,
      dicts and objects. Each is replaced by its result where the call runs.
    - A Job of the same DAG may be an argument too. It is replaced by the value that it set with
      `context.result`.
    - `Client.compute` submits all that a node needs as one run, with a job per node.
    - `run(...)` of a task calls the function directly. Inside a job the decorated name is the plain
      function.

    - `retries`: retries of a call that raised.
    - `timeout`: in seconds, or a text such as "5m".
    - `requirement`: the capability that the worker must offer, or several.
    - `cpus`, `memory`, `gpus`: what a running call reserves on its worker, as in `Job`.
    - `cache`: True to reuse the result of an earlier call of the same function with the same
      arguments, or a mapping, as in `Job`. Also for `Client.call` and `Client.map`.
    - `secrets`: only for scripts, so it raises InvalidGraph here.

    >>> @task(retries=2)
    ... def add(x, y):
    ...     return x + y
    >>> add(add(1, 2), 3)
    <TaskCall of add>
    >>> add.run(1, 2)
    3
    """

    def make(function: Callable[..., Any]) -> Task[Any]:
        if not callable(function) or isinstance(function, Task):
            raise CallerError(f"task: {function!r} is not a plain function")
        task_name = name or str(getattr(function, "__name__", None) or type(function).__name__)
        if secrets:
            raise InvalidGraph(f"task {task_name!r}: secrets: {NOT_FOR_CALLS}")
        others = {"cpus": cpus, "memory": memory, "gpus": gpus, "cache": cache}
        changes = {"retries": retries, "timeout": timeout, "priority": priority, "requirement": requirement, **others}
        return Task(function, Options(task_name).changed(changes))

    return make if function is None else make(function)


# -- arguments -------------------------------------------------------------------------------------
def _pack(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[bytes, Parcel | None, tuple[TaskCall[Any] | JobValue, ...]]:
    """Return (payload, parcel to stage, nodes).

    Node i of `nodes` is persistent id i in the pickle. Raises CallerError, LimitExceeded.
    """
    nodes: dict[TaskCall[Any] | JobValue, int] = {}

    def place_of(value: Any) -> int | None:
        kind = type(value)
        if kind is TaskCall:
            return nodes.setdefault(value, len(nodes))
        value_of = value_of_kind.get(kind)
        return None if value_of is None else nodes.setdefault(value_of(value), len(nodes))

    try:
        payload = dumps(arguments_of(args, kwargs), place_of)
    except CallerError:
        raise
    except Exception as e:
        raise CallerError(f"the arguments cannot be sent to a worker: {type(e).__name__}: {e}") from e
    return *parcelled(payload), tuple(nodes)


# -- graphs ----------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Plan:
    """Jobs that compute the wanted nodes, parents before children."""

    spec: DagSpec
    functions: list[Function]
    parcels: list[Parcel]
    parents: list[list[int]]
    wanted: list[int]
    """Position of each wanted node."""

    @property
    def names(self) -> list[str]:
        """Name of the function of each job."""
        names = {function.hash: function.name for function in self.functions}
        return [names[self.spec.templates[at].function] for at in self.spec.template_of]

    def needed_for(self, positions: Iterable[int]) -> set[int]:
        """Return these positions and those of all their ancestors."""
        needed: set[int] = set()
        stack = list(positions)
        while stack:
            at = stack.pop()
            if at not in needed:
                needed.add(at)
                stack += self.parents[at]
        return needed


def plan(wanted: Sequence[TaskCall[Any]], function_of: Callable[[Callable[..., Any]], Function]) -> Plan:
    """Return the plan that computes the wanted nodes.

    Raises CallerError for a value that is not a node, or a function that cannot be pickled.
    """
    for node in wanted:
        if not isinstance(node, TaskCall):
            raise CallerError(f"compute: {node!r} is not the call of a task: decorate its function with @titan.task")
    position = ordered(wanted)
    for node in position:
        if others := [*node.task._after, *[p.id for p in node.parents if isinstance(p, JobValue)]]:
            raise CallerError(f"compute: {node!r} waits for {others[0]!r}: put both into a DAG and submit that")
    templates: dict[tuple[str, Options], int] = {}
    functions: dict[str, Function] = {}
    index_of_task: dict[Task[Any], int] = {}
    specs: list[JobTemplate] = []
    template_of = []
    for node in position:
        at = index_of_task.get(node.task)
        if at is None:
            function = function_of(node.task.function)
            functions[function.hash] = function
            options = node.task._options
            at = templates.setdefault((function.hash, options), len(templates))
            if at == len(specs):
                specs.append(template_of_task(function, options))
            index_of_task[node.task] = at
        template_of.append(at)
    parents = [[position[p] for p in node.calls] for node in position]
    ids = [f"{_job_name(node.task._options.name)}-{i}" for i, node in enumerate(position)]
    names = list(dict.fromkeys(node.task._options.name for node in wanted))
    spec = DagSpec(
        name=printable(names[0] if len(names) == 1 else f"{len(names)} tasks"),
        version="",
        templates=specs,
        ids=ids,
        template_of=template_of,
        args=[()] * len(ids),
        parents=[tuple([ids[p] for p in ps]) for ps in parents],
        payloads=[node.payload for node in position],
    )
    parcels = [node.parcel for node in position if node.parcel is not None]
    return Plan(spec, list(functions.values()), parcels, parents, [position[node] for node in wanted])


def template_of_task(function: Function, options: Options) -> JobTemplate:
    return JobTemplate(
        function=function.hash,
        requirement=main_capability(options.requirement),
        needs=needs_of(options.requirement, options.cpus, options.memory, options.gpus),
        priority=options.priority,
        retries=options.retries,
        timeout_s=float(options.timeout or 0.0),
        session=session(),
        cache=cache_of(options.cache),
    )


def ordered(wanted: Iterable[TaskCall[Any]]) -> dict[TaskCall[Any], int]:
    """Return each needed node with its position, parents before children.

    The search is iterative, because chains may be long.
    """
    position: dict[TaskCall[Any], int] = {}
    for root in wanted:
        stack = [(root, iter(root.calls))]
        while stack:
            node, parents = stack[-1]
            if node in position:
                stack.pop()
                continue
            parent = next((p for p in parents if p not in position), None)
            if parent is not None:
                stack.append((parent, iter(parent.calls)))
            else:
                position[node] = len(position)
                stack.pop()
    return position


def nodes_of(what: Any) -> tuple[list[TaskCall[Any]], bool]:
    """Return (nodes, single) for the argument of `compute`. `single` is True for one bare node."""
    if isinstance(what, TaskCall):
        return [what], True
    if isinstance(what, list | tuple):
        return cast("list[TaskCall[Any]]", list(what)), False
    raise CallerError(f"compute: pass the call of a task or a list of such calls, not {what!r}")
