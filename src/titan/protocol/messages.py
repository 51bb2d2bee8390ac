"""Messages: one typed struct per opcode, sent as a MessagePack array of its fields in order.

The first field of each message is the request id. An answer carries the id of its request; 0 is for
messages without an answer. A batch has columns as fields: entry i of each column belongs to item i.
New fields are appended and have a default; readers ignore unknown fields. Raw bytes (logs,
artifacts) follow the array, see `codec`.
"""

from __future__ import annotations

import msgspec

from titan.model.dag import DagSpec, JobTemplate
from titan.protocol.base import Message as Message
from titan.protocol.call_messages import Awaiting as Awaiting
from titan.protocol.cluster_messages import ClusterChanges as ClusterChanges
from titan.protocol.cluster_messages import ListWorkers as ListWorkers
from titan.protocol.cluster_messages import QueueRow as QueueRow
from titan.protocol.cluster_messages import WatchCluster as WatchCluster
from titan.protocol.cluster_messages import WorkerRow as WorkerRow
from titan.protocol.cluster_messages import Workers as Workers
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
from titan.protocol.disk_messages import DiskMeasured as DiskMeasured
from titan.protocol.disk_messages import DiskUsage as DiskUsage
from titan.protocol.disk_messages import GetDisk as GetDisk
from titan.protocol.disk_messages import MeasureDisk as MeasureDisk
from titan.protocol.disk_messages import NodeDiskRow as NodeDiskRow
from titan.protocol.disk_messages import PlaceRow as PlaceRow
from titan.protocol.disk_messages import RunDiskRow as RunDiskRow
from titan.protocol.disk_messages import WorkerRunRow as WorkerRunRow
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
from titan.protocol.left_files_messages import FetchLeftFile as FetchLeftFile
from titan.protocol.left_files_messages import FolderListed as FolderListed
from titan.protocol.left_files_messages import FolderRow as FolderRow
from titan.protocol.left_files_messages import LeftFileRow as LeftFileRow
from titan.protocol.left_files_messages import LeftFiles as LeftFiles
from titan.protocol.left_files_messages import ListFolder as ListFolder
from titan.protocol.left_files_messages import ListLeftFiles as ListLeftFiles
from titan.protocol.left_files_messages import SendLeftFile as SendLeftFile
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
from titan.protocol.run_messages import AttemptRow as AttemptRow
from titan.protocol.run_messages import Attempts as Attempts
from titan.protocol.run_messages import GetAttempts as GetAttempts
from titan.protocol.run_messages import GetGraph as GetGraph
from titan.protocol.run_messages import Graph as Graph
from titan.protocol.run_messages import RunRow as RunRow
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
    """First message of the side that connects. `role`: "client" or "worker".

    `features`: "zstd" if the sender can read compressed frames. `user`: USER@HOST, which the master
    records as the author of a client's changes.
    """

    role: Name
    version: Count
    software: Name
    features: Row[Name] = ()
    user: Name = ""


class Welcome(Message, frozen=True):
    """Answer to Hello. `cluster` is the id of the journal; leases of other clusters are invalid.

    Workers adjust the times in their reports to `now`. `content`: the absolute path of the master's
    content folder, offered to peers on its machine (see `content.nearby`), or "".
    """

    version: Count
    software: Name
    cluster: Name
    term: Count
    features: Row[Name] = ()
    now: Moment = 0.0
    content: Text = ""


class Error(Message, frozen=True):
    """Error answer. `code` is stable. `message` is for people. `job`: the job at fault."""

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
    """Submit a DAG. `key` is an idempotency key: the same key sent twice is one run.

    `collect`: after the answer, the master sends the result of each job in Values as soon as the
    job is over. `wanted`, if not empty: the master sends only the results of the jobs at these
    positions, and of DEAD jobs.
    """

    key: Name
    dag: DagSpec
    collect: bool = False
    wanted: Column[Count] = []


class OpenRun(Message, frozen=True):
    """Begin the submission of a DAG of `count` jobs in parts.

    AddJobs messages with this request id follow in order. Answered by Submitted when all jobs have
    arrived, or by an Error at the first problem. `key`, `collect` and `wanted` are as in Submit,
    `deadline_s` as in its DAG.
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
    source: Text = ""
    fresh: bool = False


class AddJobs(Message, frozen=True):
    """Jobs of a DAG from `position` on, in columns. Jobs that have arrived already are skipped.

    `parents` are positions in the DAG; each parent comes before its child.
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
    """Cancel a job; `job` "" means the whole run.

    `unstarted`: leave a job that is RUNNING as it is.
    """

    run: Name
    job: Name = ""
    unstarted: bool = False


