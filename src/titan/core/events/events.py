"""Events: decided facts, in the past tense. The journal holds them and `apply` applies them.

The tag of an event is its name in the journal and never changes. Fields are only added at the end,
with a default. `actor` is the actor of the input that led to the event; "" if no actor is known.

Volatile events, such as connections and heartbeats of workers, are applied but not journaled. Their
effect is lost at a restart. "Not durable" marks them below.
"""

from __future__ import annotations

import msgspec

from titan.core.events.base import Fact as _Fact
from titan.core.events.files import ArtifactPublished as ArtifactPublished
from titan.core.events.files import ArtifactRemoved as ArtifactRemoved
from titan.core.events.growth import PipelineRemoved as PipelineRemoved
from titan.core.events.growth import PipelineSaved as PipelineSaved
from titan.core.events.growth import RunGrown as RunGrown
from titan.core.events.reports import ProgressReported as ProgressReported
from titan.core.events.reports import SlotsLent as SlotsLent
from titan.core.events.reports import StatusReported as StatusReported
from titan.core.events.result_cache import CacheDropped as CacheDropped
from titan.core.events.result_cache import CacheMissed as CacheMissed
from titan.core.events.result_cache import JobsReused as JobsReused
from titan.core.events.result_cache import ResultsCached as ResultsCached
from titan.core.events.scaling import BurstEnded as BurstEnded
from titan.core.events.scaling import BurstRequested as BurstRequested
from titan.core.events.scaling import BurstRetired as BurstRetired
from titan.core.events.scaling import ScaleReviewed as ScaleReviewed
from titan.core.events.scaling import WorkersForgotten as WorkersForgotten
from titan.core.events.secrets import SecretChanged as SecretChanged
from titan.core.events.services import JobsHeld as JobsHeld
from titan.core.events.services import ServiceReplaced as ServiceReplaced
from titan.core.events.services import ServicesReported as ServicesReported
from titan.core.events.services import ServicesRetired as ServicesRetired
from titan.core.events.services import ServicesStopped as ServicesStopped
from titan.core.events.sick_workers import WorkerProbed as WorkerProbed
from titan.core.events.sick_workers import WorkerSetAside as WorkerSetAside
from titan.core.events.sick_workers import WorkerTakenBack as WorkerTakenBack
from titan.core.events.terms import ClockSetBack as ClockSetBack
from titan.core.events.terms import MasterStarted as MasterStarted
from titan.core.events.terms import SettingsChanged as SettingsChanged
from titan.core.events.terms import TermRaised as TermRaised
from titan.model.dag import DagSpec, JobTemplate
from titan.model.files import StoredFile
from titan.model.timing import Timing


class RunSubmitted(_Fact, frozen=True, tag="run_submitted"):
    """A run was submitted. Job i of the columns has number `first_job + i`; `parents` are positions
    in the columns."""

    run: str
    key: str
    name: str
    version: str
    templates: list[JobTemplate]
    ids: list[str]
    template_of: list[int]
    args: list[tuple[str, ...]]
    parents: list[tuple[int, ...]]
    first_job: int
    at: float
    payloads: list[bytes] = []
    deadline_s: float = 0.0
    schedule: str = ""
    scheduled_at: float = 0.0
    """Nominal time for which the schedule made the run."""
    group: str = ""
    actor: str = ""
    source: str = ""
    fresh: bool = False


class RunOpened(_Fact, frozen=True, tag="run_opened"):
    """A run whose jobs arrive in parts was opened. The run owns the job numbers from `first_job` to
    `first_job + count - 1`.

    RunSealed follows when all jobs have arrived; otherwise RunDropped follows.
    """

    run: str
    key: str
    name: str
    version: str
    templates: list[JobTemplate]
    first_job: int
    count: int
    at: float
    deadline_s: float = 0.0
    schedule: str = ""
    scheduled_at: float = 0.0
    group: str = ""
    actor: str = ""
    source: str = ""
    fresh: bool = False


