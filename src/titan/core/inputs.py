"""Inputs of the core: observations of the master, such as a submission or a heartbeat.

`origin` is the connection on which the input came. `request` is the number that the sender gave to
its request. `actor` is the USER@HOST that the client reports about itself; "" if not known. Batches
have columns as fields: entry i of each list is about the same attempt.
"""

from __future__ import annotations

import msgspec

from titan.model.dag import DagSpec, JobTemplate
from titan.model.files import StoredFile
from titan.model.timing import Timing


class MasterBooted(msgspec.Struct, frozen=True):
    """The master has recovered its state from the journal and starts work.

    - `cluster` is the id of a new cluster, used if the journal was empty.
    - `term` is the term that the opening of the journal gave.
    - `bursts` are the burst workers that, according to the provider, outlived the previous process
      of the master.
    - `draw` is a random id of this start.
    - `copied` is the reason why the home is known to be a copy; "" if it is not known to be one.
    - `behind_s` is the number of seconds by which the clock is behind the last time in the journal;
      0 if it is not behind.
    """

    cluster: str
    term: int
    bursts: tuple[str, ...] = ()
    draw: str = ""
    copied: str = ""
    behind_s: float = 0.0


class TimePassed(msgspec.Struct, frozen=True):
    """A timer may be due."""


class DagSubmitted(msgspec.Struct, frozen=True):
    origin: int
    request: int
    run: str
    """Id that the run gets if the DAG is accepted."""
    key: str
    dag: DagSpec
    actor: str = ""


class RunBegun(msgspec.Struct, frozen=True):
    """A DAG of `count` jobs begins to arrive in parts. The jobs follow in JobsArrived inputs of the
    same run."""

    origin: int
    request: int
    run: str
    key: str
    name: str
    version: str
    templates: list[JobTemplate]
    count: int
    deadline_s: float = 0.0
    group: str = ""
    actor: str = ""
    source: str = ""
    fresh: bool = False


class JobsArrived(msgspec.Struct, frozen=True):
    """Jobs of a DAG from `position` on, in columns. `parents` are positions in the DAG; each parent
    comes before its child."""

    origin: int
    request: int
    run: str
    position: int
    ids: list[str]
    template_of: list[int]
    args: list[tuple[str, ...]]
    parents: list[tuple[int, ...]]
    payloads: list[bytes] = []


class SubmitterGone(msgspec.Struct, frozen=True):
    """The submitter's connection closed before all parts of a DAG had arrived on it."""

    run: str


class HistoryKept(msgspec.Struct, frozen=True):
    """The history has stored these finished runs durably, so they may leave the state. `changes` is
    each run's `Run.changes` at the time of writing."""

    runs: list[str]
    changes: list[int] = []


class RunGrowthRequested(msgspec.Struct, frozen=True):
    """A request to add jobs to a running run.

    If `worker` is not 0, an attempt requests the addition: the attempt that `worker` holds under
    `lease`. The jobs are added to the run of this attempt. Otherwise they are added to `run`.

    - Parents in `dag` are ids of its own jobs or of jobs already in the run.
    - `before` are ids of jobs that must also wait for the added jobs.
    - `before_children` adds the children of the requesting job to `before`.
    - `key` is the idempotency key of the request.
    """

    origin: int
    request: int
    worker: int
    lease: int
    run: str
    key: str
    dag: DagSpec
    before: tuple[str, ...] = ()
    before_children: bool = False
    actor: str = ""


class PipelineSaveRequested(msgspec.Struct, frozen=True):
    """A request to save a DAG under a name. `replace`: replace a saved DAG of this name."""

    origin: int
    request: int
    name: str
    dag: DagSpec
    replace: bool
    actor: str = ""


class PipelineRemovalRequested(msgspec.Struct, frozen=True):
    origin: int
    request: int
    name: str
    actor: str = ""


class CancelRequested(msgspec.Struct, frozen=True):
    """A request to cancel a job, or the whole run if `job` is "".

    `unstarted`: only if the job is not RUNNING.
    """

    origin: int
    request: int
    run: str
    job: str
    actor: str = ""
    unstarted: bool = False


class GateDecisionMade(msgspec.Struct, frozen=True):
    """A decision to approve or reject a gate.

    If `digest` is not empty, it identifies the gate: it is the SHA-256 of one of the gate's tokens.
    Otherwise `run` and `job` identify the gate.
    """

    origin: int
    request: int
    run: str
    job: str
    approve: bool
    by: str
    comment: str
    key: str
    digest: bytes = b""
    actor: str = ""


