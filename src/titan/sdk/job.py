"""`Job` and `DAG`: the work that a program submits. `Job` is also the table of a job's fields.

Owns the fields, and the checks that involve several fields. The checks of single fields are in
`fields` and its neighbours, the definition of a row in `field_table`. It must not access files or
the network. `staging` reads the files, and `titan.model.graph` checks the graph.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import InitVar, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar, Final

from titan.errors import CallerError, InvalidGraph
from titan.model.caching import cache_problem
from titan.model.conditions import parse
from titan.model.dag import MAX_PRIORITY, MAX_RETRIES, MAX_SOURCE, Cache, JobTemplate, Kind, Limits, Service
from titan.model.demand import MAX_GPUS
from titan.model.drivers import DRIVERS, choices, choices_doc
from titan.model.files import SCRIPT_FOLDER
from titan.model.names import MAX_NAME
from titan.model.parallel import parallel_problem
from titan.sdk import fields
from titan.sdk.arrays import Foreach, Matrix, foreach_of, matrix_of, max_parallel_of, member, parallel_of, rows, size_of
from titan.sdk.caching import cache_of, cache_of_array
from titan.sdk.failure_fields import (
    MAX_WAIT_S,
    TYPES,
    Type,
    codes_of,
    condition_of,
    handler_of,
    message_of,
    on_failure_of,
    positive_of,
    type_of,
    webhook_of,
)
from titan.sdk.field_table import BadField, Field, Form, Row, Use, derived, row, table
from titan.sdk.fields import DAG_FIELDS, file_of, id_problem, kind_of, no_script, problem_of, shown, timeout_of
from titan.sdk.file_fields import Input, LeftPath, Output, inputs_of, outputs_of
from titan.sdk.limits import limits_of
from titan.sdk.needs import cpus_of, log_limit_of, memory_of, requirement_of
from titan.sdk.secrets import both, secrets_of
from titan.sdk.services import BadService, service_of
from titan.sdk.tasks import JobValue, TaskCall, ordered, value_of_kind

NOT_FOR_A_GATE = "does not apply to a gate, which runs nothing: leave it out"


def _parents_of(value: object) -> tuple[str, ...]:
    """Return the ids of the parents.

    Parents of an array may contain placeholders. `check_ids` checks them once the whole job is
    known.
    """
    if isinstance(value, (str, Job, TaskCall)):
        value = (value,)
    if isinstance(value, (bytes, Mapping)) or not isinstance(value, Iterable):
        raise BadField(f"must be a list of job ids or Jobs, not {kind_of(value)}")
    ids = []
    for item in value:
        name = _id_of(item)
        if not isinstance(name, str):
            raise BadField(f"{name!r} is not a job id: {id_problem(name)}")
        ids.append(name)
    return tuple(ids)


def _expand_of(value: object) -> str:
    name = _id_of(value)
    if problem := id_problem(name):
        raise BadField(f"{shown(name)} is not a job: {problem}")
    return str(name)


def _id_of(value: object) -> object:
    return value.id if isinstance(value, (Job, TaskCall)) else value


@table
class Job:
    """One job of a DAG. Immutable. Exactly one of `file` and `command` is given.

    Each field is a row of a table: its purpose, its accepted values, its stored value, and its form
    in a pipeline file. The constructor and every other reader of fields use the table, so a new
    field is one more row.

    Raises InvalidGraph, which names the job and the field.

    >>> fetch = Job("fetch", command="curl -sO https://example.org/data.csv", retries=5)
    >>> train = Job("train", file="train.py", args="--epochs 4", parents=[fetch], timeout=3600)
    >>> train.args, train.parents
    (('--epochs', '4'), ('fetch',))
    >>> images = ["a.png", "b.png"]
    >>> Job("resize", file="resize.py", foreach=images, args=["--in", "${item}"]).size
    2
    >>> Job("train", file="train.py", priority="high")
    Traceback (most recent call last):
        ...
    titan.errors.InvalidGraph: job 'train': priority: must be an integer, not the string 'high'
    """

    ROWS: ClassVar[Mapping[str, Row]]
    MADE: ClassVar[tuple[tuple[str, object, Callable[[object], object]], ...]]
    values_of: ClassVar[Callable[[object], tuple[object, ...]]]
    shape_of: ClassVar[Callable[[object], tuple[object, ...]]]

    # A row: the field's description, the function that converts its value, and its properties.
    # fmt: off
    id: str = row(
        "Unique within its DAG. 1 to 128 characters of `A-Z a-z 0-9 _ . : @ + = , [ ] -`; the "
        "first is a letter, a digit or `_`.",
        fields.id_of, form=Form.TEXT, aliases=("name",), use=Use.ALL, own=True,
    )
    file: Field[str | os.PathLike[str] | None, str | None] = row(
        "A script or binary. A relative path starts at the project, else at the pipeline's "
        "folder or the program's working directory. `perm:NAME` is a file in the master's "
        "perm_files/.",
        file_of, default=None, form=Form.PATH, aliases=("script", "path"),
    )
    command: Field[str | Sequence[str] | None, str | tuple[str, ...] | None] = row(
        "A command for /bin/sh, in place of a file. It receives `args` as `$1`, `$2`... From "
        "Python also a list, which runs without a shell, with `args` appended. At most 128 KiB. "
        "`${JOB.result.KEY}` is the [result of a job](pipelines.md#use-the-result-of-a-job), as a "
        "variable of the shell.",
        fields.command_of, default=None, form=Form.TEXT, aliases=("cmd", "run", "shell"),
    )
    args: Field[str | Iterable[str | float | os.PathLike[str]], tuple[str, ...]] = row(
        "A string, which is split like a shell does, or a list. At most 128 KiB in all. "
        "`${JOB.result}` and `${JOB.result.KEY}` are replaced by the [result of a "
        "job](pipelines.md#use-the-result-of-a-job).",
        fields.args_of, default=(), form=Form.ARGS, aliases=("arguments",), own=True,
    )
    parents: Field[str | Job | TaskCall[Any] | Iterable[str | Job | TaskCall[Any]], tuple[str, ...]] = row(
        "Jobs that must be COMPLETED first: an id or a list of ids, from Python also `Job` objects "
        "and task calls. The order matters only for `affinity`, which uses the node of the first.",
        _parents_of, default=(), form=Form.IDS, key="depends_on", aliases=("parents", "needs", "after", "dependencies"),
        use=Use.ALL, own=True,
    )
    requirement: Field[str | Iterable[str], str | tuple[str, ...]] = row(
        "The capability that a worker must offer, or a list of capabilities; default GENERAL.",
        requirement_of, default="GENERAL", form=Form.TEXTS, aliases=("capability", "requires", "capabilities"),
    )
    priority: int = row(
        "Jobs with a higher priority go first; within +-1,000,000, default 1.",
        fields.Integer(-MAX_PRIORITY, MAX_PRIORITY), default=1, form=Form.INTEGER, template="priority", planner=True,
    )
    delay: Field[float | str, float] = row(
        "Seconds to wait after the parents are done, or a duration such as `1h30m`.",
        fields.seconds_of, default=0.0, form=Form.SECONDS, use=Use.ALL, template="delay_s", planner=True,
    )
    affinity: bool = row(
        "True: run on the node where the first parent ran.",
        fields.switch, default=False, form=Form.BOOLEAN, template="affinity",
    )
    retries: int = row(
        "Number of retries after a failed attempt, 0 to 1,000; default 3. For a service: "
        "attempts on other workers if one cannot start it.",
        fields.Integer(0, MAX_RETRIES), default=3, form=Form.INTEGER, aliases=("retry",), template="retries", planner=True,
    )
    timeout: Field[float | str | None, float | None] = row(
        "Seconds that an attempt may run, or a duration such as `1h30m`; default: no limit.",
        timeout_of, default=None, form=Form.SECONDS_OR_NULL, aliases=("time_limit",), template="timeout_s",
    )
    env: Field[Mapping[str, str | float | os.PathLike[str]] | None, tuple[tuple[str, str], ...]] = row(
        "Variables that are added to the environment, as a mapping of names to values. Names "
        "that begin with `TITAN_` are reserved. `${JOB.result}` is replaced as in `args`.",
        fields.env_of, default=(), form=Form.ENV, aliases=("environment",), template="env",
    )
    python: Field[str | os.PathLike[str] | None, str | None] = row(
        "For a `.py` file: the interpreter that runs it, or the folder of a virtual environment, "
        "on the worker; default: the worker's own. A relative path starts at the project, else "
        "at the pipeline's folder or the working directory.",
        fields.python_of, default=None, form=Form.PATH, aliases=("interpreter", "venv", "virtualenv"),
    )
    driver: str | None = row(
        choices_doc(), fields.choice(*choices()), default=None, form=Form.TEXT, words=choices(),
    )
    foreach: Field[int | Iterable[object] | None, Foreach | None] = row(
        "Makes the job an array `ID[0]`, `ID[1]`...: one job for each item of a list (texts, "
        "numbers, or mappings of names to them), or the number of jobs. The placeholders "
        "`${item}`, `${item.KEY}`, `${matrix.KEY}` and `${index}` are replaced in `args` and "
        "`depends_on`. Without `args`, each job gets its item's values as arguments. `ID` as a "
        "parent means all jobs of the array.",
        foreach_of, default=None, form=Form.ITEMS, own=True,
    )
    matrix: Field[Mapping[str, Iterable[object]] | None, Matrix | None] = row(
        "Makes the job an array with one job for each combination of values, as in "
        "`{lang: [de, en], size: [1, 2]}`. `exclude: [{lang: de, size: 2}]` in it drops "
        "combinations. `include` adds: each of its entries goes to the combinations whose values it "
        "does not change, or else becomes a combination. Values that are missing are empty.",
        matrix_of, default=None, form=Form.MATRIX, own=True,
    )
    backoff: Field[float | str | None, float | None] = row(
        "Seconds before the first retry. The delay doubles with each retry, and is jittered "
        "between half of it and all of it. Default: the cluster's setting.",
        positive_of, default=None, form=Form.SECONDS,
    )
    backoff_max: Field[float | str | None, float | None] = row(
        "Maximum number of seconds before a retry.",
        positive_of, default=None, form=Form.SECONDS, aliases=("max_backoff",),
    )
    no_retry: Field[Iterable[int], tuple[int, ...]] = row(
        "Exit codes that are final and not retried, as in `[2, 64]`.",
        codes_of, default=(), form=Form.CODES, aliases=("final_codes",),
    )
    on_failure: Field[str | Mapping[str, str | Job], str] = row(
        "Effect on other jobs when this job is DEAD. `cancel` (default): its dependents are "
        "cancelled. `continue`: they run. `{run: JOB}`: they are cancelled, and the failure "
        "handler JOB runs, which finds the id of the failed job in `TITAN_FAILED_JOB`. A handler "
        "has no parents, and is CANCELLED if none of its jobs dies. The run is FAILED in each "
        "case.",
        on_failure_of, default="cancel", form=Form.ON_FAILURE,
    )
    always: bool = row(
        "True: the job runs when all its parents have ended, also if one is DEAD or CANCELLED; for "
        "clean-up and reports. Without `depends_on` it waits for all jobs of the DAG except "
        "services, other `always` jobs, and jobs that depend on it. It finds the first DEAD parent "
        "in `TITAN_FAILED_JOB`; empty if there is none. Its `inputs` must be optional. `titan cancel "
        "RUN` and the deadline of the run cancel it.",
        fields.switch, default=False, form=Form.BOOLEAN, aliases=("finally",), use=Use.ALL,
    )
    condition: Field[str | bool, str] = row(
        "An expression, as in `train.result.accuracy > 0.9 and prepare.state == COMPLETED`. If it is "
        "false when the parents have ended, the job and its dependents are SKIPPED, which fails "
        "nothing. The jobs that it names become parents. Parents whose `.state` it reads may fail. "
        "From Python: `condition=`. See [Run a job only if](pipelines.md#run-a-job-only-if).",
        condition_of, default="", form=Form.CONDITION, key="if", aliases=("condition", "when", "unless"), use=Use.ALL,
        template="condition",
    )
    handler: str = derived(own=True)
    """Failure handler: the job that runs when this job is DEAD; "" for none."""
    hitl_message: str | None = row(
        "Adds a gate with this message after the job, named `ID.gate`. Dependents of the job "
        "then wait for the gate.",
        message_of, default=None, form=Form.TEXT, own=True,
    )
    max_wait_seconds: Field[float | str, float] = row(
        "With `hitl_message`: seconds after which an undecided gate is rejected; default 48 h.",
        positive_of, default=MAX_WAIT_S, form=Form.SECONDS, own=True,
    )
    type: str = row(
        "`run` (default; `task` means the same), `gate` or `service`. A gate is a human decision. A service is a "
        "process that should not end. Its dependents start when it is READY. They find its "
        "HOST:PORT as `${service:ID}` in `args`, `env` and `command`, and in "
        "`TITAN_SERVICE_ID`.",
        type_of, default=Type.RUN.value, form=Form.TEXT, use=Use.ALL, words=TYPES,
    )
    message: str = row(
        "For a gate: the question to decide, up to 4,096 characters.",
        message_of, default="", form=Form.TEXT, use=Use.GATE, instead="hitl_message",
    )
    max_wait: Field[float | str, float] = row(
        "For a gate: seconds after which it is rejected if undecided; default 48 h.",
        positive_of, default=MAX_WAIT_S, form=Form.SECONDS, use=Use.GATE, instead="max_wait_seconds",
    )
    webhook: str = row(
        "For a gate, or with `hitl_message`: an http or https URL that is called when the gate "
        "opens.",
        webhook_of, default="", form=Form.TEXT, use=Use.GATE,
    )
    run_at: Field[datetime | float | None, float | None] = row(
        "Earliest start: a local time as `2026-01-31T12:00`, a time with a zone as "
        "`2026-01-31T12:00+01:00`, or seconds since the epoch. From Python also a datetime.",
        fields.run_at_of, default=None, form=Form.MOMENT, use=Use.ALL, template="run_at", planner=True,
    )
    limits: Field[Mapping[str, str | float] | Limits | None, Limits | None] = row(
        "Maximum use of an attempt: any of `{memory: 512MiB, cpus: 1.5, processes: 64}`. Memory "
        "is the sum over all its processes. An attempt that is killed for memory fails with "
        "that reason.",
        limits_of, default=None, form=Form.LIMITS, template="limits",
    )
    cpus: float = row(
        "CPUs that a running attempt reserves on its worker, in addition to a slot, as in `0.5`; "
        "default none. The reservations on a worker never exceed its CPUs.",
        cpus_of, default=0.0, form=Form.NUMBER, aliases=("cpu", "cores"),
    )
    memory: Field[int | str, int] = row(
        "Memory that a running attempt reserves: bytes, or a size such as `4GiB`.",
        memory_of, default=0, form=Form.SIZE, aliases=("mem", "ram"),
    )
    gpus: int = row(
        "GPUs that a running attempt reserves. `CUDA_VISIBLE_DEVICES` lists them.",
        fields.Integer(0, MAX_GPUS, "a whole number of GPUs"), default=0, form=Form.INTEGER, aliases=("gpu",),
    )
    port: InitVar[int | None] = row(
        "For a service: its port; default: any free port. The service finds it in `TITAN_PORT`, "
        "and as `${port}` in `args` and `env`.",
        None, default=None, form=Form.INTEGER,
    )
    health: InitVar[str | Mapping[str, object] | None] = row(
        "For a service, the health check: `tcp` (default), `http:/path`, `none`, or a mapping "
        "with `type`, `path` or `command`, `interval`, `timeout`, `start` (seconds) and "
        "`failures`.",
        None, default=None, form=Form.ANY,
    )
    restart: InitVar[str | Mapping[str, object] | None] = row(
        "For a service, the restart policy: `always` (default), `on-failure`, `never`, or a "
        "mapping with `policy`, `backoff`, `backoff_max` (seconds) and `max`.",
        None, default=None, form=Form.ANY,
    )
    keep: InitVar[bool] = row(
        "For a service: true to keep it running after its dependents are over.",
        None, default=False, form=Form.BOOLEAN,
    )
    service: Service | None = derived()
    expand: Field[str | Job | TaskCall[Any] | None, str | None] = row(
        "A parent whose result is a list or a number. When the result is known, jobs are added "
        "to the run as with `foreach`: one for each item, or that number. `args` may contain "
        "`${item}`, `${item.KEY}` and `${index}`. Dependents of this job wait for all of them.",
        _expand_of, default=None, form=Form.TEXT, own=True,
    )
    pipeline: str | None = row(
        "The name of a saved pipeline. Its jobs are added to the run as `ID.JOB` when the "
        "parents are done. Dependents of this job wait for all of them.",
        fields.pipeline_of, default=None, form=Form.TEXT, own=True,
    )
    secrets: Field[Iterable[str], tuple[str, ...]] = row(
        "Names of secrets to put into the environment, as in `[API_TOKEN]`; at most 64. Their "
        "values are masked in the job's output.",
        secrets_of, default=(), form=Form.SECRETS, aliases=("secret",), template="secrets",
    )
    outputs: Field[Mapping[str, Any] | Iterable[Any], tuple[LeftPath, ...]] = row(
        "Files or folders that the job must leave, as in `{model: out/model.bin}`, or a list of "
        "paths, which then are also their names. They are moved out of the job's folder and kept "
        "as long as the run. A path such as `parts/*.csv` or `**/*.log` means all files that match "
        "when the job ends, at most 1,000. `{path: log.txt, optional: true}` in place of a path: "
        "the file may be absent.",
        outputs_of, default=(), form=Form.OUTPUTS,
    )
    inputs: Field[Mapping[str, Any] | Iterable[Any], tuple[Input, ...]] = row(
        "Outputs of other jobs, by their path in this job's folder, as in "
        "`{data/model.bin: train.model}`. In a list, each output keeps its own path. From Python "
        'also `train.output("model")`. This job waits for those jobs. The files are read-only. '
        "`{in: part.data}` of an array or an expansion `part` means the outputs of all its jobs, "
        "as in/0, in/1...; `[part[*].data]` keeps their names, as part[0]/out.csv. In an array of "
        "the same size `part[${index}].data` means the job at the same index. "
        "`{from: train.model, optional: true}` in place of an output: the file may be absent.",
        inputs_of, default=(), form=Form.INPUTS,
    )
    cwd: Field[str | os.PathLike[str] | None, str | None] = row(
        "Absolute folder on the worker's machine in which the job runs, in place of a folder of "
        "its own. The folder must be there. Or `shared`: the folder of `TITAN_SHARED`, which the "
        "jobs of a run share on a machine. Or `script`: the folder that holds the job's file. "
        "Not with `inputs` and `outputs`.",
        fields.folder_of, default=None, form=Form.TEXT, aliases=("working_directory", "workdir", "dir"), template="cwd",
    )
    stdin: Field[str | os.PathLike[str] | None, str | None] = row(
        "A file that is sent along and is the job's standard input; default: empty input. If `cwd` "
        "is a path, it is a file on the worker's machine. A relative path starts as that of `file`.",
        fields.stdin_of, default=None, form=Form.PATH, aliases=("standard_input",),
    )
    log_limit: Field[int | str, int] = row(
        "Bytes of each output stream that are kept, or a size such as `1GiB`; default: the "
        "worker's `--log-limit`. The end of a stream is always kept.",
        log_limit_of, default=0, form=Form.SIZE, template="log_limit",
    )
    description: str = row(
        "What the job is for, up to 4,096 characters, for people who read the pipeline. `titan graph` "
        "shows it; it is not sent to the master.",
        fields.description_of, default="", form=Form.TEXT, aliases=("desc", "comment"), use=Use.ALL, own=True,
    )
    cache: Field[bool | Mapping[str, Any] | Cache | None, Cache | None] = row(
        "True: if an earlier job did the same, this job completes at once with its result and its "
        "outputs. The code, arguments, `env`, contents of the inputs, results of the parents and "
        'secrets count. Or `{version: "2", for: 7d, ignore: [LOG_LEVEL]}`: a text that counts, the '
        "age up to which a result is used, and variables of `env` that do not count. See "
        "[caching](caching.md).",
        cache_of, default=None, form=Form.CACHE, aliases=("caching", "cached", "memoize"), template="cache",
    )
    max_parallel: Field[int | None, int | None] = row(
        "For an array: the number of its jobs that run at a time, at most. The others are QUEUED. A "
        "failed attempt that waits for its retry does not count. Also for the jobs of an `expand`; "
        "not with `affinity`.",
        max_parallel_of, default=None, form=Form.INTEGER, aliases=("max-parallel",),
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
            for (name, default, make), value in zip(self.MADE, type(self).values_of(self), strict=True):
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
        if self.cache is not None and self.is_array:
            put(self, "cache", cache_of_array(self.cache, [args for _, args, _ in self.rows()]))
        if self.expand is not None and self.expand not in self.parents:
            put(self, "parents", (*self.parents, self.expand))

    @property
    def is_array(self) -> bool:
        return self.foreach is not None or self.matrix is not None

    @property
    def size(self) -> int:
        """Number of jobs in a run that this job makes."""
        return size_of(self.foreach, self.matrix) if self.is_array else 1

    def output(self, name: str, *, optional: bool = False) -> Output:
        """Return an output of this job, for the `inputs` of another job. Raises InvalidGraph.

        `optional`: the other job runs without the file if this job left none.
        """
        if all(name != known.name for known in self.outputs):
            raise InvalidGraph.of(self.id, "outputs", f"the job declares no output {shown(name)}")
        return Output(self.id, name, optional)

    def rows(self) -> Iterator[tuple[str, tuple[str, ...], tuple[str, ...]]]:
        """Yield (id, args, parents) for each job in a run that this job makes.

        A parent that is an array keeps the name of the array.
        """
        if not self.is_array:
            yield self.id, self.args, self.parents
            return
        for index, (args, parents) in enumerate(rows(self.foreach, self.matrix, self.args, self.parents)):
            yield member(self.id, index), args, parents

    def __repr__(self) -> str:
        work = f"file={self.file!r}" if self.file is not None else f"command={self.command!r}"
        work = "type='gate'" if self.type == "gate" else f"pipeline={self.pipeline!r}" if self.pipeline else work
        return f"Job({self.id!r}, {work}{f', parents={list(self.parents)!r}' if self.parents else ''})"


ROW_OF_KEY: Final[Mapping[str, Row]] = {row.key or name: row for name, row in Job.ROWS.items() if row.form is not None}
"""Keys of a job in a pipeline file."""


@dataclass(frozen=True, slots=True, init=False, repr=False)
class DAG:
    """Jobs with their dependencies, submitted and refused as a whole. Immutable.

    - `jobs`: Jobs and task calls (`titan.task`), at most 1,000,000. Calls that those need are
      added. One kind can wait for the other: `Job(parents=[call])` and `task.after(job)(...)`.
    - `name`: 1 to 256 printable characters.
    - `version`: any text, up to 256 characters, which `titan status` shows.
    - `deadline`: seconds after the submission by which the run must be over. Jobs that are not over
      then are cancelled.
    - `agent_run_id`: any text, up to 256 characters, that groups runs. `titan runs --group` lists
      them.
    - `project`: a folder. It travels as one archive, and each job runs inside its own unpacked
      copy. The `file` of each job is a path in it. None: each `file` travels by itself.
    - `source`: path of the pipeline file that the DAG was read from, which `titan rerun
      --new-files` reads again.
    - `description`: any text, up to 4,096 characters, for people. It is not sent to the master.

    Raises InvalidGraph. Missing parents and cycles are found when the DAG is staged.

    >>> a = Job("a", command="true")
    >>> DAG("two", [a, Job("b", command=["echo", "hi"], parents=[a])])
    DAG('two', 2 jobs)
    """

    name: str
    jobs: tuple[Job, ...]
    calls: tuple[TaskCall[Any], ...]
    """All task calls that are needed, parents before children."""
    version: str
    project: Path | None
    deadline: float | None
    agent_run_id: str
    source: str
    """Absolute path, "" if unknown."""
    description: str

    def __init__(
        self,
        name: str,
        jobs: Iterable[Job | TaskCall[Any]],
        version: str = "",
        project: str | os.PathLike[str] | None = None,
        deadline: float | str | None = None,
        agent_run_id: str = "",
        source: str | os.PathLike[str] = "",
        description: str = "",
    ) -> None:
        put = object.__setattr__
        path = os.path.abspath(source) if source else ""
        put(self, "source", path if path.isprintable() and len(path) <= MAX_SOURCE else "")
        texts = {"name": name, "version": version, "agent_run_id": agent_run_id, "description": description}
        for field, value in texts.items():
            if problem := problem_of(DAG_FIELDS[field], value):
                raise InvalidGraph(f"DAG {shown(name)}: {field}: {problem}")
        put(self, "name", name)
        put(self, "version", version)
        put(self, "agent_run_id", agent_run_id)
        put(self, "description", description)
        if isinstance(jobs, (str, bytes, Job, TaskCall, Mapping)) or not isinstance(jobs, Iterable):
            raise InvalidGraph(f"DAG {name!r}: jobs: must be a list of Job, not {kind_of(jobs)}")
        items = tuple(jobs)
        for i, job in enumerate(items):
            if not isinstance(job, (Job, TaskCall)):
                raise InvalidGraph(f"DAG {name!r}: jobs: item {i} must be a Job or the call of a task, not {kind_of(job)}")
        put(self, "jobs", tuple([job for job in items if isinstance(job, Job)]))
        put(self, "calls", tuple(ordered([call for call in items if isinstance(call, TaskCall)])))
        for field, make, option in (("deadline", timeout_of, deadline), ("project", file_of, project)):
            try:
                put(self, field, None if option is None else make(option))
            except BadField as bad:
                raise InvalidGraph(f"DAG {name!r}: {field}: {bad}") from None
        put(self, "project", None if self.project is None else Path(self.project))

    def __repr__(self) -> str:
        return f"DAG({self.name!r}, {self.size} {'job' if self.size == 1 else 'jobs'})"

    @property
    def size(self) -> int:
        """Number of jobs in a run of this DAG."""
        return sum(job.size + (job.hitl_message is not None) for job in self.jobs) + len(self.calls)


# -- checks that involve several fields ------------------------------------------------------------
def _problems(job: Job) -> Iterator[tuple[str, str]]:
    """Yield (field, problem) of each problem, the most helpful first."""
    yield from _work_problems(job)
    if job.parents and not job.is_array and (problem := problem_of(fields.check_ids, job.parents)):
        yield "parents", problem
    if problem := both(job.secrets, job.env):
        yield "secrets", problem
    if job.cwd is not None and (job.inputs or job.outputs):
        yield "cwd", "inputs and outputs lie in the job's own folder: leave them out, or leave cwd out"
    if job.cwd == SCRIPT_FOLDER and job.file is None:
        yield "cwd", "a command has no script: give the path of a folder"
    if job.stdin is not None and (job.service is not None or (job.file is None and job.command is None)):
        yield "stdin", "only a file or a command has one: leave it out"
    if job.log_limit and job.file is None and job.command is None:
        yield "log_limit", "only a file, a command or a service has one: leave it out"
    if job.python is not None and (problem := no_script(job.file)):
        yield "python", problem
    elif job.driver is not None and (suffix := DRIVERS[job.driver].suffix) and (problem := no_script(job.file, suffix)):
        yield "driver", problem
    if job.service is not None:
        yield from _service_problems(job)
    if job.cache is not None and (problem := cache_problem(_cached_template(job))):
        yield "cache", problem.removeprefix("cache: ")
    if job.expand is not None or job.pipeline is not None:
        yield from _planner_problems(job)
    if job.max_parallel is not None and (problem := _parallel_problem(job)):
        yield "max_parallel", problem
    yield from _gate_problems(job) if job.type == Type.GATE else _not_gate_problems(job)
    if job.is_array:
        yield from _array_problems(job)


def _cached_template(job: Job) -> JobTemplate:
    return JobTemplate(kind=Kind.SERVICE if job.service is not None else Kind.JOB, cwd=job.cwd or "", cache=job.cache)


def _parallel_problem(job: Job) -> str:
    if not job.is_array and job.expand is None:
        return "applies only to an array: add foreach or matrix, or leave it out"
    template = JobTemplate(kind=_cached_template(job).kind, affinity=job.affinity, parallel=parallel_of(job.max_parallel, job.id))
    return parallel_problem(template).removeprefix("max_parallel: ")


def _work_problems(job: Job) -> Iterator[tuple[str, str]]:
    runs = job.file is not None or job.command is not None
    if job.type == Type.GATE:
        if runs:
            yield "file" if job.command is None else "command", "a gate runs nothing: leave it out"
    elif job.pipeline is not None:
        if runs:
            yield "pipeline", "runs the jobs of a saved pipeline: leave file and command out"
    elif (job.file is None) is (job.command is None):
        yield "file", "give exactly one of file and command" + ("" if job.file is None else ", not both")


def _service_problems(job: Job) -> Iterator[tuple[str, str]]:
    if job.timeout is not None:
        yield "timeout", "a service has no timeout: leave it out, and stop the service with `titan stop`"
    if job.hitl_message is not None:
        yield "hitl_message", "a service has no gate after it: add a gate before its dependents"


def _planner_problems(job: Job) -> Iterator[tuple[str, str]]:
    """Yield the problems of a job that adds jobs to the run."""
    if job.service is not None or job.is_array or job.type == Type.GATE:
        kind = "an array" if job.is_array else f"a {job.type}"
        yield "pipeline" if job.expand is None else "expand", f"adds jobs when the parents are done: the job cannot be {kind}"
    if job.condition and parse(job.condition).jobs_by_state:
        yield "condition", "adds jobs from results, so it cannot read the state of a job: put a job with this condition before it"
    if job.always:
        yield "always", "adds jobs, so it cannot run without its parents: put an always job behind it"
    if job.expand == job.id:
        yield "expand", "a job cannot expand its own result: name a parent"
    if job.expand is not None and job.pipeline is not None:
        yield "pipeline", "give one of expand and pipeline, not both"
    if job.pipeline is not None and job.args:
        yield "args", "a saved pipeline takes no arguments: leave them out"
    if job.pipeline is not None and job.cache is not None:
        yield "cache", "a saved pipeline adds jobs, which have caches of their own: leave it out"


def _gate_problems(job: Job) -> Iterator[tuple[str, str]]:
    for name, default, _ in job.MADE:
        if job.ROWS[name].use is Use.WORK and getattr(job, name) != default:
            yield name, NOT_FOR_A_GATE
    if job.handler:
        yield "on_failure", NOT_FOR_A_GATE


def _not_gate_problems(job: Job) -> Iterator[tuple[str, str]]:
    if job.message:
        yield "message", "applies only to type gate: use hitl_message"
    if job.webhook and job.hitl_message is None:
        yield "webhook", "applies only to type gate, or with hitl_message"


def _array_problems(job: Job) -> Iterator[tuple[str, str]]:
    """Yield the problems of an array.

    The first job stands for all in its args and parents, the last in its id, which is the longest.
    """
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
        kind = "an array: pass one of its jobs instead" if job.is_array else "a gate, which has no result"
        raise CallerError(f"the job {job.id!r} among the arguments is {kind}")
    return JobValue(job.id)


value_of_kind[Job] = _value_of