class JobsAdded(_Fact, frozen=True, tag="jobs_added"):
    """The next jobs of an OPENING run arrived. `parents` are positions in the run; each parent
    comes before its child."""

    run: str
    ids: list[str]
    template_of: list[int]
    args: list[tuple[str, ...]]
    parents: list[tuple[int, ...]]
    at: float
    payloads: list[bytes] = []


class RunSealed(_Fact, frozen=True, tag="run_sealed"):
    """All jobs of an OPENING run have arrived, and the run is RUNNING."""

    run: str
    at: float


class RunDropped(_Fact, frozen=True, tag="run_dropped"):
    """An OPENING run was dropped, with its jobs, before all jobs had arrived."""

    run: str
    at: float = 0.0


class RunArchived(_Fact, frozen=True, tag="run_archived"):
    """A finished run left the state with its jobs. The history has the run."""

    run: str
    at: float


class RootsReleased(_Fact, frozen=True, tag="roots_released"):
    """The jobs before `position` of a run that have no open parents were made ready. Not durable: a
    restart finds the remaining jobs by their states."""

    run: str
    position: int


class JobsQueued(_Fact, frozen=True, tag="jobs_queued"):
    """Jobs whose parents are done, or whose time has come, were queued.

    `pins` is empty, or holds for each job the only worker that may take the job.
    """

    jobs: list[int]
    at: float
    pins: list[int] = []


class JobsDelayed(_Fact, frozen=True, tag="jobs_delayed"):
    jobs: list[int]
    until: list[float]
    at: float


class JobsReleased(_Fact, frozen=True, tag="jobs_released"):
    """The affinity of jobs to `worker` was released: any capable worker may take them."""

    jobs: list[int]
    worker: int
    reason: str
    at: float


class JobsBound(_Fact, frozen=True, tag="jobs_bound"):
    """QUEUED jobs with affinity were pinned to another worker, because their parent was dispatched
    to another worker than before. `pins` holds the new worker of each job."""

    jobs: list[int]
    pins: list[int]
    at: float


class JobsDispatched(_Fact, frozen=True, tag="jobs_dispatched"):
    """Jobs were dispatched to a worker. Job i of `jobs` has lease `first_lease + i`."""

    worker: int
    jobs: list[int]
    first_lease: int
    at: float


class JobsStarted(_Fact, frozen=True, tag="jobs_started"):
    """Attempts started. `ats` are their start times by the worker's clock. `at` is the time at
    which the master received the report; 0 in older journals."""

    worker: int
    jobs: list[int]
    ats: list[float]
    at: float = 0.0


class JobsCompleted(_Fact, frozen=True, tag="jobs_completed"):
    """Attempts succeeded, and their jobs are COMPLETED. Optional columns are empty if unused.

    - `values` are the results of calls, as their workers encoded them.
    - `outputs` are the output files of each job.
    - `reasons` are remarks about jobs that completed.
    - `lost` is the reason why some output of a job was lost; "" if no output was lost.
    """

    worker: int
    jobs: list[int]
    started: list[float]
    finished: list[float]
    cpu_s: list[float]
    peak_bytes: list[int]
    at: float
    values: list[bytes] = []
    outputs: list[tuple[StoredFile, ...]] = []
    reasons: list[str] = []
    lost: list[str] = []


class JobsFailed(_Fact, frozen=True, tag="jobs_failed"):
    """Attempts failed.

    - `retry_at` is the time of the next attempt; 0 means no further attempt, and JobsDied follows.
    - `blameless` are jobs whose attempts the worker broke, through no fault of the job.
    - `lost` is as in JobsCompleted.
    """

    worker: int
    jobs: list[int]
    outcomes: list[int]
    exit_codes: list[int]
    reasons: list[str]
    started: list[float]
    finished: list[float]
    cpu_s: list[float]
    peak_bytes: list[int]
    retry_at: list[float]
    at: float
    values: list[bytes] = []
    blameless: list[int] = []
    lost: list[str] = []