class Cancelled(Message, frozen=True):
    jobs: Count


class GetRun(Message, frozen=True):
    """Read the state of a run with at most `limit` jobs from position `after` in the DAG, or only
    `job`."""

    run: Name
    job: Name = ""
    after: Count = 0
    limit: Count = 10_000


class JobRow(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Job as users see it. Times are in seconds since the epoch, 0 for not yet.

    `exit_code`: -1 for none. `progress`: progress of the running attempt, 0 to 1, or -1 for
    unknown, with its text in `message`. `status`: status text of the newest attempt. `cause`: cause
    of a cancellation (titan.model.causes.Cause). `lost`: the reason why output of the newest ended
    attempt is lost, "" if no output is lost. `cached_from`: the job, as RUN/JOB, whose result this
    job reused, "" if it ran.
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
    cached_from: Text = ""


class RunStatus(Message, frozen=True):
    """Page of a run's jobs. `next`: the `after` of the next page, 0 if this is the last."""

    run: RunRow
    jobs: Column[JobRow]
    next: Count = 0
    story: Column[Text] = []


class ListRuns(Message, frozen=True):
    """List the newest `limit` runs. If `before` is set, list only runs older than that run.

    Optional filters: the DAG `dag`, the group `group`, submission at or after `since`, one of
    `states`.
    """

    limit: Count = 100
    before: Name = ""
    dag: Name = ""
    since: Moment = 0.0
    states: Column[StateNumber] = []
    group: Name = ""


class Runs(Message, frozen=True):
    runs: Column[RunRow]


class ListDead(Message, frozen=True):
    """List the dead letter queue of one run or of all runs."""

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
    """Subscribe to a run: its present state, then all changes until the run is over.

    The master sends them as Changes with this request id. `jobs` false: send only the run's row.
    """

    run: Name
    jobs: bool = True


class Unwatch(Message, frozen=True):
    """End the watch or the log stream of request `watch`."""

    watch: Count


class Changes(Message, frozen=True):
    """Changes of a watched run. `run` is the run after these changes.

    `first`: the message holds the present state at the start of the watch. `last`: no message
    follows. `moved`: ids of jobs of which only the progress changed, with the newest `fractions`
    and `texts` in the same order. The master sends Changes at most five times a second, and less
    often to a watcher that reads slowly.
    """

    run: RunRow
    jobs: Column[JobRow]
    first: bool = False
    last: bool = False
    moved: Column[Name] = []
    fractions: Column[Fraction] = []
    texts: Column[Text] = []


class GetDag(Message, frozen=True):
    """Ask for the DAG that was submitted as a run, without jobs that were added later. Answered by
    Dag."""

    run: Name


class Dag(Message, frozen=True):
    """DAG of a run, as it was submitted."""

    dag: DagSpec


class ReadLogs(Message, frozen=True):
    """Read the logs of an attempt, 0 for the newest. `follow`: continue until the attempt ends.
    `job` "": read the output of all jobs of the run in the order of arrival.
    """

    run: Name
    job: Name
    attempt: Count = 0
    follow: bool = False


class LogChunk(Message, frozen=True):
    """Bytes of an attempt's stream (1 stdout, 2 stderr), in the blob. `last`: no more chunks
    follow. `skipped`: number of bytes that the worker dropped before these bytes; `offset` does not
    count the dropped bytes. `job`: the job, if the logs of a whole run were asked for."""

    attempt: Count
    stream: Count
    offset: Count
    last: bool = False
    skipped: Count = 0
    job: Name = ""


class Values(Message, frozen=True):
    """Results of jobs, in columns. A job may be reported twice. `last`: no message follows.

    Entry i: the job's position in its DAG, its final state, its value, and the reason if there is
    one. A value is empty (None), or a tag byte and data. "i": the pickle of the returned value.
    "e": an encoded exception (see `titan.model.values`): its type, its text, the traceback, and its
    pickle if it has one. "h" and "r": the same two by content, as the SHA-256 (32 bytes) and the
    length (8 bytes, big-endian) of an artifact. "j": the job's own result in JSON; "k": the same by
    content.
    """

    positions: Column[Count]
    states: Column[StateNumber]
    values: Column[Bytes]
    reasons: Column[Text]
    last: bool = False


class ReadValues(Message, frozen=True):
    """Read the results of at most 10,000 calls of a run, by their ids.

    Answered by Values, or by a Conflict if a call is not over.
    """

    run: Name
    jobs: Column[Name]


class Stage(Message, frozen=True):
    """Ask which of these contents (SHA-256, hex) the master lacks. Answered by Staged.

    The master keeps the contents that it has for at least `file_grace_s`.
    """

    hashes: Column[Name]
    sizes: Column[Count]


class Staged(Message, frozen=True):
    missing: Column[Name]


class Stored(Message, frozen=True):
    """The content is on the master's disk. It stays there for at least `file_grace_s`."""

    hash: Name


class Resolve(Message, frozen=True):
    """Ask for the hash of a file in perm_files/ on the master. Answered by Resolved."""

    name: Name


class Resolved(Message, frozen=True):
    hash: Name
    size: Count


class Stop(Message, frozen=True):
    """Stop the master, as SIGTERM does. Answered by Pong."""


# -- workers ---------------------------------------------------------------------------------------
class Register(Message, frozen=True):
    """Register a worker, with its attempts in `leases` and `started`.

    `started` is the start time of an attempt that runs, or has finished and is not yet
    acknowledged; 0 for an attempt that waits. Lease i came in a Dispatch with the draw
    `draws[draw_of[i]]`.
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
    """Heartbeat of a worker, with its attempts as in Register. `facts`: facts that changed since
    the last report."""

    leases: Column[Lease]
    started: Column[Moment]
    draws: Row[Name] = ()
    draw_of: Column[Count] = []
    facts: Facts = {}


class Heard(Message, frozen=True):
    """Answer to a heartbeat."""


class Dispatch(Message, frozen=True):
    """Attempts for a worker, in columns.

    Entry i: lease, run, job, attempt, template (a position in `templates`) and arguments. The
    columns with a default may be empty. `payloads`: the pickled arguments of calls, or their
    content hash like "h" in Values. `inputs`: the values of a call's parents, in order, as in
    Values, or "x" and the reason why they are not available. Persistent id i in the pickled
    arguments stands for value i. `services`: (id, HOST:PORT) of the services that a job depends on.
    `files`: a job's input files (name: the path in the job's folder). `draw` identifies the start
    of the master that issued the leases. `results`: (JOB.result.KEY, text) of the results that a
    job's texts name.
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
    results: Column[Row[tuple[Text, Text]]] = []


