"""The messages: one typed struct per opcode, on the wire a MessagePack array of its fields in order.

The first field of each is the request id: an answer carries the id of what it answers, 0 is for what nobody answers. Where a
batch is natural the fields are columns. Fields are only ever added at the end, with a default; a reader ignores those it
does not know. Bytes (logs, artifacts) follow the array as they are, see `codec`.
"""

from __future__ import annotations

import msgspec

from titan.model.dag import DagSpec, JobTemplate
from titan.protocol.base import Message as Message
from titan.protocol.context_messages import Identity as Identity
from titan.protocol.context_messages import Noted as Noted
from titan.protocol.context_messages import Progress as Progress
from titan.protocol.context_messages import ReadValue as ReadValue
from titan.protocol.context_messages import ReportProgress as ReportProgress
from titan.protocol.context_messages import SetResult as SetResult
from titan.protocol.context_messages import SetStatus as SetStatus
from titan.protocol.context_messages import Statuses as Statuses
from titan.protocol.context_messages import ValueRead as ValueRead
from titan.protocol.context_messages import WhoAmI as WhoAmI
from titan.protocol.failure_messages import Decide as Decide
from titan.protocol.failure_messages import Decided as Decided
from titan.protocol.failure_messages import GateRow as GateRow
from titan.protocol.failure_messages import Gates as Gates
from titan.protocol.failure_messages import ListGates as ListGates
from titan.protocol.failure_messages import Purged as Purged
from titan.protocol.failure_messages import PurgeDead as PurgeDead
from titan.protocol.failure_messages import Retried as Retried
from titan.protocol.failure_messages import RetryDead as RetryDead
from titan.protocol.file_messages import FILE_WINDOW as FILE_WINDOW
from titan.protocol.file_messages import ArtifactRow as ArtifactRow
from titan.protocol.file_messages import Artifacts as Artifacts
from titan.protocol.file_messages import FetchFile as FetchFile
from titan.protocol.file_messages import FetchPath as FetchPath
from titan.protocol.file_messages import FileEnd as FileEnd
from titan.protocol.file_messages import FilePiece as FilePiece
from titan.protocol.file_messages import FileTaken as FileTaken
from titan.protocol.file_messages import FindArtifact as FindArtifact
from titan.protocol.file_messages import ListArtifacts as ListArtifacts
from titan.protocol.file_messages import Publish as Publish
from titan.protocol.file_messages import PublishPath as PublishPath
from titan.protocol.file_messages import RemoveArtifact as RemoveArtifact
from titan.protocol.file_messages import SendFile as SendFile
from titan.protocol.file_messages import SendFrom as SendFrom
from titan.protocol.file_messages import StopSending as StopSending
from titan.protocol.file_messages import StoredFile as StoredFile
from titan.protocol.growth_messages import GetPipeline as GetPipeline
from titan.protocol.growth_messages import Grow as Grow
from titan.protocol.growth_messages import Grown as Grown
from titan.protocol.growth_messages import ListPipelines as ListPipelines
from titan.protocol.growth_messages import Pipeline as Pipeline
from titan.protocol.growth_messages import PipelineRow as PipelineRow
from titan.protocol.growth_messages import Pipelines as Pipelines
from titan.protocol.growth_messages import RemovePipeline as RemovePipeline
from titan.protocol.growth_messages import Saved as Saved
from titan.protocol.growth_messages import SavePipeline as SavePipeline
from titan.protocol.routing_messages import ReasonRow as ReasonRow
from titan.protocol.routing_messages import Reasons as Reasons
from titan.protocol.routing_messages import Why as Why
from titan.protocol.routing_messages import WorkerReasons as WorkerReasons
from titan.protocol.scaling_messages import GetScale as GetScale
from titan.protocol.scaling_messages import Leave as Leave
from titan.protocol.scaling_messages import Scale as Scale
from titan.protocol.scaling_messages import ScaleRow as ScaleRow
from titan.protocol.scaling_messages import TellWorker as TellWorker
from titan.protocol.scaling_messages import Told as Told
from titan.protocol.schedule_messages import AddSchedule as AddSchedule
from titan.protocol.schedule_messages import ListSchedules as ListSchedules
from titan.protocol.schedule_messages import PauseSchedule as PauseSchedule
from titan.protocol.schedule_messages import RemoveSchedule as RemoveSchedule
from titan.protocol.schedule_messages import RunSchedule as RunSchedule
from titan.protocol.schedule_messages import Scheduled as Scheduled
from titan.protocol.schedule_messages import ScheduleRow as ScheduleRow
from titan.protocol.schedule_messages import Schedules as Schedules
from titan.protocol.secret_messages import GiveSecrets as GiveSecrets
from titan.protocol.secret_messages import ListSecrets as ListSecrets
from titan.protocol.secret_messages import RemoveSecret as RemoveSecret
from titan.protocol.secret_messages import SecretRemoved as SecretRemoved
from titan.protocol.secret_messages import SecretRow as SecretRow
from titan.protocol.secret_messages import Secrets as Secrets
from titan.protocol.secret_messages import SecretSet as SecretSet
from titan.protocol.secret_messages import SetSecret as SetSecret
from titan.protocol.service_messages import ListServices as ListServices
from titan.protocol.service_messages import ReplaceService as ReplaceService
from titan.protocol.service_messages import ServiceReplaced as ServiceReplaced
from titan.protocol.service_messages import ServiceRow as ServiceRow
from titan.protocol.service_messages import Services as Services
from titan.protocol.service_messages import ServicesStopped as ServicesStopped
from titan.protocol.service_messages import ServiceStates as ServiceStates
from titan.protocol.service_messages import StopService as StopService
from titan.protocol.store_messages import WINDOW as WINDOW
from titan.protocol.store_messages import CloseLane as CloseLane
from titan.protocol.store_messages import StoreCommands as StoreCommands
from titan.protocol.store_messages import StoreReplies as StoreReplies
from titan.protocol.store_messages import StoreStream as StoreStream