class JobsLost(_Fact, frozen=True, tag="jobs_lost"):
    """Attempts ended without a result. Their jobs are queued again at once, with `pins` as in
    JobsQueued.

    `blamed` jobs were running when the worker was lost. `doubted` jobs were next to start on the
    worker and may have been running.
    """

    worker: int
    jobs: list[int]
    blamed: list[int]
    reason: str
    at: float
    pins: list[int] = []
    doubted: list[int] = []


class JobsDied(_Fact, frozen=True, tag="jobs_died"):
    """Jobs are DEAD: out of retries, or poison. A `reason` of "" keeps each job's own reason."""

    jobs: list[int]
    reason: str
    at: float


class JobsSkipped(_Fact, frozen=True, tag="jobs_skipped"):
    """WAITING jobs do not run, because a condition is false: their own, or that of an ancestor."""

    jobs: list[int]
    reason: str
    at: float
    cause: int = 0
    """`Cause.SKIPPED` if the condition is that of an ancestor."""


class JobsCancelled(_Fact, frozen=True, tag="jobs_cancelled"):
    """Jobs were cancelled. `reason` is for people, `cause` (a Cause) for decisions. `cause` is 0 in
    journals of older Titan versions: see `causes.cause_of_old`."""

    jobs: list[int]
    reason: str
    at: float
    actor: str = ""
    cause: int = 0


class RunRestored(_Fact, frozen=True, tag="run_restored"):
    """A run that had left the state was loaded again from these snapshot chunks."""

    run: str
    chunks: list[bytes]
    at: float


class JobsRevived(_Fact, frozen=True, tag="jobs_revived"):
    """A user retried `jobs[:retried]` from the dead letter queue. The other jobs are revived with
    the retried jobs: jobs that were cancelled because of a retried job, and stopped services that a
    revived job needs.

    All jobs belong to one run and are WAITING again. The failures of the retried jobs are reset.
    JobsQueued follows for jobs without open parents. `key` is the idempotency key of the request.
    """

    run: str
    jobs: list[int]
    retried: int
    by: str
    key: str
    at: float
    actor: str = ""


class DeadPurged(_Fact, frozen=True, tag="dead_purged"):
    """Jobs were purged from the dead letter queue. They stay DEAD."""

    dead: list[int]
    at: float
    actor: str = ""


class GatesOpened(_Fact, frozen=True, tag="gates_opened"):
    """Gates opened. Each waits for a decision until its time in `until`."""

    jobs: list[int]
    until: list[float]
    at: float


class TokenIssued(_Fact, frozen=True, tag="token_issued"):
    """A token was issued for a gate. The holder of the token may decide about the gate, once.
    `digest` is the token's SHA-256."""

    job: int
    digest: bytes
    at: float


class WebhookEnded(_Fact, frozen=True, tag="webhook_ended"):
    """The delivery of a gate's webhook ended: "delivered", or the reason for giving up."""

    job: int
    result: str
    at: float


class GatesDecided(_Fact, frozen=True, tag="gates_decided"):
    """Gates were decided: approved ones are COMPLETED, rejected ones CANCELLED. `by` "" means that
    the time limit decided."""

    jobs: list[int]
    approved: bool
    by: str
    comment: str
    key: str
    at: float
    actor: str = ""


class RunCancelled(_Fact, frozen=True, tag="run_cancelled"):
    """A user cancelled a run; JobsCancelled follows."""

    run: str
    at: float
    actor: str = ""


class RunExpired(_Fact, frozen=True, tag="run_expired"):
    """The deadline of a run passed; JobsCancelled follows."""

    run: str
    at: float


