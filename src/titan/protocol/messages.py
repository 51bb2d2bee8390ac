"""The messages: one typed struct per opcode, on the wire a MessagePack array of its fields in
order.

The first field of each is the request id: an answer carries the id of what it answers, 0 is for
what nobody answers. Where a batch is natural the fields are columns. Fields are only ever added at
the end, with a default; a reader ignores those it does not know. Bytes (logs, artifacts) follow the
array as they are, see `codec`.
"""

from __future__ import annotations

import msgspec

from titan.model.dag import DagSpec, JobTemplate
from titan.protocol.base import Message as Message
from titan.protocol.call_messages import Awaiting as Awaiting
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
from titan.protocol.file_messages import FileHere as FileHere
from titan.protocol.file_messages import FilePiece as FilePiece
from titan.protocol.file_messages import FileTaken as FileTaken
from titan.protocol.file_messages import FindArtifact as FindArtifact
from titan.protocol.file_messages import ListArtifacts as ListArtifacts
from titan.protocol.file_messages import NameContent as NameContent
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
from titan.protocol.ranges import (
    Bytes,
    Column,
    Count,
    ExitCode,
    Facts,
    Fraction,
    Lease,
    Measured,
    Moment,
    Name,
    Row,
    Seconds,
    StateNumber,
    Text,
)
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


# -- both ways -------------------------------------------------------------------------------------
class Hello(Message, frozen=True):
    """The first message of whoever dials. `role`: "client" or "worker". `features`: "zstd" if it
    can read compressed frames.

    `user`: USER@HOST, who asks for what a client changes.
    """

    role: Name
    version: Count
    software: Name
    features: Row[Name] = ()
    user: Name = ""


class Welcome(Message, frozen=True):
    """The answer to Hello. `cluster` names the log: leases of another mean nothing here. Workers
    report by the time `now`.

    `content`: the absolute path of the master's content folder, offered to peers of its machine
    (see `content.nearby`), or "".
    """

    version: Count
    software: Name
    cluster: Name
    term: Count
    features: Row[Name] = ()
    now: Moment = 0.0
    content: Text = ""


class Error(Message, frozen=True):
    """`code` is stable; `message` says what happened and what to do; `job` the job at fault, if
    any."""

    code: Name
    message: Text
    job: Name = ""
    retryable: bool = False


class Ping(Message, frozen=True):
    pass


class Pong(Message, frozen=True):
    pass


# -- clients ---------------------------------------------------------------------------------------
class Submit(Message, frozen=True):
    """`key` is the submitter's own: the same key sent twice is one run.

    `collect`: what its jobs return or raise follows the answer as Values, each job's as soon as it
    is over. `wanted`, if not empty: only of the jobs at these positions, and of those that are
    DEAD.
    """

    key: Name
    dag: DagSpec
    collect: bool = False
    wanted: Column[Count] = []


class OpenRun(Message, frozen=True):
    """A DAG of `count` jobs that comes in parts begins; AddJobs with this request id follow, in
    order.

    Answered, when all are there, by Submitted; or by an Error, as soon as something is wrong.
    `key`, `collect` and `wanted` are as in Submit, `deadline_s` as in its DAG.
    """

    key: Name
    name: Name
    version: Name
    templates: Column[JobTemplate]
    count: Count
    collect: bool = False
    wanted: Column[Count] = []
    deadline_s: Seconds = 0.0
    group: Name = ""


class AddJobs(Message, frozen=True):
    """The jobs from `position` on, in columns. `parents` are positions in the DAG, each before its
    child.

    Jobs that are there already are passed over.
    """

    position: Count
    ids: Column[Name]
    template_of: Column[Count]
    args: Column[Row[Text]]
    parents: Column[Row[Count]]
    payloads: Column[Bytes] = []


class Submitted(Message, frozen=True):
    run: Name
    jobs: Count


class Cancel(Message, frozen=True):
    """`job` "" means the whole run."""

    run: Name
    job: Name = ""


class Cancelled(Message, frozen=True):
    jobs: Count


class GetRun(Message, frozen=True):
    """Jobs `after` (a position in the DAG) and following, at most `limit`; or only `job`."""

    run: Name
    job: Name = ""
    after: Count = 0
    limit: Count = 10_000


