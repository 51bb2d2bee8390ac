"""What the master sees, named by what was seen. `origin` is the connection it came on, `request`
the asker's number for it, `actor` who asked: USER@HOST as that says of itself, "" if it is not
known.

Where a batch is natural the fields are columns: entry i of each list is about the same attempt.
"""

from __future__ import annotations

import msgspec

from titan.model.dag import DagSpec, JobTemplate
from titan.model.files import StoredFile
from titan.model.timing import Timing


class MasterBooted(msgspec.Struct, frozen=True):
    """The log was replayed and the master begins. `cluster` names a new cluster if the log was
    empty.

    `term` is what opening the log gave. `bursts` are the burst workers that outlived the master's
    last process, as their provider says. `draw` is random and names this start. `copied`, if not
    empty, says why the home is known to be a copy. `behind_s`: so far the time is behind what the
    log has recorded, as an earlier clock was ahead; 0 if it is not.
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
    """The id that the run gets if it is accepted."""
    key: str
    dag: DagSpec
    actor: str = ""


class RunBegun(msgspec.Struct, frozen=True):
    """A DAG of `count` jobs that comes in parts begins; JobsArrived for the same run bring them."""

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


class JobsArrived(msgspec.Struct, frozen=True):
    """The jobs from `position` on of a DAG, in columns. `parents` are positions in the DAG, each
    before its child."""

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
    """The connection on which a DAG was coming in is no more."""

    run: str


class HistoryKept(msgspec.Struct, frozen=True):
    """The history has these finished runs, durably: they may leave. `changes`: `Run.changes` of
    each as it was written."""

    runs: list[str]
    changes: list[int] = []


class RunGrowthRequested(msgspec.Struct, frozen=True):
    """Add jobs to a run that runs: to that of the attempt that `worker` holds under `lease`, or, if
    `worker` is 0, to `run`.

    Parents in `dag` are ids of its own jobs or of jobs that are there. `before`: ids of jobs that
    wait for the addition from now on; `before_children`: so do the jobs that depend on the one that
    asks. `key`: the same addition sent twice is one.
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
    """Keep a DAG by a name. `replace`: there may be one of that name already."""

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
    """`job` "" means the whole run."""

    origin: int
    request: int
    run: str
    job: str
    actor: str = ""


class GateDecisionMade(msgspec.Struct, frozen=True):
    """Somebody approves or rejects a gate: by its name, or, if `digest` is not empty, by the token
    with that SHA-256."""

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
    """A token of a gate, of which only the SHA-256 is ever seen here."""

    job: int
    digest: bytes


class WebhookAnswered(msgspec.Struct, frozen=True):
    """`result`: "delivered", or why it was given up."""

    job: int
    result: str


class DeadRetried(msgspec.Struct, frozen=True):
    """Take a job, or all of a run (`job` ""), off the dead letter queue and try again.

    `chunks`: the run as the history has it, if it had left the state when that was asked.
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
    """Take a job, or all of a run, off the dead letter queue for good. `chunks` as in DeadRetried."""

    origin: int
    request: int
    run: str
    job: str
    chunks: list[bytes] = []
    actor: str = ""


class ScheduleRequested(msgspec.Struct, frozen=True):
    """`replace`: a schedule of that name may be there already."""

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
    """That a schedule pauses, or goes on."""

    origin: int
    request: int
    name: str
    paused: bool
    actor: str = ""


class RemovalRequested(msgspec.Struct, frozen=True):
    """Of a schedule."""

    origin: int
    request: int
    name: str
    actor: str = ""


class ScheduleRunRequested(msgspec.Struct, frozen=True):
    """A run of a schedule now, whatever its timing and policies say. `run` is the id that it gets."""

    origin: int
    request: int
    run: str
    key: str
    name: str
    actor: str = ""


class WorkerRegistered(msgspec.Struct, frozen=True):
    """A worker came (back), with the attempts it holds: running (`started` > 0), waiting (0) or
    finished unreported.

    Lease i was given under `draws[draw_of[i]]`; no columns: a worker of an older Titan.
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
    """A heartbeat: the attempts that the worker holds, as at registration, and those of its facts
    that have changed."""

    worker: int
    leases: list[int]
    started: list[float]
    draws: tuple[str, ...] = ()
    draw_of: list[int] = []
    facts: dict[str, str | int | float] = {}


class LeasesAwaiting(msgspec.Struct, frozen=True):
    """The calls on a worker that wait for other calls: all of them."""

    worker: int
    leases: list[int]


class AttemptsStarted(msgspec.Struct, frozen=True):
    worker: int
    leases: list[int]
    ats: list[float]


class ResultsReported(msgspec.Struct, frozen=True):
    """Attempts that ended. `jitter` is one number in [0, 1) drawn for the batch; each job's backoff
    takes its own from it."""

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
    """Empty, or for each what a call returned or raised."""
    outputs: list[tuple[StoredFile, ...]] = []
    """Empty, or for each the files that it left; the master has them."""
    lost: list[str] = []
    """Empty, or for each why some of its output is lost."""


class ServicesSeen(msgspec.Struct, frozen=True):
    """What a worker says of the services that it runs. `ready_ats` 0: not READY. `serials` number
    the reports of each attempt.

    `next_starts`: when its next process starts, 0 if it has one.
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
    """How far attempts of a worker are: 0 to 1, or -1 for not known."""

    worker: int
    leases: list[int]
    fractions: list[float]
    messages: list[str]


class StatusesSeen(msgspec.Struct, frozen=True):
    """What attempts of a worker say of themselves."""

    worker: int
    leases: list[int]
    texts: list[str]


class ServiceStopRequested(msgspec.Struct, frozen=True):
    """`job` "" means every service of the run."""

    origin: int
    request: int
    run: str
    job: str
    actor: str = ""


class ServiceReplaceRequested(msgspec.Struct, frozen=True):
    """Run a service anew: with another `file` (staged as `file_hash`), `command` or `argv`, or as
    it is.

    `args` None keeps those.
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
    """It finishes what runs and takes nothing new."""

    worker: int


class WorkerLeaving(msgspec.Struct, frozen=True):
    """It goes, and holds nothing any more."""

    worker: int


class WorkerToldToLeave(msgspec.Struct, frozen=True):
    """A user asks that a worker finishes what runs and goes; `now`: that it kills what runs, hands
    it back, and goes."""

    origin: int
    request: int
    name: str
    now: bool
    actor: str = ""


class StoreWritten(msgspec.Struct, frozen=True, gc=False):
    """Commands were executed on the state's store; these repeat what they changed."""

    changes: list[tuple[int, list[bytes]]]


class PublishRequested(msgspec.Struct, frozen=True):
    """A file that the master has is to be published: by the attempt `lease` of a worker, or (0) by
    a client, then shared."""

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
    """A shared key is to go."""

    origin: int
    request: int
    key: str
    actor: str = ""


class SecretWritten(msgspec.Struct, frozen=True):
    """The vault has on its disk that a secret was set, for the `version`th time, or removed
    (`version` 0).

    `set_at`: when that was, in seconds since the epoch.
    """

    origin: int
    request: int
    name: str
    version: int
    set_at: float
    actor: str = ""


class BurstGone(msgspec.Struct, frozen=True):
    """The provider says that this burst worker has ended, or never came to be."""

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