class ScheduleAdded(_Fact, frozen=True, tag="schedule_added"):
    """A schedule was added or replaced. A replaced schedule keeps its number and counts, and loses
    its waiting nominal times.

    `key` is the idempotency key of the request. `due` is the first nominal time.
    """

    name: str
    number: int
    key: str
    dag: DagSpec
    """The DAG without its dependencies; see `parents`."""
    parents: list[tuple[int, ...]]
    """Parents of each job, as positions."""
    timing: Timing
    overlap: str
    catch_up: str
    paused: bool
    due: float
    at: float
    actor: str = ""


class ScheduleChanged(_Fact, frozen=True, tag="schedule_changed"):
    """A schedule was paused or resumed."""

    name: str
    paused: bool
    at: float
    actor: str = ""


class ScheduleRemoved(_Fact, frozen=True, tag="schedule_removed"):
    """A schedule was removed. It makes no further runs; existing runs continue."""

    name: str
    at: float
    actor: str = ""


class ScheduleFired(_Fact, frozen=True, tag="schedule_fired"):
    """A schedule made `run` for the nominal time `nominal`, which was due or the first of the
    waiting times. `due` is the next nominal time."""

    name: str
    nominal: float
    run: str
    due: float
    at: float
    by_user: bool = False
    """True if a user triggered the run. `nominal` is then the time of the request."""
    actor: str = ""


class ScheduleWaited(_Fact, frozen=True, tag="schedule_waited"):
    """Nominal times were put into the schedule's `waiting` list. The schedule makes their runs one
    after the other, each when it has no other open run. `due` is the next nominal time.

    `why` is one of:

    - "overlap": a run was open
    - "missed": the master was down or the schedule was paused
    - "parts": the DAG is large, so its run is made in parts
    """

    name: str
    nominal: list[float]
    why: str
    due: float
    at: float


class ScheduleSkipped(_Fact, frozen=True, tag="schedule_skipped"):
    """No run is made for `count` nominal times, from `first` to `last`.

    `why` is one of:

    - "overlap": another run of the schedule was open
    - "missed": the master was down or the schedule was paused, and the catch-up policy skips them
    - "full": too many nominal times waited
    - "made": the run exists already

    `more`: more than `count` times were skipped; counting stopped at a limit. `due` is the next
    nominal time.
    """

    name: str
    count: int
    more: bool
    first: float
    last: float
    why: str
    due: float
    at: float


class RunFinished(_Fact, frozen=True, tag="run_finished"):
    run: str
    state: int
    at: float


class WorkerJoined(_Fact, frozen=True, tag="worker_joined"):
    """A worker registered that is new, was LOST or LEFT, has restarted, or has changed its
    capabilities, slots, resources or address."""

    worker: int
    name: str
    incarnation: str
    capabilities: tuple[str, ...]
    slots: int
    facts: dict[str, str | int | float]
    at: float


class WorkerFactsChanged(_Fact, frozen=True, tag="worker_facts_changed"):
    """Some facts of a worker changed; `facts` holds only the changed facts."""

    worker: int
    facts: dict[str, str | int | float]
    at: float


class WorkerDrained(_Fact, frozen=True, tag="worker_drained"):
    """A worker drains: it takes no new attempts."""

    worker: int
    at: float


class WorkerLost(_Fact, frozen=True, tag="worker_lost"):
    worker: int
    reason: str
    at: float


class WorkerLeft(_Fact, frozen=True, tag="worker_left"):
    worker: int
    at: float


class WorkerAsked(_Fact, frozen=True, tag="worker_asked"):
    """A worker was told to leave, after its attempts have finished or, with `now`, at once. The
    core repeats the order until the worker has left."""

    worker: int
    now: bool
    at: float
    actor: str = ""


class StoreChanged(_Fact, frozen=True, tag="store_changed"):
    """TitanStore changed. `commands` repeat the changes, each in its database. The commands of a
    transaction stand between MULTI and EXEC."""

    databases: list[int]
    commands: list[list[bytes]]
    at: float = 0.0