# -- both ways --------------------------------------------------------------------------------------------------------
class Hello(Message, frozen=True):
    """The first message of whoever dials. `role`: "client" or "worker". `features`: "zstd" if it can read compressed frames."""

    role: str
    version: int
    software: str
    features: tuple[str, ...] = ()


class Welcome(Message, frozen=True):
    """The answer to Hello. `cluster` names the log; leases of another cluster mean nothing here."""

    version: int
    software: str
    cluster: str
    term: int
    features: tuple[str, ...] = ()


class Error(Message, frozen=True):
    """`code` is stable; `message` says what happened and what to do; `job` the job at fault, if any."""

    code: str
    message: str
    job: str = ""
    retryable: bool = False


class Ping(Message, frozen=True):
    pass


class Pong(Message, frozen=True):
    pass


# -- clients ----------------------------------------------------------------------------------------------------------
class Submit(Message, frozen=True):
    """`key` is the submitter's own: the same key sent twice is one run.

    `collect`: what its jobs return or raise follows the answer as Values, each job's as soon as it is over. `wanted`, if not empty:
    only of the jobs at these positions, and of those that are DEAD.
    """

    key: str
    dag: DagSpec
    collect: bool = False
    wanted: list[int] = []


class OpenRun(Message, frozen=True):
    """A DAG of `count` jobs that comes in parts begins; AddJobs with this request id follow, in order.

    Answered, when all are there, by Submitted; or by an Error, as soon as something is wrong. `key`, `collect` and `wanted` are
    as in Submit, `deadline_s` as in its DAG.
    """

    key: str
    name: str
    version: str
    templates: list[JobTemplate]
    count: int
    collect: bool = False
    wanted: list[int] = []
    deadline_s: float = 0.0
    group: str = ""


class AddJobs(Message, frozen=True):
    """The jobs from `position` on, in columns. `parents` are positions in the DAG, each before its child.

    Jobs that are there already are passed over.
    """

    position: int
    ids: list[str]
    template_of: list[int]
    args: list[tuple[str, ...]]
    parents: list[tuple[int, ...]]
    payloads: list[bytes] = []


class Submitted(Message, frozen=True):
    run: str
    jobs: int


class Cancel(Message, frozen=True):
    """`job` "" means the whole run."""

    run: str
    job: str = ""


class Cancelled(Message, frozen=True):
    jobs: int


class GetRun(Message, frozen=True):
    """Jobs `after` (a position in the DAG) and following, at most `limit`; or only `job`."""

    run: str
    job: str = ""
    after: int = 0
    limit: int = 10_000


