"""`Job` and `DAG`: what a program says it wants to run.

Owns how what is given becomes what is kept; what a field may hold is in `fields`. It must not touch a file or the network:
`staging` looks at the files, and `titan.model.graph` at how the jobs hang together.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import datetime
from numbers import Real
from pathlib import Path
from typing import Any, TypeVar

from titan.errors import CallerError, InvalidGraph
from titan.model.dag import Limits, Service
from titan.model.names import MAX_NAME
from titan.sdk import failure_fields as ff
from titan.sdk.arrays import BadArray, Foreach, Matrix, foreach_of, matrix_of, member, rows, size_of
from titan.sdk.fields import dag_problem_of, id_problem, kind_of, moment_of, no_script, problem_of, shown, text_problem
from titan.sdk.file_fields import FIELDS as FILE_FIELDS
from titan.sdk.file_fields import Input, Output
from titan.sdk.limits import limits_of
from titan.sdk.needs import bytes_of, listed, several
from titan.sdk.secrets import both, secrets_of
from titan.sdk.services import BadService, service_of
from titan.sdk.tasks import JobValue, TaskCall, ordered, value_of_kind

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, init=False, repr=False)
class Job:
    """One job of a DAG. Immutable. Exactly one of `file` and `command` is given.

    - `id`: unique within its DAG; 1 to 128 of ``A-Z a-z 0-9 _ . : @ + = , [ ] -``, the first a letter, digit or ``_``.
    - `file`: the path of a script or binary on this machine, relative to the DAG's `project` if it has one, else to the working
      directory; or ``"perm:NAME"``, a file that the master already has in perm_files/.
    - `command`: a string goes to ``/bin/sh -c`` and sees `args` as ``$1``, ``$2``...; a list of strings is run as it is, without a
      shell, and `args` are appended. 128 KiB.
    - `args`: a string is split as a shell would; of any other sequence each item (str, int, float or path) is one argument.
      128 KiB in all.
    - `parents`: ids, `Job` objects or calls of tasks that must be COMPLETED first. In what order does not matter, save that
      `affinity` means the node where the first ran.
    - `requirement`: the capability that a worker must offer, or a list of several.
    - `cpus`, `memory` (bytes, or text as ``"4GiB"``), `gpus`: what an attempt takes up on its worker while it runs, beside a slot.
      The sum of those on a worker does not exceed what it has; what is really used is not limited. The GPUs that it may use are
      in CUDA_VISIBLE_DEVICES.
    - `priority`: within +-1,000,000; higher goes first.
    - `delay`: seconds to wait once the parents are done. `timeout`: seconds that an attempt may run, None for no limit.
    - `run_at`: not before this time, a datetime (one without a zone is local time) or seconds since the epoch.
    - `retries`: how often a failed attempt is tried again, 0 to 1,000.
    - `env`: added to the job's environment; values are strings, numbers or paths.
    - `secrets`: names of secrets that its environment has too, each as the variable of that name; at most 64. They are masked in
      what it prints.
    - `python`: of a ``.py`` file, what runs it: the path, on the worker, of an interpreter or of a virtual environment's folder.
      None: the worker's own interpreter. A relative path begins at the DAG's `project`, else at the working directory.
    - `driver`: of a ``.py`` file, ``"process"`` for a fresh interpreter, where ``"python"`` (the default) forks a warm one.
    - `limits`: what each attempt may use at most, any of ``{"memory": "512MiB", "cpus": 1.5, "processes": 64}``; memory is of all
      its processes, in bytes or with KiB, MiB, GiB. One that is killed for memory fails with a reason that says so.
    - `foreach`: makes this an array: a job for each item (a string, number, path, or a mapping of names to such), or so many jobs.
      `matrix`: the same for each combination of values, ``{"lang": ["de", "en"], "size": [1, 2]}``. The jobs are ``ID[0]``,
      ``ID[1]``...; in `args` and `parents` ``${item}``, ``${item.KEY}``, ``${matrix.KEY}`` and ``${index}`` stand for what
      differs. Without `args` a job's are its values. ``ID`` as a parent means all of them.
    - `backoff`: seconds before the first retry; they double with each up to `backoff_max`, jittered between half and all of it.
      None: as the cluster's settings say.
    - `no_retry`: exit codes that are final.
    - `on_failure`: what becomes of the others when this job is DEAD. ``"cancel"`` (the default): what waits for it is cancelled.
      ``"continue"``: that runs all the same. ``{"run": JOB}``: cancel, and JOB runs, whose environment names this one in
      TITAN_FAILED_JOB; JOB has no parents of its own, and is CANCELLED as "not needed" if no job that names it dies. The run is
      FAILED in each case.
    - `hitl_message`: puts a gate with this message behind the job, named ``ID.gate``: whoever waits for the job waits for the gate.
      `max_wait_seconds`: undecided after so long it is rejected, default 48 h.
    - `type`: ``"run"``; ``"gate"`` is a human decision, see `Gate`, with `message`, `max_wait` and `webhook`.

    - `expand`: a parent whose result is a list, or a number: when it is there, a job for each item (or so many) is added to the
      run, ``ID[0]``, ``ID[1]``..., as of `foreach`, with ``${item}``, ``${item.KEY}`` and ``${index}`` in `args`. What depends on
      this job waits for all of them.
    - `pipeline`: the name of a saved pipeline, whose jobs are added to the run as ``ID.JOB`` when the parents are done. What
      depends on this job waits for all of them.
    - `type`: ``"service"`` for a process that should not end; children start when it is READY, and find its HOST:PORT as
      ``${service:ID}`` in `args`, `env` and `command`, and in TITAN_SERVICE_ID. It has no `timeout`; `retries` are attempts on
      other workers where one cannot start it. `port`: where it listens, 0 or None for any free one, which it finds in TITAN_PORT
      and as ``${port}`` in its `args` and `env`. `health`: ``"tcp"`` (default), ``"http:/path"``, ``"none"``, or a mapping with
      `type`, `path` or `command`, `interval`, `timeout`, `start` (seconds) and `failures`. `restart`: ``"always"`` (default),
      ``"on-failure"``, ``"never"``, or a mapping with `policy`, `backoff`, `backoff_max` (seconds) and `max`. `keep`: it goes
      on when what depends on it is over.
    - `outputs`: what must be there when it has succeeded, files or folders: ``{"model": "out/model.bin"}``, or a list of paths,
      which are their names too. They are moved out of the job's folder and kept as long as the run.
    - `inputs`: outputs of other jobs, which this one then waits for, by the path in its folder: ``{"data/model.bin":
      "train.model"}`` or ``train.output("model")``; of a list each lies at the output's own path. They are read-only. Of an array
      ``{"in": "part.data"}`` is all, as in/0, in/1, ...; within another array ``"part[${index}].data"`` is that of the same
      position.

    Raises InvalidGraph, which names the job and the field.

    >>> fetch = Job("fetch", command="curl -sO https://example.org/data.csv", retries=5)
    >>> train = Job("train", file="train.py", args="--epochs 4", parents=[fetch], requirement="GPU", timeout=3600)
    >>> train.args, train.parents
    (('--epochs', '4'), ('fetch',))
    >>> Job("resize", file="resize.py", foreach=["a.png", "b.png"], args=["--in", "${item}"]).size
    2
    >>> Job("train", file="train.py", priority="high")
    Traceback (most recent call last):
        ...
    titan.errors.InvalidGraph: job 'train': priority: must be an integer, not the string 'high'
    """

    id: str
    file: str | None
    command: str | tuple[str, ...] | None
    args: tuple[str, ...]
    parents: tuple[str, ...]
    requirement: str | tuple[str, ...]
    """One capability, or several."""
    priority: int
    delay: float
    affinity: bool
    retries: int
    timeout: float | None
    env: tuple[tuple[str, str], ...]
    """Sorted by name."""
    python: str | None
    driver: str | None
    foreach: Foreach | None
    matrix: Matrix | None
    backoff: float | None
    backoff_max: float | None
    no_retry: tuple[int, ...]
    on_failure: str
    handler: str
    """The job that runs when this one is DEAD; "" for none."""
    hitl_message: str | None
    max_wait_seconds: float
    type: str
    message: str
    max_wait: float
    webhook: str
    run_at: float | None
    limits: Limits | None
    cpus: float
    memory: int
    """Bytes."""
    gpus: int
    service: Service | None
    expand: str | None
    pipeline: str | None
    secrets: tuple[str, ...]
    outputs: tuple[tuple[str, str], ...]
    """(name, path)"""
    inputs: tuple[Input, ...]

    def __init__(
        self,
        id: str,
        file: str | os.PathLike[str] | None = None,
        command: str | Sequence[str] | None = None,
        args: str | Iterable[str | float | os.PathLike[str]] = (),
        parents: Iterable[str | Job | TaskCall[Any]] = (),
        requirement: str | Iterable[str] = "GENERAL",
        priority: int = 1,
        delay: float = 0.0,
        affinity: bool = False,
        retries: int = 3,
        timeout: float | None = None,
        env: Mapping[str, str | float | os.PathLike[str]] | None = None,
        python: str | os.PathLike[str] | None = None,
        driver: str | None = None,
        foreach: int | Iterable[object] | None = None,
        matrix: Mapping[str, Iterable[object]] | None = None,
        backoff: float | None = None,
        backoff_max: float | None = None,
        no_retry: Iterable[int] = (),
        on_failure: str | Mapping[str, str | Job] = "cancel",
        hitl_message: str | None = None,
        max_wait_seconds: float = ff.MAX_WAIT_S,
        type: str = "run",
        message: str = "",
        max_wait: float = ff.MAX_WAIT_S,
        webhook: str = "",
        run_at: datetime | float | None = None,
        limits: Mapping[str, str | float] | Limits | None = None,
        cpus: float = 0.0,
        memory: int | str = 0,
        gpus: int = 0,
        port: int | None = None,
        health: str | Mapping[str, object] | None = None,
        restart: str | Mapping[str, object] | None = None,
        keep: bool = False,
        expand: str | Job | TaskCall[Any] | None = None,
        pipeline: str | None = None,
        secrets: Iterable[str] = (),
        outputs: Mapping[str, str | os.PathLike[str]] | Iterable[str | os.PathLike[str]] = (),
        inputs: Mapping[str, str | Output] | Iterable[str | Output] = (),
    ) -> None:
        put = object.__setattr__
        if problem := id_problem(id):
            raise InvalidGraph(f"job id {shown(id)}: {problem}", id[:MAX_NAME] if isinstance(id, str) else "")
        put(self, "id", id)
        put(self, "type", _made(id, "type", type))
        if type == "gate" and (file is not None or command is not None):
            raise _fault(id, "file" if command is None else "command", "a gate runs nothing: leave it out")
        if pipeline is not None and (file is not None or command is not None):
            raise _fault(id, "pipeline", "stands for the jobs of a saved pipeline: leave file and command out")
        if type != "gate" and pipeline is None and (file is None) is (command is None):
            raise _fault(id, "file", "give exactly one of file and command" + ("" if file is None else ", not both"))
        put(self, "file", None if file is None else _checked(id, "file", _path(file)))
        if command is not None and not isinstance(command, str):
            command = _texts(id, "command", command)
        put(self, "command", None if command is None else _checked(id, "command", command))
        put(self, "args", () if args == () else _arguments(id, args))
        put(self, "foreach", None if foreach is None else _array(id, "foreach", foreach_of, foreach))
        put(self, "matrix", None if matrix is None else _array(id, "matrix", matrix_of, matrix))
        if foreach is not None and matrix is not None:
            raise _fault(id, "matrix", "give one of foreach and matrix, not both")
        put(self, "parents", () if parents == () else _ids(id, parents, array=self.is_array))
        put(self, "expand", None if expand is None else _expanded(self, expand))
        put(self, "pipeline", None if pipeline is None else _checked(id, "pipeline", pipeline))
        put(self, "requirement", several(_checked(id, "requirement", listed(requirement))))
        put(self, "cpus", float(_checked(id, "cpus", cpus)))
        put(self, "memory", bytes_of(_checked(id, "memory", memory)))
        put(self, "gpus", _checked(id, "gpus", gpus))
        put(self, "priority", _checked(id, "priority", priority))
        put(self, "delay", float(_checked(id, "delay", delay)))
        put(self, "run_at", None if run_at is None else _checked(id, "run_at", moment_of(run_at)))
        put(self, "affinity", _checked(id, "affinity", affinity))
        put(self, "retries", _checked(id, "retries", retries))
        put(self, "timeout", None if timeout is None else float(_checked(id, "timeout", timeout)))
        put(self, "env", () if env is None else _environment(id, env))
        put(self, "secrets", () if secrets == () else tuple(_checked(id, "secrets", secrets_of(secrets))))  # type: ignore[arg-type]
        if problem := both(self.secrets, self.env):
            raise _fault(id, "secrets", problem)
        put(self, "python", None if python is None else _checked(id, "python", _path(python)))
        put(self, "driver", None if driver is None else _checked(id, "driver", driver))
        put(self, "limits", None if limits is None else limits_of(_checked(id, "limits", limits)))
        if (python is not None or driver == "python") and (problem := no_script(self.file)):
            raise _fault(id, "driver" if python is None else "python", problem)
        try:
            put(self, "service", service_of(type, port, health, restart, keep))
        except BadService as error:
            raise _fault(id, error.field, str(error)) from None
        if self.service is not None and timeout is not None:
            raise _fault(id, "timeout", "a service has none: leave it out, and stop it with `titan stop`")
        if self.service is not None and hitl_message is not None:
            raise _fault(id, "hitl_message", "a service has none: put a gate in front of what depends on it")
        for name, given in (("backoff", backoff), ("backoff_max", backoff_max), ("hitl_message", hitl_message)):
            put(self, name, None if given is None else _made(id, name, given))
        put(self, "no_retry", () if no_retry == () else _made(id, "no_retry", no_retry))
        on_failure, handler = ("cancel", "") if on_failure == "cancel" else _made(id, "on_failure", on_failure)
        put(self, "on_failure", on_failure)
        put(self, "handler", handler)
        for name, value in (("max_wait_seconds", max_wait_seconds), ("max_wait", max_wait), ("message", message)):
            put(self, name, _made(id, name, value))
        put(self, "outputs", () if outputs == () else _made(id, "outputs", outputs))
        put(self, "inputs", () if inputs == () else _made(id, "inputs", inputs))
        put(self, "webhook", webhook and _made(id, "webhook", webhook))
        if (wrong := ff.misplaced(self))[0]:
            raise _fault(id, *wrong)
        if self.is_array:
            _check_array(self)
        if (expand is not None or pipeline is not None) and (self.service is not None or self.is_array or type == "gate"):
            kind = "an array" if self.is_array else f"a {type}"
            raise _fault(id, "pipeline" if expand is None else "expand", f"makes jobs when its time has come: it cannot be {kind}")
        if expand is not None and pipeline is not None:
            raise _fault(id, "pipeline", "give one of expand and pipeline, not both")
        if pipeline is not None and self.args:
            raise _fault(id, "args", "a saved pipeline takes none: leave them out")

    @property
    def is_array(self) -> bool:
        return self.foreach is not None or self.matrix is not None

    @property
    def size(self) -> int:
        """How many jobs of a run this makes."""
        return size_of(self.foreach, self.matrix) if self.is_array else 1

    def output(self, name: str) -> Output:
        """One of its outputs, for the `inputs` of another job. Raises InvalidGraph."""
        if all(name != known for known, _ in self.outputs):
            raise _fault(self.id, "outputs", f"there is no output {shown(name)}")
        return Output(self.id, name)

    def rows(self) -> Iterator[tuple[str, tuple[str, ...], tuple[str, ...]]]:
        """(id, args, parents) of each job of a run that this makes. A parent that is an array stays as it is named."""
        if not self.is_array:
            yield self.id, self.args, self.parents
            return
        for index, (args, parents) in enumerate(rows(self.foreach, self.matrix, self.args, self.parents)):
            yield member(self.id, index), args, parents

    def __repr__(self) -> str:
        what = f"file={self.file!r}" if self.file is not None else f"command={self.command!r}"
        what = "type='gate'" if self.type == "gate" else f"pipeline={self.pipeline!r}" if self.pipeline else what
        return f"Job({self.id!r}, {what}{f', parents={list(self.parents)!r}' if self.parents else ''})"


@dataclass(frozen=True, slots=True, init=False, repr=False)
class DAG:
    """Jobs and what they depend on, submitted and refused as one. Immutable; at most 1,000,000 jobs.

    - `jobs`: Job, and calls of tasks (`titan.task`): with those come the calls that they need. `Job(parents=[call])` and
      `task.after(job)(...)` make one wait for the other.
    - `name`: 1 to 256 printable characters. `version`: any text of yours that `titan status` shows, up to 256 characters.
    - `deadline`: seconds after its submission by which the run has to be over; what is not by then is cancelled.
    - `agent_run_id`: any text of yours for runs that belong together, up to 256 characters: `titan runs --group` lists them.
    - `project`: a folder. It travels as one archive, and each job runs inside its own unpacked copy; the jobs' `file` are paths in
      it. None: each `file` travels by itself.

    Raises InvalidGraph. Whether the parents exist and the graph has no cycle is looked at when it is staged.

    >>> a = Job("a", command="true")
    >>> DAG("two", [a, Job("b", command=["echo", "hi"], parents=[a])])
    DAG('two', 2 jobs)
    """

    name: str
    jobs: tuple[Job, ...]
    calls: tuple[TaskCall[Any], ...]
    """All that are needed, each before those that need it."""
    version: str
    project: Path | None
    deadline: float | None
    agent_run_id: str

    def __init__(
        self,
        name: str,
        jobs: Iterable[Job | TaskCall[Any]],
        version: str = "",
        project: str | os.PathLike[str] | None = None,
        deadline: float | None = None,
        agent_run_id: str = "",
    ) -> None:
        put = object.__setattr__
        for field, value in (("name", name), ("version", version), ("agent_run_id", agent_run_id)):
            if problem := dag_problem_of(field, value):
                raise InvalidGraph(f"DAG {shown(name)}: {field}: {problem}")
        put(self, "name", name)
        put(self, "version", version)
        put(self, "agent_run_id", agent_run_id)
        if isinstance(jobs, (str, bytes, Job, TaskCall, Mapping)) or not isinstance(jobs, Iterable):
            raise InvalidGraph(f"DAG {name!r}: jobs: must be a list of Job, not {kind_of(jobs)}")
        given = tuple(jobs)
        for i, job in enumerate(given):
            if not isinstance(job, (Job, TaskCall)):
                raise InvalidGraph(f"DAG {name!r}: jobs: item {i} must be a Job or the call of a task, not {kind_of(job)}")
        put(self, "jobs", tuple([job for job in given if isinstance(job, Job)]))
        put(self, "calls", tuple(ordered([call for call in given if isinstance(call, TaskCall)])))
        if problem := dag_problem_of("deadline", deadline):
            raise InvalidGraph(f"DAG {name!r}: deadline: {problem}")
        put(self, "deadline", None if deadline is None else float(deadline))
        if project is None:
            put(self, "project", None)
        else:
            path = _path(project)
            if problem := problem_of("file", path):
                raise InvalidGraph(f"DAG {name!r}: project: {problem}")
            put(self, "project", Path(str(path)))

    def __repr__(self) -> str:
        return f"DAG({self.name!r}, {self.size} {'job' if self.size == 1 else 'jobs'})"

    @property
    def size(self) -> int:
        """How many jobs a run of it has."""
        return sum(job.size + (job.hitl_message is not None) for job in self.jobs) + len(self.calls)


# -- what may be given, made into what is kept ---------------------------------------------------------------------------
def _fault(job: str, field: str, problem: str) -> InvalidGraph:
    return InvalidGraph(f"job {job!r}: {field}: {problem}", job)


def _checked(job: str, field: str, value: _T) -> _T:
    if problem := problem_of(field, value):
        raise _fault(job, field, problem)
    return value


def _made(job: str, field: str, value: object) -> Any:
    try:
        return (ff.FIELDS.get(field) or FILE_FIELDS[field])(value)
    except ff.BadField as bad:
        raise _fault(job, field, str(bad)) from None


def _path(value: object) -> object:
    return value.__fspath__() if isinstance(value, os.PathLike) else value


def _arguments(job: str, value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        if problem := text_problem(value):
            raise _fault(job, "args", problem)
        try:
            value = shlex.split(value)
        except ValueError as error:
            raise _fault(job, "args", f"cannot be split as a shell would ({error}): give a list") from None
    return _checked(job, "args", _texts(job, "args", value))


def _texts(job: str, field: str, value: object) -> tuple[str, ...]:
    if isinstance(value, (bytes, bytearray, Mapping, Set)) or not isinstance(value, Iterable):
        raise _fault(job, field, f"must be a string or a list, not {kind_of(value)}")
    found = []
    for item in value:
        text = _scalar(item)
        if text is None:
            raise _fault(job, field, f"each item must be a string, a number or a path, not {kind_of(item)}")
        found.append(text)
    return tuple(found)


def _scalar(value: object) -> str | None:
    if isinstance(value, str):
        return value
    if isinstance(value, os.PathLike):
        path = value.__fspath__()
        return path if isinstance(path, str) else None
    if isinstance(value, bool):
        return None  # str(True) is "True", which no shell and no flag parser expects: whoever means it can write it
    return str(value) if isinstance(value, Real) else None


def _array(job: str, field: str, make: Callable[[object], _T], value: object) -> _T:
    try:
        return make(value)
    except BadArray as error:
        raise _fault(job, field, str(error)) from None


def _check_array(job: Job) -> None:
    """What only the whole of an array shows; the largest of its jobs stands for all."""
    for field, args, parents in (("args", job.args, ()), ("parents", (), job.parents)):
        try:
            first = next(rows(job.foreach, job.matrix, args, parents))
        except BadArray as error:
            raise _fault(job.id, field, str(error)) from None
        _checked(job.id, field, first[0] if field == "args" else first[1])
    last = member(job.id, job.size - 1)
    if problem := id_problem(last):
        raise _fault(job.id, "id", f"{last!r}, the last job of the array, {problem}")


def _ids(job: str, value: object, *, array: bool) -> tuple[str, ...]:
    if isinstance(value, (str, Job, TaskCall)):
        raise _fault(job, "parents", "must be a list: put the one parent into [ ]")
    if isinstance(value, (bytes, Mapping)) or not isinstance(value, Iterable):
        raise _fault(job, "parents", f"must be a list of job ids or Jobs, not {kind_of(value)}")
    found = tuple([item.id if isinstance(item, (Job, TaskCall)) else item for item in value])
    if array and all(isinstance(item, str) for item in found):
        return found  # looked at with an item in its place
    return _checked(job, "parents", found)


def _expanded(job: Job, value: object) -> str:
    """The parent whose items are meant; it is among the parents from now on."""
    name = value.id if isinstance(value, (Job, TaskCall)) else value
    if problem := id_problem(name):
        raise _fault(job.id, "expand", f"{shown(name)} is no job: {problem}")
    assert isinstance(name, str)
    if name == job.id:
        raise _fault(job.id, "expand", "a job cannot make jobs of its own result")
    if name not in job.parents:
        object.__setattr__(job, "parents", (*job.parents, name))
    return name


def _environment(job: str, value: object) -> tuple[tuple[str, str], ...]:
    if not isinstance(value, Mapping):
        raise _fault(job, "env", f"must be a mapping of names to values, not {kind_of(value)}")
    texts: dict[str, str] = {}
    for name, item in value.items():
        text = _scalar(item)
        if text is None:
            raise _fault(job, "env", f"{shown(name)}: must be a string, a number or a path, not {kind_of(item)}")
        texts[name] = text
    return tuple(sorted(_checked(job, "env", texts).items()))


def _value_of(job: Job) -> JobValue:
    if job.is_array or job.type == "gate":
        kind = "an array: give the call one of its jobs" if job.is_array else "a gate, which comes to nothing"
        raise CallerError(f"the job {job.id!r} among the arguments is {kind}")
    return JobValue(job.id)


value_of_kind[Job] = _value_of
