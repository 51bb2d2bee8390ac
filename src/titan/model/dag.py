"""What a user submits: job templates and DAGs, in the columns in which they travel and are
journaled.

A `JobTemplate` says what jobs of one shape share, so 100,000 jobs that differ in their arguments
are one template and 100,000 small rows. Owns the shape and its limits; `graph` owns what makes a
DAG valid.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

MAX_JOBS = 1_000_000
MAX_ARGS_BYTES = 128 * 1024
MAX_PAYLOAD_BYTES = 1024 * 1024
MAX_INPUT_BYTES = 48 * 1024 * 1024
"""Values of parents that go to a call as they are."""
MAX_TEMPLATE_BYTES = 1024 * 1024
"""Characters of the command, the environment and all else that a job specification says."""
MAX_VERSION = 256
TEMPLATE_BYTES = 256
"""Of a template that says nothing."""
MAX_RETRIES = 1_000
MAX_PRIORITY = 1_000_000
MAX_SECONDS = 10 * 366 * 86_400.0
MIN_MEMORY, MAX_MEMORY = 4 << 20, 1 << 50
"""Bytes that a job may be limited to."""
MIN_CPUS, MAX_CPUS = 0.01, 65_536.0
MAX_PROCESSES = 4_194_304


class Kind(StrEnum):
    """The kind of a job. The values are on the wire and in journals, so they never change."""

    JOB = ""
    """It ends."""
    GATE = "gate"
    """A human decision: nothing runs."""
    HANDLER = "handler"
    """It runs only if a parent is DEAD."""
    SERVICE = "service"
    """It should not end."""


GATE, HANDLER, SERVICE = Kind.GATE, Kind.HANDLER, Kind.SERVICE
"""For code that asks per job: to look a member up in its enum takes as long as eight comparisons
(Python 3.11)."""


class Needs(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What an attempt takes up on its worker while it runs, and further capabilities that the
    worker must have. 0: does not say."""

    cpus: float = 0.0
    memory: int = 0
    """Bytes."""
    gpus: int = 0
    capabilities: tuple[str, ...] = ()


class Retry(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """How failed attempts are tried again. 0: as the cluster's settings say."""

    backoff_s: float = 0.0
    backoff_max_s: float = 0.0
    final_codes: tuple[int, ...] = ()
    """Exit codes that are not tried again."""


class Limits(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What an attempt may use at most; 0: no limit."""

    memory: int = 0
    """Bytes, of all its processes."""
    cpus: float = 0.0
    processes: int = 0


class Gate(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A human decision. Undecided after `max_wait_s` it is rejected."""

    message: str = ""
    max_wait_s: float = 48 * 3600.0
    webhook: str = ""


class Service(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A process that should not end."""

    port: int = 0
    """0: any free one."""
    health: str = ""
    """"tcp", "http", "command" or "none" (healthy as soon as it runs); "" is tcp."""
    target: str = ""
    """The path of the http check, the command line of the other."""
    interval_s: float = 0.0
    timeout_s: float = 0.0
    start_s: float = 0.0
    """How long it may take to become healthy for the first time."""
    restart: str = ""
    """"always", "on-failure" or "never"; "" is always."""
    backoff_s: float = 0.0
    backoff_max_s: float = 0.0
    keep: bool = False
    """It goes on when the jobs that depend on it are over."""
    misses: int = 0
    """So many checks in a row that fail make it unhealthy; 0: as `titan.model.services` says."""
    max_restarts: int = 0
    """So many restarts without a long healthy time in between are the last; 0: no limit."""


class JobTemplate(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What to run and how. Exactly one of `file`, `command`, `argv`, `function` is set.

    `file` is a path inside the project archive, or the name of a staged script; `file_hash`
    (SHA-256, hex) is "" in a project. `command` goes to /bin/sh -c. `argv` is run as it is.
    `function` is the SHA-256 of a pickled function, staged like a file. `driver` "process" wants a
    fresh process where a warm one would do; `python` is the interpreter of a script, "" the
    worker's own. Times are in seconds; `timeout_s` 0 means none.
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
    """A `Kind`. A plain string, as a later Titan may send one that is not known here:
    `titan.model.failure` refuses it."""
    needs: Needs | None = None
    retry: Retry | None = None
    limits: Limits | None = None
    gate: Gate | None = None
    service: Service | None = None
    run_at: float = 0.0
    """Not before this time (seconds since the epoch); 0: at once."""
    on_failure: str = ""
    """What becomes of its children when it is DEAD: "" or "cancel"; "continue"."""
    secrets: tuple[str, ...] = ()
    """Names of secrets that its environment has, each as a variable of that name."""
    outputs: tuple[tuple[str, str], ...] = ()
    """(name, path in its folder) of files that must be there when it has succeeded."""
    inputs: tuple[tuple[str, str, str], ...] = ()
    """(path in its folder, id of the job, name of the output of that job) of files that are there
    before it starts."""
    session: str = ""
    """Names the program that makes these calls: a function runner serves the calls of one."""
    cwd: str = ""
    """Absolute folder on the worker's machine in which the job runs; "" is a folder of its own."""

    def __hash__(self) -> int:
        what = (self.file, self.file_hash, self.archive, self.command, self.argv, self.function)
        return hash((*what, self.requirement, self.priority, self.env))


def template_size(t: JobTemplate) -> int:
    """Characters of what a template says, about as many as it takes in a message."""
    size = TEMPLATE_BYTES + len(t.file) + len(t.command) + len(t.python) + len(t.session) + len(t.cwd) + 8
    for texts in (t.argv, t.secrets, *t.env, *t.outputs, *t.inputs):
        if texts:
            size += sum(map(len, texts)) + 2 * len(texts)
    if t.gate is not None:
        size += len(t.gate.message) + len(t.gate.webhook) + 4
    if t.service is not None:
        size += len(t.service.target) + 2
    return size


class DagSpec(msgspec.Struct, frozen=True, array_like=True):
    """A DAG in columns: entry i of `ids`, `template_of`, `args` and `parents` is job i. Parents are
    ids.

    `payloads`, if not empty, holds for each job that is a call the pickled arguments.
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
    """Its run must be over so many seconds after it was submitted; 0: no deadline."""
    group: str = ""
    """The submitter's own name for runs that belong together: `agent_run_id`."""