class JobRow(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A job as users see it. Times in seconds since the epoch, 0 for not yet; `exit_code` -1 for none.

    `progress`: what its attempt that runs says, 0 to 1, or -1, and `message` beside it; `status`: what its newest attempt says.
    """

    id: str
    state: int
    attempt: int
    worker: str
    exit_code: int
    submitted_at: float
    started_at: float
    finished_at: float
    reason: str
    cpu_s: float = 0.0
    peak_bytes: int = 0
    progress: float = -1.0
    message: str = ""
    status: str = ""


class RunRow(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A run as users see it. `tally`: how many of its jobs are in each state, by the state's number.

    `schedule` is what made it, for the nominal time `scheduled_at`; `deadline_at` when it must be over. Of a run in the history
    only the status of the run itself tells these.
    """

    run: str
    dag: str
    version: str
    state: int
    jobs: int
    tally: list[int]
    submitted_at: float
    finished_at: float
    schedule: str = ""
    scheduled_at: float = 0.0
    deadline_at: float = 0.0
    group: str = ""


class RunStatus(Message, frozen=True):
    """`next` is the `after` of the following page, 0 if this was the last."""

    run: RunRow
    jobs: list[JobRow]
    next: int = 0
    story: list[str] = []


class ListRuns(Message, frozen=True):
    """The newest `limit` runs, before the run `before` if that is given.

    Only those of the DAG `dag` or the group `group`, submitted at or after `since`, in one of `states`, as far as these are given.
    """

    limit: int = 100
    before: str = ""
    dag: str = ""
    since: float = 0.0
    states: list[int] = []
    group: str = ""


class Runs(Message, frozen=True):
    runs: list[RunRow]


class ListWorkers(Message, frozen=True):
    pass


class WorkerRow(msgspec.Struct, frozen=True, array_like=True, gc=False):
    name: str
    state: str
    capabilities: tuple[str, ...]
    slots: int
    held: int
    heard_at: float
    joined_at: float
    facts: dict[str, str | int | float]
    taken: tuple[int, int, int] = (0, 0, 0)
    """What its attempts asked for: thousandths of a CPU, bytes of memory, GPUs. In all it has `cpus`, `memory_bytes`, `gpus` of
    its facts."""


class Workers(Message, frozen=True):
    workers: list[WorkerRow]


class ListDead(Message, frozen=True):
    """The dead letter queue, of one run or of all."""

    run: str = ""
    limit: int = 1000


class DeadRow(msgspec.Struct, frozen=True, array_like=True, gc=False):
    run: str
    dag: str
    job: JobRow
    history: list[str]


class DeadJobs(Message, frozen=True):
    dead: list[DeadRow]


class Watch(Message, frozen=True):
    """Pushes the run as it is now, then every change, each as Changes with this request id, until the run is over.

    `jobs` false: only the run's own row.
    """

    run: str
    jobs: bool = True


class Unwatch(Message, frozen=True):
    """Ends the watch or the log stream of request `watch`."""

    watch: int


class Changes(Message, frozen=True):
    """`run` is the run as it is after these changes. `first`: this is the picture at the start. `last`: nothing follows.

    `moved`: jobs (their ids) whose progress changed and nothing else, with `fractions` and `texts` in the same order: the newest,
    at most five times a second; a watcher that reads slowly gets fewer.
    """

    run: RunRow
    jobs: list[JobRow]
    first: bool = False
    last: bool = False
    moved: list[str] = []
    fractions: list[float] = []
    texts: list[str] = []


class ReadLogs(Message, frozen=True):
    """`attempt` 0 means the newest. `follow`: go on until the attempt is over."""

    run: str
    job: str
    attempt: int = 0
    follow: bool = False


class LogChunk(Message, frozen=True):
    """Bytes of a stream (1 stdout, 2 stderr) of an attempt, in the blob. `last`: nothing follows."""

    attempt: int
    stream: int
    offset: int
    last: bool = False


class Values(Message, frozen=True):
    """What jobs came to. Entry i: the job's position in its DAG, its final state, what the call returned or raised, and the reason
    if there is one. `last`: nothing follows. A job may be told of twice.

    A value is empty (None), or one byte and the rest: "i" and the pickle of what was returned; "e" and that of what was
    raised: a tuple of the exception's own pickle (or nil), its type, its text and the traceback. "h" and "r" are the same by
    content: the SHA-256 (32 bytes) and the length (8 bytes, big-endian) of an artifact that is the pickle. "j" and JSON is what a
    job said that it came to, "k" the same by content.
    """

    positions: list[int]
    states: list[int]
    values: list[bytes]
    reasons: list[str]
    last: bool = False


class ReadValues(Message, frozen=True):
    """What calls of a run came to, by their ids, at most 10,000; answered by Values, or by a Conflict if one is not over."""

    run: str
    jobs: list[str]


class Stage(Message, frozen=True):
    """Which of these artifacts (SHA-256, hex) does the master lack?"""

    hashes: list[str]
    sizes: list[int]


class Staged(Message, frozen=True):
    missing: list[str]


class Put(Message, frozen=True):
    """A piece of an artifact, in the blob; from clients and workers. The answer (Stored) comes after the last piece, or at once if
    the artifact is there. `name` enters it in the registry."""

    hash: str
    size: int
    offset: int
    name: str = ""


class Stored(Message, frozen=True):
    hash: str


class Resolve(Message, frozen=True):
    """The hash of an artifact that is known by name in the registry; answered by Resolved."""

    name: str


class Resolved(Message, frozen=True):
    hash: str
    size: int


class Stop(Message, frozen=True):
    """Ask the master to end, as SIGTERM would. Answered by Pong."""


# -- workers ----------------------------------------------------------------------------------------------------------
class Register(Message, frozen=True):
    """`leases`, `started`: the attempts it holds, running (start time), waiting (0) or finished and not yet acknowledged."""

    name: str
    incarnation: str
    cluster: str
    capabilities: tuple[str, ...]
    slots: int
    facts: dict[str, str | int | float]
    leases: list[int]
    started: list[float]
    draining: bool = False


class Registered(Message, frozen=True):
    worker: int
    cluster: str
    term: int
    heartbeat_s: float
    loss_s: float
    grace_s: float


class Heartbeat(Message, frozen=True):
    leases: list[int]
    started: list[float]


class Heard(Message, frozen=True):
    """The answer to a heartbeat."""


class Dispatch(Message, frozen=True):
    """Entry i: lease, run, job, attempt, its template (a position in `templates`) and arguments.

    `payloads`, if not empty: the pickled arguments of those that are calls; `inputs`, if not empty: the values of their parents, in
    order, as in Values, or "x" and the text that says why they cannot be had. Persistent id i of the pickle stands for value i.
    Arguments may be by content too, as "h" in Values. `services`, if not empty: (id, HOST:PORT) of the services that
    each depends on. `files`, if not empty: what each is given (name: the path in its folder).
    """

    templates: list[JobTemplate]
    leases: list[int]
    runs: list[str]
    jobs: list[str]
    attempts: list[int]
    template_of: list[int]
    args: list[tuple[str, ...]]
    payloads: list[bytes] = []
    inputs: list[tuple[bytes, ...]] = []
    services: list[tuple[tuple[str, str], ...]] = []
    files: list[tuple[StoredFile, ...]] = []


class Started(Message, frozen=True):
    leases: list[int]
    ats: list[float]


class Results(Message, frozen=True):
    """`outcomes` are titan.model.states.Outcome. An exit by signal n has exit code 128 + n.

    `values`, if not empty, are as in Values. `outputs`, if not empty: the files that each left, which the master has (Stored).
    """

    leases: list[int]
    outcomes: list[int]
    exit_codes: list[int]
    reasons: list[str]
    started: list[float]
    finished: list[float]
    cpu_s: list[float]
    peak_bytes: list[int]
    values: list[bytes] = []
    outputs: list[tuple[StoredFile, ...]] = []


class Acked(Message, frozen=True):
    """These results are durable: the worker may forget them."""

    leases: list[int]


class StopAttempts(Message, frozen=True):
    """Stop these attempts. What the worker does not hold it ignores."""

    leases: list[int]
    grace_s: float


class Recall(Message, frozen=True):
    """Hand these attempts back (Results with RETURNED) if they have not started."""

    leases: list[int]


class LogData(Message, frozen=True):
    """Output of attempts. Entry i is `sizes[i]` bytes of the blob, which belong at `offsets[i]` of that stream."""

    runs: list[str]
    jobs: list[str]
    attempts: list[int]
    streams: list[int]
    offsets: list[int]
    sizes: list[int]


class LogResume(Message, frozen=True):
    """After a registration: how much of each attempt's stdout and stderr the master has; the worker goes on from there."""

    leases: list[int]
    stdout: list[int]
    stderr: list[int]


class Fetch(Message, frozen=True):
    """Send an artifact from `offset` on; answered by Pieces with this request id. From workers and clients."""

    hash: str
    offset: int = 0


class Piece(Message, frozen=True):
    """Bytes of an artifact, in the blob."""

    hash: str
    size: int
    offset: int


class Draining(Message, frozen=True):
    """Finishes what runs, takes nothing new."""


class Leaving(Message, frozen=True):
    """Holds nothing any more and goes. Answered by Pong."""
