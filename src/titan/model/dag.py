"""Submissions: job templates and DAGs, in columns that are sent and journaled as they are.

A `JobTemplate` holds everything that similar jobs share. 100,000 jobs that differ only in their
arguments are one template and 100,000 small rows. This module owns the data structures and their
limits; `graph` owns the rules of a valid DAG.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

MAX_JOBS = 1_000_000
MAX_ARGS_BYTES = 128 * 1024
MAX_PAYLOAD_BYTES = 1024 * 1024
MAX_INPUT_BYTES = 48 * 1024 * 1024
"""Maximum total bytes of the parents' values that a call receives inline."""
MAX_TEMPLATE_BYTES = 1024 * 1024
"""Maximum characters of a job specification: command, environment and all other fields."""
MAX_VERSION = 256
MAX_SOURCE = 4096
TEMPLATE_BYTES = 256
"""Estimated size of a template whose fields are all empty."""
MAX_RETRIES = 1_000
MAX_PRIORITY = 1_000_000
MAX_SECONDS = 10 * 366 * 86_400.0
MIN_MEMORY, MAX_MEMORY = 4 << 20, 1 << 50
"""Range of a job's memory limit in bytes."""
MIN_CPUS, MAX_CPUS = 0.01, 65_536.0
MAX_PROCESSES = 4_194_304
MIN_LOG, MAX_LOG = 4096, 1 << 50
"""Range of a job's log limit in bytes."""


class Kind(StrEnum):
    """Kind of a job. The values are on the wire and in journals, so they never change."""

    JOB = ""
    """Job that ends."""
    GATE = "gate"
    """Human decision: nothing runs."""
    HANDLER = "handler"
    """Failure handler: runs only if a parent is DEAD."""
    SERVICE = "service"
    """Job that should not end."""


GATE, HANDLER, SERVICE = Kind.GATE, Kind.HANDLER, Kind.SERVICE
"""Aliases for code that runs once per job. Looking a member up in its enum takes as long as eight
comparisons (Python 3.11)."""


ALWAYS, ENDED = "always", "ended"
"""Values of `JobTemplate.when`."""