class TokenDrawn(msgspec.Struct, frozen=True):
    """The shell generated a token for a gate. The core only gets the token's SHA-256."""

    job: int
    digest: bytes


class WebhookAnswered(msgspec.Struct, frozen=True):
    """The delivery of a webhook ended. `result` is "delivered" or the reason for giving up."""

    job: int
    result: str


class DeadRetried(msgspec.Struct, frozen=True):
    """A request to retry a dead job, or all dead jobs of the run if `job` is "".

    `chunks` is the run as snapshot chunks from the history, if the run had left the state when the
    request came.
    """

    origin: int
    request: int
    run: str
    job: str
    by: str
    key: str
    chunks: list[bytes] = []
    actor: str = ""


class DeadDismissed(msgspec.Struct, frozen=True):
    """A request to purge a dead job from the dead letter queue, or all dead jobs of the run if
    `job` is "". `chunks` is as in DeadRetried."""

    origin: int
    request: int
    run: str
    job: str
    chunks: list[bytes] = []
    actor: str = ""


class ScheduleRequested(msgspec.Struct, frozen=True):
    """A request to add a schedule. `replace`: replace a schedule of this name."""

    origin: int
    request: int
    key: str
    name: str
    dag: DagSpec
    timing: Timing
    overlap: str
    catch_up: str
    paused: bool
    replace: bool
    actor: str = ""


class PauseRequested(msgspec.Struct, frozen=True):
    """A request to pause or resume a schedule."""

    origin: int
    request: int
    name: str
    paused: bool
    actor: str = ""


class RemovalRequested(msgspec.Struct, frozen=True):
    """A request to remove a schedule."""

    origin: int
    request: int
    name: str
    actor: str = ""


class ScheduleRunRequested(msgspec.Struct, frozen=True):
    """A request for a run of a schedule now, regardless of its timing and policies. `run` is the id
    that the run gets."""

    origin: int
    request: int
    run: str
    key: str
    name: str
    actor: str = ""


class WorkerRegistered(msgspec.Struct, frozen=True):
    """A worker registered or came back, with the attempts that it holds.

    `started` is the start time of a running attempt and 0 for a waiting attempt. Finished attempts
    whose results were not acknowledged are listed too. Lease i was issued under the draw
    `draws[draw_of[i]]`; a worker of an older Titan sends no draws.
    """

    origin: int
    request: int
    name: str
    incarnation: str
    capabilities: tuple[str, ...]
    slots: int
    facts: dict[str, str | int | float]
    leases: list[int]
    started: list[float]
    draining: bool = False
    draws: tuple[str, ...] = ()
    draw_of: list[int] = []


class WorkerBeat(msgspec.Struct, frozen=True):
    """A worker's heartbeat: the attempts that it holds, as in WorkerRegistered, and its changed
    facts."""

    worker: int
    leases: list[int]
    started: list[float]
    draws: tuple[str, ...] = ()
    draw_of: list[int] = []
    facts: dict[str, str | int | float] = {}


class LeasesAwaiting(msgspec.Struct, frozen=True):
    """The complete list of calls on a worker that wait for other calls."""

    worker: int
    leases: list[int]


class AttemptsStarted(msgspec.Struct, frozen=True):
    worker: int
    leases: list[int]
    ats: list[float]


class ResultsReported(msgspec.Struct, frozen=True):
    """Results of attempts that ended. `jitter` is a random number in [0, 1) for the batch, from
    which the jitter of each job's back-off is computed."""

    worker: int
    leases: list[int]
    outcomes: list[int]
    exit_codes: list[int]
    reasons: list[str]
    started: list[float]
    finished: list[float]
    cpu_s: list[float]
    peak_bytes: list[int]
    jitter: float
    values: list[bytes] = []
    """Empty, or the return value or exception of each call."""
    outputs: list[tuple[StoredFile, ...]] = []
    """Empty, or the output files of each attempt. The master has their content."""
    lost: list[str] = []
    """Empty, or for each attempt the reason why some output was lost."""