class JobRow(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A job as users see it. Times in seconds since the epoch, 0 for not yet; `exit_code` -1 for
    none.

    `progress`: what its attempt that runs says, 0 to 1, or -1, and `message` beside it; `status`:
    what its newest attempt says. `cause`: why it is CANCELLED (titan.model.causes.Cause). `lost`:
    why output of its newest ended attempt is lost, "" if none is.
    """

    id: Name
    state: StateNumber
    attempt: Count
    worker: Name
    exit_code: ExitCode
    submitted_at: Measured
    started_at: Measured
    finished_at: Measured
    reason: Text
    cpu_s: Measured = 0.0
    peak_bytes: Count = 0
    progress: Fraction = -1.0
    message: Text = ""
    status: Text = ""
    cause: Count = 0
    lost: Text = ""


class RunRow(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A run as users see it. `tally`: how many of its jobs are in each state, by the state's
    number.

    `schedule` is what made it, for the nominal time `scheduled_at`; `deadline_at` when it must be
    over; `actor` who asked for it. Of a run in the history only the status of the run itself tells
    these.
    """

    run: Name
    dag: Name
    version: Name
    state: StateNumber
    jobs: Count
    tally: Column[Count]
    submitted_at: Measured
    finished_at: Measured
    schedule: Name = ""
    scheduled_at: Measured = 0.0
    deadline_at: Measured = 0.0
    group: Name = ""
    actor: Name = ""


class RunStatus(Message, frozen=True):
    """`next` is the `after` of the following page, 0 if this was the last."""

    run: RunRow
    jobs: Column[JobRow]
    next: Count = 0
    story: Column[Text] = []


class ListRuns(Message, frozen=True):
    """The newest `limit` runs, before the run `before` if that is given.

    Only those of the DAG `dag` or the group `group`, submitted at or after `since`, in one of
    `states`, as far as these are given.
    """

    limit: Count = 100
    before: Name = ""
    dag: Name = ""
    since: Moment = 0.0
    states: Column[StateNumber] = []
    group: Name = ""


class Runs(Message, frozen=True):
    runs: Column[RunRow]


class ListWorkers(Message, frozen=True):
    pass


class WorkerRow(msgspec.Struct, frozen=True, array_like=True, gc=False):
    name: Name
    state: Name
    capabilities: Row[Name]
    slots: Count
    held: Count
    heard_at: Measured
    joined_at: Measured
    facts: Facts
    taken: tuple[Count, Count, Count] = (0, 0, 0)
    """What its attempts asked for: thousandths of a CPU, bytes of memory, GPUs. In all it has
    `cpus`, `memory_bytes`, `gpus` of its facts."""
    told_by: Name = ""
    """Who told it to leave."""


class Workers(Message, frozen=True):
    """`notices`: what operators should know of this home, each with its time."""

    workers: Column[WorkerRow]
    notices: Column[tuple[Moment, Text]] = []


class ListDead(Message, frozen=True):
    """The dead letter queue, of one run or of all."""

    run: Name = ""
    limit: Count = 1000


class DeadRow(msgspec.Struct, frozen=True, array_like=True, gc=False):
    run: Name
    dag: Name
    job: JobRow
    history: Column[Text]


class DeadJobs(Message, frozen=True):
    dead: Column[DeadRow]


class Watch(Message, frozen=True):
    """Pushes the run as it is now, then every change, each as Changes with this request id, until
    the run is over. `jobs` false: only the run's own row."""

    run: Name
    jobs: bool = True


class Unwatch(Message, frozen=True):
    """Ends the watch or the log stream of request `watch`."""

    watch: Count


class Changes(Message, frozen=True):
    """`run` is the run as it is after these changes. `first`: this is the picture at the start.
    `last`: nothing follows.

    `moved`: jobs (their ids) whose progress changed and nothing else, with `fractions` and `texts`
    in the same order: the newest, at most five times a second; a watcher that reads slowly gets
    fewer.
    """

    run: RunRow
    jobs: Column[JobRow]
    first: bool = False
    last: bool = False
    moved: Column[Name] = []
    fractions: Column[Fraction] = []
    texts: Column[Text] = []


class ReadLogs(Message, frozen=True):
    """`attempt` 0 means the newest. `follow`: go on until the attempt is over."""

    run: Name
    job: Name
    attempt: Count = 0
    follow: bool = False


class LogChunk(Message, frozen=True):
    """Bytes of a stream (1 stdout, 2 stderr) of an attempt, in the blob. `last`: nothing follows."""

    attempt: Count
    stream: Count
    offset: Count
    last: bool = False


class Values(Message, frozen=True):
    """What jobs came to. Entry i: the job's position in its DAG, its final state, what the call
    returned or raised, and the reason if there is one. `last`: nothing follows. A job may be told
    of twice.

    A value is empty (None), or one byte and the rest: "i" and the pickle of what was returned; "e"
    and that of what was raised: a tuple of the exception's own pickle (or nil), its type, its text
    and the traceback. "h" and "r" are the same by content: the SHA-256 (32 bytes) and the length (8
    bytes, big-endian) of an artifact that is the pickle. "j" and JSON is what a job said that it
    came to, "k" the same by content.
    """

    positions: Column[Count]
    states: Column[StateNumber]
    values: Column[Bytes]
    reasons: Column[Text]
    last: bool = False


class ReadValues(Message, frozen=True):
    """What calls of a run came to, by their ids, at most 10,000; answered by Values, or by a
    Conflict if one is not over."""

    run: Name
    jobs: Column[Name]


class Stage(Message, frozen=True):
    """Which of these contents (SHA-256, hex) does the master lack? The others stay for
    `file_grace_s` at least."""

    hashes: Column[Name]
    sizes: Column[Count]


class Staged(Message, frozen=True):
    missing: Column[Name]


class Stored(Message, frozen=True):
    """The content is on the master's disk. It stays there for `file_grace_s` at least, whoever
    refers to it."""

    hash: Name


class Resolve(Message, frozen=True):
    """The hash of the file that has this name in perm_files/ on the master; answered by Resolved."""

    name: Name


class Resolved(Message, frozen=True):
    hash: Name
    size: Count


class Stop(Message, frozen=True):
    """Ask the master to end, as SIGTERM would. Answered by Pong."""


# -- workers ---------------------------------------------------------------------------------------
class Register(Message, frozen=True):
    """`leases`, `started`: the attempts it holds, running (start time), waiting (0) or finished and
    not yet acknowledged.

    Lease i came with the Dispatch whose draw is `draws[draw_of[i]]`.
    """

    name: Name
    incarnation: Name
    cluster: Name
    capabilities: Row[Name]
    slots: Count
    facts: Facts
    leases: Column[Lease]
    started: Column[Moment]
    draining: bool = False
    draws: Row[Name] = ()
    draw_of: Column[Count] = []


class Registered(Message, frozen=True):
    worker: Count
    cluster: Name
    term: Count
    heartbeat_s: Seconds
    loss_s: Seconds
    grace_s: Seconds


class Heartbeat(Message, frozen=True):
    """As in Register. `facts`: those that have changed since the worker told them last."""

    leases: Column[Lease]
    started: Column[Moment]
    draws: Row[Name] = ()
    draw_of: Column[Count] = []
    facts: Facts = {}


class Heard(Message, frozen=True):
    """The answer to a heartbeat."""


class Dispatch(Message, frozen=True):
    """Entry i: lease, run, job, attempt, its template (a position in `templates`) and arguments.

    `payloads`, if not empty: the pickled arguments of those that are calls; `inputs`, if not empty:
    the values of their parents, in order, as in Values, or "x" and the text that says why they
    cannot be had. Persistent id i of the pickle stands for value i. Arguments may be by content
    too, as "h" in Values. `services`, if not empty: (id, HOST:PORT) of the services that each
    depends on. `files`, if not empty: what each is given (name: the path in its folder). `draw`
    names the start of a master that gave the leases.
    """

    templates: Column[JobTemplate]
    leases: Column[Lease]
    runs: Column[Name]
    jobs: Column[Name]
    attempts: Column[Count]
    template_of: Column[Count]
    args: Column[Row[Text]]
    payloads: Column[Bytes] = []
    inputs: Column[Row[Bytes]] = []
    services: Column[Row[tuple[Name, Name]]] = []
    files: Column[Row[StoredFile]] = []
    draw: Name = ""


class Started(Message, frozen=True):
    leases: Column[Lease]
    ats: Column[Moment]


class Results(Message, frozen=True):
    """`outcomes` are titan.model.states.Outcome. An exit by signal n has exit code 128 + n.

    `values`, if not empty, are as in Values. `outputs`, if not empty: the files that each left,
    which the master has (Stored). `lost`, if not empty: why some output of each could not be kept,
    "" if it is all there; the reason says it too.
    """

    leases: Column[Lease]
    outcomes: Column[StateNumber]
    exit_codes: Column[ExitCode]
    reasons: Column[Text]
    started: Column[Moment]
    finished: Column[Moment]
    cpu_s: Column[Measured]
    peak_bytes: Column[Count]
    values: Column[Bytes] = []
    outputs: Column[Row[StoredFile]] = []
    lost: Column[Text] = []


class Acked(Message, frozen=True):
    """These results are durable: the worker may forget them."""

    leases: Column[Lease]


class StopAttempts(Message, frozen=True):
    """Stop these attempts. What the worker does not hold it ignores."""

    leases: Column[Lease]
    grace_s: Seconds


class Recall(Message, frozen=True):
    """Hand these attempts back (Results with RETURNED) if they have not started."""

    leases: Column[Lease]


class LogData(Message, frozen=True):
    """Output of attempts. Entry i is `sizes[i]` bytes of the blob, which belong at `offsets[i]` of
    that stream."""

    runs: Column[Name]
    jobs: Column[Name]
    attempts: Column[Count]
    streams: Column[Count]
    offsets: Column[Count]
    sizes: Column[Count]


class LogResume(Message, frozen=True):
    """After a registration: how much of each attempt's stdout and stderr the master has; the worker
    goes on from there."""

    leases: Column[Lease]
    stdout: Column[Count]
    stderr: Column[Count]


class Draining(Message, frozen=True):
    """Finishes what runs, takes nothing new."""


class Leaving(Message, frozen=True):
    """Holds nothing any more and goes. Answered by Pong."""