class Needs(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Resources that a running attempt takes on its worker, and additional capabilities that the
    worker must have. 0: not specified."""

    cpus: float = 0.0
    memory: int = 0
    """Bytes."""
    gpus: int = 0
    capabilities: tuple[str, ...] = ()


class Retry(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Retry policy for failed attempts. 0: use the cluster's settings."""

    backoff_s: float = 0.0
    backoff_max_s: float = 0.0
    final_codes: tuple[int, ...] = ()
    """Exit codes that are not retried."""


class Limits(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Resource limits of an attempt; 0: no limit."""

    memory: int = 0
    """Bytes, over all its processes."""
    cpus: float = 0.0
    processes: int = 0


class Gate(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Human decision. The master rejects a gate that is undecided after `max_wait_s`."""

    message: str = ""
    max_wait_s: float = 48 * 3600.0
    webhook: str = ""


class Service(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Process that should not end."""

    port: int = 0
    """0: any free port."""
    health: str = ""
    """"tcp", "http", "command" or "none" (healthy as soon as it runs); "" is tcp."""
    target: str = ""
    """Path of an http check, or command line of a command check."""
    interval_s: float = 0.0
    timeout_s: float = 0.0
    start_s: float = 0.0
    """Maximum time from the start until the service is first healthy."""
    restart: str = ""
    """"always", "on-failure" or "never"; "" is always."""
    backoff_s: float = 0.0
    backoff_max_s: float = 0.0
    keep: bool = False
    """The service keeps running when the jobs that depend on it are over."""
    misses: int = 0
    """Number of failed checks in a row that make the service unhealthy; 0: the default in
    `titan.model.services`."""
    max_restarts: int = 0
    """Maximum number of restarts since the service was last READY for `STEADY_S` of
    `titan.model.services`; 0: no limit."""


class Cache(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Reuse of an earlier result. `titan.model.caching` has the rules."""

    version: str = ""
    """Text that counts for the key. Another version makes all earlier results unusable."""
    max_age_s: float = 0.0
    """Maximum age of a result that is reused; 0: no limit."""
    ignore: tuple[str, ...] = ()
    """Variables of the environment that do not count for the key."""
    by_position: bool = False
    """True: the position in the job's array counts, because the jobs of the array have the same
    arguments."""


class Parallel(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Limit of the jobs of one array that are on workers at a time."""

    array: str
    """Name of the array in its run. Jobs with the same name share the limit."""
    most: int


class JobTemplate(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Program of a job and its options.

    Exactly one of `file`, `command`, `argv`, `function` is set. `file` is a path inside the project
    archive, or the name of a staged script, one that the client uploaded. `file_hash` (SHA-256,
    hex) is "" for a file of a project. `command` is passed to /bin/sh -c. `argv` is run unchanged.
    `function` is the SHA-256 of a pickled function, which is staged like a script. `driver`
    "process" requests a fresh process instead of a warm one. `python` is the interpreter of a
    script; "" is the worker's own. Times are in seconds; `timeout_s` 0 means no timeout.
    """

    file: str = ""
    file_hash: str = ""
    archive: str = ""
    command: str = ""
    argv: tuple[str, ...] = ()
    requirement: str = "GENERAL"
    priority: int = 1
    delay_s: float = 0.0
    affinity: bool = False
    retries: int = 3
    timeout_s: float = 0.0
    env: tuple[tuple[str, str], ...] = ()
    function: str = ""
    driver: str = ""
    python: str = ""
    kind: str = ""
    """A `Kind`. It is a plain string because a later Titan may send an unknown kind, which
    `titan.model.failure` rejects."""
    needs: Needs | None = None
    retry: Retry | None = None
    limits: Limits | None = None
    gate: Gate | None = None
    service: Service | None = None
    run_at: float = 0.0
    """Earliest start (seconds since the epoch); 0: at once."""
    on_failure: str = ""
    """Effect on the job's children when the job is DEAD: "cancel" (the same as "") or
    "continue"."""
    secrets: tuple[str, ...] = ()
    """Names of secrets in the job's environment; each variable has the name of its secret."""
    outputs: tuple[tuple[str, str], ...] = ()
    """(name, path in the job's folder) of files that must exist when the job has succeeded. A path
    may be a pattern, see `titan.model.patterns`."""
    inputs: tuple[tuple[str, str, str], ...] = ()
    """(path in the job's folder, id of the source job, name of that job's output) of files that are
    placed before the job starts. See `titan.model.job_inputs`."""
    session: str = ""
    """Id of the program that submits these calls. A function runner serves the calls of a single
    session."""
    cwd: str = ""
    """Absolute folder on the worker's machine in which the job runs; "": a sandbox of its own. Also
    a name in `titan.model.files`: SHARED_FOLDER, SCRIPT_FOLDER."""
    stdin: str = ""
    """Content of the standard input: a SHA-256 (hex), or with `cwd` an absolute path on the
    worker's machine. "": empty input."""
    log_limit: int = 0
    """Bytes of each output stream that are kept; 0: the worker's limit."""
    optional_outputs: tuple[str, ...] = ()
    """Names of outputs that the job may leave out. A pattern among them may match nothing."""
    optional_inputs: tuple[int, ...] = ()
    """Positions in `inputs` whose files may be absent when the job starts."""
    when: str = ""
    """State of the parents at which the job starts: "" when all are done, ALWAYS when all have
    ended, whatever their ends. ENDED: when all have ended, and those whose state the condition does
    not read are done."""
    condition: str = ""
    """Expression that must be true when the job would start, else the job is SKIPPED. See
    `titan.model.conditions`."""
    cache: Cache | None = None
    """Set: the result of an earlier job with the same key is reused, and the job's own result is
    kept for later jobs."""
    fills_results: bool = False
    """True: the texts of the job have placeholders for results of its parents. See
    `titan.model.job_results`."""
    parallel: Parallel | None = None

    def __hash__(self) -> int:
        program = (self.file, self.file_hash, self.archive, self.command, self.argv, self.function)
        return hash((*program, self.requirement, self.priority, self.env))


def waits_for_end(template: JobTemplate) -> bool:
    """Return True if the job waits for the end of its parents, not for their completion."""
    return template.when != "" or template.kind == HANDLER


def template_size(t: JobTemplate) -> int:
    """Return the number of characters in a template, about its size in a message."""
    size = TEMPLATE_BYTES + len(t.file) + len(t.command) + len(t.python) + len(t.session) + len(t.cwd) + len(t.stdin) + 8
    size += len(t.condition)
    for texts in (t.argv, t.secrets, *t.env, *t.outputs, *t.inputs):
        if texts:
            size += sum(map(len, texts)) + 2 * len(texts)
    if t.gate is not None:
        size += len(t.gate.message) + len(t.gate.webhook) + 4
    if t.service is not None:
        size += len(t.service.target) + 2
    if t.parallel is not None:
        size += len(t.parallel.array) + 2
    if t.cache is not None:
        size += len(t.cache.version) + sum(map(len, t.cache.ignore)) + 2 * len(t.cache.ignore)
    return size


class DagSpec(msgspec.Struct, frozen=True, array_like=True):
    """DAG in columns: entry i of `ids`, `template_of`, `args` and `parents` is job i. Parents are
    ids.

    `payloads`, if not empty, has one entry per job: the pickled arguments of a job that is a call.
    """

    name: str
    version: str
    templates: list[JobTemplate]
    ids: list[str]
    template_of: list[int]
    args: list[tuple[str, ...]]
    parents: list[tuple[str, ...]]
    payloads: list[bytes] = []
    deadline_s: float = 0.0
    """Deadline of the run, in seconds after its submission; 0: no deadline."""
    group: str = ""
    """The submitter's name for a group of runs: `agent_run_id`."""
    source: str = ""
    """Absolute path, on the submitter's machine, of the pipeline file, script or project folder
    that the DAG was made from. "": unknown."""
    fresh: bool = False
    """True: no job of the run reuses an earlier result. Jobs with caching keep theirs."""