class LeasesEnding(_Fact, frozen=True, tag="leases_ending"):
    """A worker still holds these fenced attempts and was told to stop them."""

    worker: int
    leases: list[int]
    at: float = 0.0


class LeasesEnded(_Fact, frozen=True, tag="leases_ended"):
    """A worker no longer holds these fenced attempts."""

    worker: int
    leases: list[int]
    at: float = 0.0


class WorkerConnected(_Fact, frozen=True, tag="worker_connected"):
    """A worker connected. Not durable."""

    worker: int
    connection: int
    at: float


class WorkerHeard(_Fact, frozen=True, tag="worker_heard"):
    """A worker sent a heartbeat. Not durable."""

    worker: int
    at: float


class LeasesRecalled(_Fact, frozen=True, tag="leases_recalled"):
    """A worker was asked to return these attempts if they have not started. Not durable."""

    worker: int
    leases: list[int]


class WorkerSuspected(_Fact, frozen=True, tag="worker_suspected"):
    """The connection of a worker broke. Not durable."""

    worker: int
    at: float


Event = (
    MasterStarted
    | TermRaised
    | SettingsChanged
    | ClockSetBack
    | WorkerSetAside
    | WorkerProbed
    | WorkerTakenBack
    | RunSubmitted
    | RunOpened
    | JobsAdded
    | RunSealed
    | RunDropped
    | RunArchived
    | RootsReleased
    | JobsQueued
    | JobsDelayed
    | JobsReleased
    | JobsBound
    | JobsDispatched
    | JobsStarted
    | JobsCompleted
    | JobsFailed
    | JobsLost
    | JobsDied
    | JobsCancelled
    | JobsSkipped
    | RunRestored
    | JobsRevived
    | DeadPurged
    | GatesOpened
    | TokenIssued
    | WebhookEnded
    | GatesDecided
    | RunCancelled
    | RunExpired
    | ScheduleAdded
    | ScheduleChanged
    | ScheduleRemoved
    | ScheduleFired
    | ScheduleWaited
    | ScheduleSkipped
    | RunFinished
    | WorkerJoined
    | WorkerFactsChanged
    | WorkerDrained
    | WorkerLost
    | WorkerLeft
    | LeasesEnding
    | LeasesEnded
    | ServicesReported
    | ServicesStopped
    | ServiceReplaced
    | ServicesRetired
    | JobsHeld
    | WorkerConnected
    | WorkerHeard
    | LeasesRecalled
    | SlotsLent
    | WorkerSuspected
    | WorkerAsked
    | BurstRequested
    | BurstRetired
    | BurstEnded
    | WorkersForgotten
    | ScaleReviewed
    | StoreChanged
    | RunGrown
    | PipelineSaved
    | PipelineRemoved
    | ProgressReported
    | StatusReported
    | ArtifactPublished
    | ArtifactRemoved
    | SecretChanged
    | CacheMissed
    | JobsReused
    | ResultsCached
    | CacheDropped
)

VOLATILE: tuple[type, ...] = (
    *(WorkerConnected, WorkerHeard, LeasesRecalled, SlotsLent, WorkerSuspected, RootsReleased, ScaleReviewed),
    ProgressReported,
)

SYNCED: frozenset[type] = frozenset((MasterStarted, TermRaised))
"""Events that must be on disk, whatever the sync policy, before the shell performs any effect that
follows from them."""

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(list[Event])


def encode(events: list[Event]) -> tuple[bytes, int]:
    """Return the journal payload of a batch and the number of its durable events; (b"", 0) if there
    are none."""
    durable = [e for e in events if type(e) not in VOLATILE]
    return (_encoder.encode(durable), len(durable)) if durable else (b"", 0)


def decode(payload: bytes | memoryview) -> list[Event]:
    return _decoder.decode(payload)