class ServicesSeen(msgspec.Struct, frozen=True):
    """A worker's report of the services that it runs.

    - `ready_ats` is the time since which a service is READY; 0 if it is not READY.
    - `serials` number the reports of each attempt.
    - `next_starts` is the time at which the next process starts; 0 if a process runs.
    """

    worker: int
    leases: list[int]
    serials: list[int]
    started: list[float]
    ready_ats: list[float]
    ports: list[int]
    restarts: list[int]
    reasons: list[str]
    next_starts: list[float]


class ProgressSeen(msgspec.Struct, frozen=True):
    """Progress of a worker's attempts: 0 to 1, or -1 if not known."""

    worker: int
    leases: list[int]
    fractions: list[float]
    messages: list[str]


class StatusesSeen(msgspec.Struct, frozen=True):
    """Status lines of a worker's attempts."""

    worker: int
    leases: list[int]
    texts: list[str]


class ServiceStopRequested(msgspec.Struct, frozen=True):
    """A request to stop a service, or every service of the run if `job` is ""."""

    origin: int
    request: int
    run: str
    job: str
    actor: str = ""


class ServiceReplaceRequested(msgspec.Struct, frozen=True):
    """A request to restart a service, unchanged or with another `file`, `command` or `argv`.

    The content of `file` is on the master under `file_hash`. `args` None keeps the arguments.
    """

    origin: int
    request: int
    run: str
    job: str
    file: str
    file_hash: str
    command: str
    argv: tuple[str, ...]
    args: tuple[str, ...] | None
    actor: str = ""


class WorkerDraining(msgspec.Struct, frozen=True):
    """The worker drains: it finishes its attempts and takes no new ones."""

    worker: int


class WorkerLeaving(msgspec.Struct, frozen=True):
    """The worker leaves and holds no attempts."""

    worker: int


class WorkerToldToLeave(msgspec.Struct, frozen=True):
    """A user's request that a worker drain and leave. With `now`, the worker kills its attempts and
    returns them before it leaves."""

    origin: int
    request: int
    name: str
    now: bool
    actor: str = ""


class StoreWritten(msgspec.Struct, frozen=True, gc=False):
    """The shell executed commands on the state's store. `changes` are commands that repeat the
    effect of the executed commands, each with its database."""

    changes: list[tuple[int, list[bytes]]]


class PublishRequested(msgspec.Struct, frozen=True):
    """A request to publish a file that the master already has.

    The publisher is the attempt `lease` of `worker`, or a client if `lease` is 0. A client can only
    publish under shared keys.
    """

    origin: int
    request: int
    key: str
    hash: str
    size: int
    kind: int
    worker: int = 0
    lease: int = 0
    shared: bool = True
    actor: str = ""


class UnpublishRequested(msgspec.Struct, frozen=True):
    """A request to remove a shared key."""

    origin: int
    request: int
    key: str
    actor: str = ""


class SecretWritten(msgspec.Struct, frozen=True):
    """The vault has durably set a secret, for the `version`th time, or removed it (`version` 0).

    `set_at`: the time of this change, in seconds since the epoch.
    """

    origin: int
    request: int
    name: str
    version: int
    set_at: float
    actor: str = ""


class BurstGone(msgspec.Struct, frozen=True):
    """The provider reports that a burst worker has ended or could not be started."""

    name: str
    reason: str


class WorkerDisconnected(msgspec.Struct, frozen=True):
    worker: int
    origin: int


Input = (
    MasterBooted
    | TimePassed
    | DagSubmitted
    | RunBegun
    | JobsArrived
    | SubmitterGone
    | HistoryKept
    | CancelRequested
    | GateDecisionMade
    | TokenDrawn
    | WebhookAnswered
    | DeadRetried
    | DeadDismissed
    | ScheduleRequested
    | PauseRequested
    | RemovalRequested
    | ScheduleRunRequested
    | WorkerRegistered
    | WorkerBeat
    | LeasesAwaiting
    | AttemptsStarted
    | ResultsReported
    | ServicesSeen
    | ProgressSeen
    | StatusesSeen
    | ServiceStopRequested
    | ServiceReplaceRequested
    | WorkerDraining
    | WorkerLeaving
    | WorkerDisconnected
    | WorkerToldToLeave
    | BurstGone
    | StoreWritten
    | RunGrowthRequested
    | PipelineSaveRequested
    | PipelineRemovalRequested
    | PublishRequested
    | UnpublishRequested
    | SecretWritten
)
