"""`Job` and `DAG`: what a program says it wants to run. `Job` is the table of a job's fields.

Owns the fields, and what only several of them show. What one field may hold is in `fields` and its
neighbours, what a row is in `field_table`. It must not touch a file or the network: `staging` looks
at the files, and `titan.model.graph` at how the jobs hang together.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import InitVar, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar

from titan.errors import CallerError, InvalidGraph
from titan.model.dag import MAX_PRIORITY, MAX_RETRIES, Limits, Service
from titan.model.demand import MAX_GPUS
from titan.model.drivers import DRIVERS, choices, choices_doc
from titan.model.names import MAX_NAME
from titan.sdk import fields
from titan.sdk.arrays import Foreach, Matrix, foreach_of, matrix_of, member, rows, size_of
from titan.sdk.failure_fields import (
    MAX_WAIT_S,
    Type,
    codes_of,
    handler_of,
    message_of,
    on_failure_of,
    positive_of,
    type_of,
    webhook_of,
)
from titan.sdk.field_table import BadField, Field, Form, Row, Use, derived, row, table
from titan.sdk.fields import DAG_FIELDS, file_of, id_problem, kind_of, no_script, problem_of, shown, timeout_of
from titan.sdk.file_fields import Input, Output, inputs_of, outputs_of
from titan.sdk.limits import limits_of
from titan.sdk.needs import cpus_of, memory_of, requirement_of
from titan.sdk.secrets import both, secrets_of
from titan.sdk.services import BadService, service_of
from titan.sdk.tasks import JobValue, TaskCall, ordered, value_of_kind

NOT_FOR_A_GATE = "is nothing for a gate, which runs nothing: leave it out"


def _parents_of(value: object) -> tuple[str, ...]:
    """The ids. Those of an array may hold places, so `check_ids` looks at them when all of the job
    is known."""
    if isinstance(value, (str, Job, TaskCall)):
        raise BadField("must be a list: put the one parent into [ ]")
    if isinstance(value, (bytes, Mapping)) or not isinstance(value, Iterable):
        raise BadField(f"must be a list of job ids or Jobs, not {kind_of(value)}")
    found = []
    for item in value:
        name = _id_of(item)
        if not isinstance(name, str):
            raise BadField(f"{name!r} is no job id: {id_problem(name)}")
        found.append(name)
    return tuple(found)


def _expand_of(value: object) -> str:
    name = _id_of(value)
    if problem := id_problem(name):
        raise BadField(f"{shown(name)} is no job: {problem}")
    return str(name)


def _id_of(value: object) -> object:
    return value.id if isinstance(value, (Job, TaskCall)) else value


@table
class Job:
    """One job of a DAG. Immutable. Exactly one of `file` and `command` is given.

    Each field is a row of a table: what it is for, what may be given, what is kept, and how a
    pipeline file writes it. The constructor and every other reader of fields follow the table, so a
    new field is one more row.

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

    ROWS: ClassVar[Mapping[str, Row]]
    MADE: ClassVar[tuple[tuple[str, object, Callable[[object], object]], ...]]
    given_of: ClassVar[Callable[[object], tuple[object, ...]]]
    shape_of: ClassVar[Callable[[object], tuple[object, ...]]]

    # A row: what the field is for; what makes its value; its facts in a line.
    # fmt: off
    id: str = row(
        "Unique within its DAG; 1 to 128 of `A-Z a-z 0-9 _ . : @ + = , [ ] -`, the first a "
        "letter, digit or `_`.",
        fields.id_of, form=Form.TEXT, aliases=("name",), use=Use.ALL, own=True,
    )
    file: Field[str | os.PathLike[str] | None, str | None] = row(
        "A script or binary; its path is relative to the project, else to the pipeline's folder "
        "or a program's working directory. `perm:NAME` is a file that lies in the master's "
        "perm_files/.",
        file_of, default=None, form=Form.PATH, aliases=("script", "path"),
    )
    command: Field[str | Sequence[str] | None, str | tuple[str, ...] | None] = row(
        "A command for /bin/sh, in place of a file; it sees `args` as `$1`, `$2`... From Python "
        "also a list, which is run as it is, without a shell, with `args` appended. At most 128 "
        "KiB.",
        fields.command_of, default=None, form=Form.TEXT, aliases=("cmd", "run", "shell"),
    )
    args: Field[str | Iterable[str | float | os.PathLike[str]], tuple[str, ...]] = row(
        "A string, split as a shell does, or a list. At most 128 KiB in all.",
        fields.args_of, default=(), form=Form.ARGS, aliases=("arguments",), own=True,
    )
    parents: Field[Iterable[str | Job | TaskCall[Any]], tuple[str, ...]] = row(
        "Jobs that must be COMPLETED first: ids, from Python also `Job` objects and calls of "
        "tasks. In which order does not matter, save that `affinity` means the node of the "
        "first.",
        _parents_of, default=(), form=Form.IDS, key="depends_on", aliases=("parents", "needs", "after", "dependencies"),
        use=Use.ALL, own=True,
    )
    requirement: Field[str | Iterable[str], str | tuple[str, ...]] = row(
        "The capability that a worker must offer, or a list of several; default GENERAL.",
        requirement_of, default="GENERAL", form=Form.TEXTS, aliases=("capability", "requires", "capabilities"),
    )
    priority: int = row(
        "Higher goes first; within +-1,000,000, default 1.",
        fields.integer(-MAX_PRIORITY, MAX_PRIORITY), default=1, form=Form.INTEGER, template="priority", planner=True,
    )
    delay: float = row(
        "Seconds to wait once its parents are done.",
        fields.seconds_of, default=0.0, form=Form.SECONDS, use=Use.ALL, template="delay_s", planner=True,
    )
    affinity: bool = row(
        "True: on the node where its first parent ran.",
        fields.switch, default=False, form=Form.BOOLEAN, template="affinity",
    )
    retries: int = row(
        "How often a failed attempt is tried again, 0 to 1,000; default 3. Of a service: "
        "attempts on other workers where one cannot start it.",
        fields.integer(0, MAX_RETRIES), default=3, form=Form.INTEGER, aliases=("retry",), template="retries", planner=True,
    )
    timeout: float | None = row(
        "Seconds that an attempt may run; default no limit.",
        timeout_of, default=None, form=Form.SECONDS_OR_NULL, aliases=("time_limit",), template="timeout_s",
    )
    env: Field[Mapping[str, str | float | os.PathLike[str]] | None, tuple[tuple[str, str], ...]] = row(
        "A mapping of variables to values that are added to its environment; names that begin "
        "with `TITAN_` are Titan's.",
        fields.env_of, default=(), form=Form.ENV, aliases=("environment",), template="env",
    )
    python: Field[str | os.PathLike[str] | None, str | None] = row(
        "Of a `.py` file: the interpreter or the folder of the virtual environment, on the "
        "worker, that runs it; default the worker's own. A relative path begins at the project, "
        "else at the pipeline's folder or the working directory.",
        fields.python_of, default=None, form=Form.PATH, aliases=("interpreter", "venv", "virtualenv"),
    )
    driver: str | None = row(
        choices_doc(), fields.choice(*choices()), default=None, form=Form.TEXT,
    )
    foreach: Field[int | Iterable[object] | None, Foreach | None] = row(
        "An array: a job for each item of a list (texts, numbers, or mappings of names to "
        "such), or so many jobs, `ID[0]`, `ID[1]`... In `args` and `depends_on` `${item}`, "
        "`${item.KEY}`, `${matrix.KEY}` and `${index}` stand for what differs. Without `args` a "
        "job's are its values. `ID` as a parent means all of them.",
        foreach_of, default=None, form=Form.ITEMS, own=True,
    )
    matrix: Field[Mapping[str, Iterable[object]] | None, Matrix | None] = row(
        "An array: a job for each combination, `{lang: [de, en], size: [1, 2]}`.",
        matrix_of, default=None, form=Form.MATRIX, own=True,
    )
    backoff: float | None = row(
        "Seconds before the first retry; they double with each, jittered between half and all "
        "of it. Default: as the cluster's settings say.",
        positive_of, default=None, form=Form.SECONDS,
    )
    backoff_max: float | None = row(
        "Seconds before a retry at most.",
        positive_of, default=None, form=Form.SECONDS, aliases=("max_backoff",),
    )
    no_retry: Field[Iterable[int], tuple[int, ...]] = row(
        "Exit codes that are final, `[2, 64]`.",
        codes_of, default=(), form=Form.CODES, aliases=("final_codes",),
    )
    on_failure: Field[str | Mapping[str, str | Job], str] = row(
        "What becomes of the others when this job is DEAD. `cancel` (default): those that wait "
        "for it are cancelled. `continue`: they run all the same. `{run: JOB}`: cancel, and JOB "
        "runs, which has no parents of its own, finds the name of this one in "
        "`TITAN_FAILED_JOB`, and is CANCELLED as not needed if no job that names it dies. The "
        "run is FAILED in each case.",
        on_failure_of, default="cancel", form=Form.ON_FAILURE,
    )
    handler: str = derived(own=True)
    """The job that runs when this one is DEAD; "" for none."""
    hitl_message: str | None = row(
        "Puts a gate with this message behind the job, named `ID.gate`: jobs that depend on "
        "this one wait for the gate.",
        message_of, default=None, form=Form.TEXT, own=True,
    )
    max_wait_seconds: float = row(
        "With `hitl_message`: undecided after so many seconds it is rejected; default 48 h.",
        positive_of, default=MAX_WAIT_S, form=Form.SECONDS, own=True,
    )
    type: str = row(
        "`run` (default); `gate`, a human decision; `service`, a process that should not end, "
        "whose children start when it is READY and find its HOST:PORT as `${service:ID}` in "
        "`args`, `env` and `command`, and in `TITAN_SERVICE_ID`.",
        type_of, default=Type.RUN.value, form=Form.TEXT, use=Use.ALL,
    )
    message: str = row(
        "Of a gate: what is to be decided, up to 4,096 characters.",
        message_of, default="", form=Form.TEXT, use=Use.GATE, instead="hitl_message",
    )
    max_wait: float = row(
        "Of a gate: undecided after so many seconds it is rejected; default 48 h.",
        positive_of, default=MAX_WAIT_S, form=Form.SECONDS, use=Use.GATE, instead="max_wait_seconds",
    )
    webhook: str = row(
        "Of a gate, or with `hitl_message`: an http or https URL that is told when it opens.",
        webhook_of, default="", form=Form.TEXT, use=Use.GATE,
    )
    run_at: Field[datetime | float | None, float | None] = row(
        "Not before this time: `2026-01-31T12:00`, local, or with a zone "
        "`2026-01-31T12:00+01:00`; or seconds since the epoch. From Python also a datetime.",
        fields.run_at_of, default=None, form=Form.MOMENT, use=Use.ALL, template="run_at", planner=True,
    )
    limits: Field[Mapping[str, str | float] | Limits | None, Limits | None] = row(
        "What an attempt may use at most: `{memory: 512MiB, cpus: 1.5, processes: 64}`, any of "
        "these; memory is that of all its processes. One that is killed for memory fails with a "
        "reason that says so.",
        limits_of, default=None, form=Form.LIMITS, template="limits",
    )
    cpus: float = row(
        "CPUs that an attempt takes up on its worker while it runs, beside a slot: `0.5`; "
        "default none. The sum of those on a worker does not exceed what it has.",
        cpus_of, default=0.0, form=Form.NUMBER, aliases=("cpu", "cores"),
    )
    memory: Field[int | str, int] = row(
        "Memory that it takes up likewise: bytes, or as `4GiB`.",
        memory_of, default=0, form=Form.SIZE, aliases=("mem", "ram"),
    )
    gpus: int = row(
        "GPUs that it takes up likewise; those that it may use are in `CUDA_VISIBLE_DEVICES`.",
        fields.integer(0, MAX_GPUS, "a whole number of GPUs"), default=0, form=Form.INTEGER, aliases=("gpu",),
    )
    port: InitVar[int | None] = row(
        "Of a service: where it listens; default any free one, which it finds in `TITAN_PORT`, "
        "and as `${port}` in its `args` and `env`.",
        None, default=None, form=Form.INTEGER,
    )
    health: InitVar[str | Mapping[str, object] | None] = row(
        "Of a service: `tcp` (default), `http:/path`, `none`, or a mapping with `type`, `path` "
        "or `command`, `interval`, `timeout`, `start` (seconds) and `failures`.",
        None, default=None, form=Form.ANY,
    )
    restart: InitVar[str | Mapping[str, object] | None] = row(
        "Of a service: `always` (default), `on-failure`, `never`, or a mapping with `policy`, "
        "`backoff`, `backoff_max` (seconds) and `max`.",
        None, default=None, form=Form.ANY,
    )
    keep: InitVar[bool] = row(
        "Of a service: true if it goes on when the jobs that depend on it are over.",
        None, default=False, form=Form.BOOLEAN,
    )
    service: Service | None = derived()
    expand: Field[str | Job | TaskCall[Any] | None, str | None] = row(
        "A parent whose result is a list, or a number: when it is there, a job for each item "
        "(or so many) is added to the run, as of `foreach`, with `${item}`, `${item.KEY}` and "
        "`${index}` in `args`. Jobs that depend on this one wait for all of them.",
        _expand_of, default=None, form=Form.TEXT, own=True,
    )
    pipeline: str | None = row(
        "The name of a saved pipeline, whose jobs are added to the run as `ID.JOB` when the "
        "parents are done. Jobs that depend on this one wait for all of them.",
        fields.pipeline_of, default=None, form=Form.TEXT, own=True,
    )
    secrets: Field[Iterable[str], tuple[str, ...]] = row(
        "Names of secrets that its environment has, `[API_TOKEN]`; at most 64. They are masked "
        "in what it prints.",
        secrets_of, default=(), form=Form.SECRETS, aliases=("secret",), template="secrets",
    )
    outputs: Field[Mapping[str, str | os.PathLike[str]] | Iterable[str | os.PathLike[str]], tuple[tuple[str, str], ...]] = row(
        "Files or folders that must be there when it has succeeded, `{model: out/model.bin}`, "
        "or a list of paths, which are their names too. They are moved out of its folder and "
        "kept as long as the run.",
        outputs_of, default=(), form=Form.OUTPUTS, template="outputs",
    )
    inputs: Field[Mapping[str, str | Output] | Iterable[str | Output], tuple[Input, ...]] = row(
        "Outputs of other jobs, which this one then waits for, by the path in its folder, "
        "`{data/model.bin: train.model}`; of a list each lies at the path of the output. From "
        'Python also `train.output("model")`. They are read-only. Of an array `{in: part.data}` '
        "is all, as in/0, in/1...; within another array `part[${index}].data` is that of the "
        "same position.",
        inputs_of, default=(), form=Form.INPUTS,
    )
    cwd: Field[str | os.PathLike[str] | None, str | None] = row(
        "Absolute folder on the worker's machine in which the job runs, in place of a folder of "
        "its own. The folder must be there. Not with `inputs` and `outputs`.",
        fields.folder_of, default=None, form=Form.TEXT, aliases=("working_directory", "workdir", "dir"), template="cwd",
    )
    # fmt: on

    def __post_init__(self, port: int | None, health: object, restart: object, keep: bool) -> None:
        if problem := id_problem(self.id):
            name = self.id[:MAX_NAME] if isinstance(self.id, str) else ""
            raise InvalidGraph(f"job id {shown(self.id)}: {problem}", name, field="id", problem=problem)
        put = object.__setattr__
        on_failure: object = self.on_failure
        name = ""
        try:
            for (name, default, make), value in zip(self.MADE, type(self).given_of(self), strict=True):
                if value is not default:
                    put(self, name, make(value))
        except BadField as bad:
            raise InvalidGraph.of(self.id, name, str(bad)) from None
        put(self, "handler", handler_of(on_failure))
        try:
            put(self, "service", service_of(self.type, port, health, restart, keep))
        except BadService as error:
            raise InvalidGraph.of(self.id, error.field, str(error)) from None
        for field, problem in _problems(self):
            raise InvalidGraph.of(self.id, field, problem)
        if self.expand is not None and self.expand not in self.parents:
            put(self, "parents", (*self.parents, self.expand))

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
            raise InvalidGraph.of(self.id, "outputs", f"there is no output {shown(name)}")
        return Output(self.id, name)

    def rows(self) -> Iterator[tuple[str, tuple[str, ...], tuple[str, ...]]]:
        """(id, args, parents) of each job of a run that this makes. A parent that is an array stays
        as it is named."""
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
    """Jobs and what they depend on, submitted and refused as one. Immutable; at most 1,000,000
    jobs.

    - `jobs`: Job, and calls of tasks (`titan.task`): with those come the calls that they need.
      `Job(parents=[call])` and `task.after(job)(...)` make one wait for the other.
    - `name`: 1 to 256 printable characters. `version`: any text of yours that `titan status` shows,
      up to 256 characters.
    - `deadline`: seconds after its submission by which the run has to be over; what is not by then
      is cancelled.
    - `agent_run_id`: any text of yours for runs that belong together, up to 256 characters: `titan
      runs --group` lists them.
    - `project`: a folder. It travels as one archive, and each job runs inside its own unpacked
      copy; the jobs' `file` are paths in it. None: each `file` travels by itself.

    Raises InvalidGraph. Whether the parents exist and the graph has no cycle is looked at when it
    is staged.

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
            if problem := problem_of(DAG_FIELDS[field], value):
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
        for field, make, given_ in (("deadline", timeout_of, deadline), ("project", file_of, project)):
            try:
                put(self, field, None if given_ is None else make(given_))
            except BadField as bad:
                raise InvalidGraph(f"DAG {name!r}: {field}: {bad}") from None
        put(self, "project", None if self.project is None else Path(self.project))

    def __repr__(self) -> str:
        return f"DAG({self.name!r}, {self.size} {'job' if self.size == 1 else 'jobs'})"

    @property
    def size(self) -> int:
        """How many jobs a run of it has."""
        return sum(job.size + (job.hitl_message is not None) for job in self.jobs) + len(self.calls)


# -- what only several fields show -----------------------------------------------------------------
def _problems(job: Job) -> Iterator[tuple[str, str]]:
    """(field, problem), the first that is worth telling first."""
    yield from _of_what_runs(job)
    if job.parents and not job.is_array and (problem := problem_of(fields.check_ids, job.parents)):
        yield "parents", problem
    if problem := both(job.secrets, job.env):
        yield "secrets", problem
    if job.cwd is not None and (job.inputs or job.outputs):
        yield "cwd", "inputs and outputs lie in the job's own folder: leave them out, or leave cwd out"
    if job.python is not None and (problem := no_script(job.file)):
        yield "python", problem
    elif job.driver is not None and (suffix := DRIVERS[job.driver].suffix) and (problem := no_script(job.file, suffix)):
        yield "driver", problem
    if job.service is not None:
        yield from _of_a_service(job)
    if job.expand is not None or job.pipeline is not None:
        yield from _of_a_planner(job)
    yield from _of_a_gate(job) if job.type == Type.GATE else _of_no_gate(job)
    if job.is_array:
        yield from _of_an_array(job)


def _of_what_runs(job: Job) -> Iterator[tuple[str, str]]:
    runs = job.file is not None or job.command is not None
    if job.type == Type.GATE:
        if runs:
            yield "file" if job.command is None else "command", "a gate runs nothing: leave it out"
    elif job.pipeline is not None:
        if runs:
            yield "pipeline", "stands for the jobs of a saved pipeline: leave file and command out"
    elif (job.file is None) is (job.command is None):
        yield "file", "give exactly one of file and command" + ("" if job.file is None else ", not both")


def _of_a_service(job: Job) -> Iterator[tuple[str, str]]:
    if job.timeout is not None:
        yield "timeout", "a service has none: leave it out, and stop it with `titan stop`"
    if job.hitl_message is not None:
        yield "hitl_message", "a service has none: put a gate in front of what depends on it"


def _of_a_planner(job: Job) -> Iterator[tuple[str, str]]:
    """Of a job that adds jobs when its time has come."""
    if job.service is not None or job.is_array or job.type == Type.GATE:
        kind = "an array" if job.is_array else f"a {job.type}"
        yield "pipeline" if job.expand is None else "expand", f"makes jobs when its time has come: it cannot be {kind}"
    if job.expand == job.id:
        yield "expand", "a job cannot make jobs of its own result"
    if job.expand is not None and job.pipeline is not None:
        yield "pipeline", "give one of expand and pipeline, not both"
    if job.pipeline is not None and job.args:
        yield "args", "a saved pipeline takes none: leave them out"


def _of_a_gate(job: Job) -> Iterator[tuple[str, str]]:
    for name, default, _ in job.MADE:
        if job.ROWS[name].use is Use.WORK and getattr(job, name) != default:
            yield name, NOT_FOR_A_GATE
    if job.handler:
        yield "on_failure", NOT_FOR_A_GATE


def _of_no_gate(job: Job) -> Iterator[tuple[str, str]]:
    if job.message:
        yield "message", "goes with type gate alone: say hitl_message"
    if job.webhook and job.hitl_message is None:
        yield "webhook", "goes with type gate, or with hitl_message"


def _of_an_array(job: Job) -> Iterator[tuple[str, str]]:
    """The first of its jobs stands for all in what they say, the last in how it is called."""
    if job.foreach is not None and job.matrix is not None:
        yield "matrix", "give one of foreach and matrix, not both"
        return
    for field, texts in (("args", (job.args, ())), ("parents", ((), job.parents))):
        try:
            args, parents = next(rows(job.foreach, job.matrix, *texts))
            fields.check_args(args)
            fields.check_ids(parents)
        except BadField as bad:
            yield field, str(bad)
    last = member(job.id, job.size - 1)
    if problem := id_problem(last):
        yield "id", f"{last!r}, the last job of the array, {problem}"


def _value_of(job: Job) -> JobValue:
    if job.is_array or job.type == Type.GATE:
        kind = "an array: give the call one of its jobs" if job.is_array else "a gate, which comes to nothing"
        raise CallerError(f"the job {job.id!r} among the arguments is {kind}")
    return JobValue(job.id)


value_of_kind[Job] = _value_of