class Started(Message, frozen=True):
    leases: Column[Lease]
    ats: Column[Moment]


class Results(Message, frozen=True):
    """Results of attempts, in columns. `outcomes` are titan.model.states.Outcome.

    An exit by signal n has exit code 128 + n. The columns with a default may be empty. `values` are
    as in Values. `outputs`: the output files of each attempt; the worker has uploaded them before
    (Stored). `lost`: the reason why output of an attempt could not be kept, "" if no output is
    lost. `reasons` include this reason.
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
    """The results of these attempts are durable or fenced; the worker may drop them."""

    leases: Column[Lease]


class StopAttempts(Message, frozen=True):
    """Stop these attempts. The worker ignores attempts that it does not have."""

    leases: Column[Lease]
    grace_s: Seconds


class Recall(Message, frozen=True):
    """Return these attempts (Results with RETURNED) if they have not started."""

    leases: Column[Lease]


class LogData(Message, frozen=True):
    """Output of attempts, in the blob, one entry after the other.

    Entry i has `sizes[i]` bytes. These bytes belong at `offsets[i]` of the stream. `skipped[i]`:
    number of bytes that the worker dropped before these bytes; `offsets` does not count the dropped
    bytes. `skipped` is empty if no bytes were dropped.
    """

    runs: Column[Name]
    jobs: Column[Name]
    attempts: Column[Count]
    streams: Column[Count]
    offsets: Column[Count]
    sizes: Column[Count]
    skipped: Column[Count] = []


class LogResume(Message, frozen=True):
    """Sizes of each attempt's stdout and stderr on the master. Sent after a registration.

    The worker continues to send output from these offsets.
    """

    leases: Column[Lease]
    stdout: Column[Count]
    stderr: Column[Count]


class Draining(Message, frozen=True):
    """The worker finishes running attempts and takes no new ones."""


class Leaving(Message, frozen=True):
    """The worker has no attempts left and disconnects. Answered by Pong."""
