"""Facts that were decided, in the past tense: what the journal holds and what `apply` applies.

The tag of each is its name in the journal and never changes; fields are only ever added at the end,
with a default. `actor` is who asked for what led to it, as in `inputs`; "" if nobody did, or it is
not known. Events that are not durable (who is connected, who was heard) are applied and not
journaled: a restart knows neither.
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
    """Job i of the columns is number `first_job + i`; `parents` are positions in the columns."""

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
    """The nominal time for which the schedule made it."""
    group: str = ""
    actor: str = ""


class RunOpened(_Fact, frozen=True, tag="run_opened"):
    """A run whose jobs come in parts: the numbers `first_job` to `first_job + count - 1` are its.

    RunSealed or RunDropped follows.
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


class JobsAdded(_Fact, frozen=True, tag="jobs_added"):
    """The next jobs of a run that opens; `parents` are positions in the run, each before its child."""

    run: str
    ids: list[str]
    template_of: list[int]
    args: list[tuple[str, ...]]
    parents: list[tuple[int, ...]]
    at: float
    payloads: list[bytes] = []


class RunSealed(_Fact, frozen=True, tag="run_sealed"):
    """All its jobs are there: from now on it is a run like any other."""

    run: str
    at: float


class RunDropped(_Fact, frozen=True, tag="run_dropped"):
    """A run that was never sealed is gone, with its jobs."""

    run: str
    at: float = 0.0


class RunArchived(_Fact, frozen=True, tag="run_archived"):
    """A finished run, with its jobs, is no longer part of the state: the history has it."""

    run: str
    at: float


class RootsReleased(_Fact, frozen=True, tag="roots_released"):
    """The jobs of a run before `position` were made ready as far as they have no parents. Not
    durable: the jobs' states tell."""

    run: str
    position: int


class JobsQueued(_Fact, frozen=True, tag="jobs_queued"):
    """Their parents are done or their time has come. `pins`, if not empty, names for each the one
    worker that may take it."""

    jobs: list[int]
    at: float
    pins: list[int] = []


class JobsDelayed(_Fact, frozen=True, tag="jobs_delayed"):
    jobs: list[int]
    until: list[float]
    at: float


class JobsReleased(_Fact, frozen=True, tag="jobs_released"):
    """Their affinity cannot be kept: any capable worker may take them."""

    jobs: list[int]
    worker: int
    reason: str
    at: float


class JobsBound(_Fact, frozen=True, tag="jobs_bound"):
    """QUEUED jobs with affinity whose parent was dispatched to another worker than before: the one
    worker that may take each."""

    jobs: list[int]
    pins: list[int]
    at: float


class JobsDispatched(_Fact, frozen=True, tag="jobs_dispatched"):
    """Job i of `jobs` has lease `first_lease + i`."""

    worker: int
    jobs: list[int]
    first_lease: int
    at: float


class JobsStarted(_Fact, frozen=True, tag="jobs_started"):
    """`ats` are their worker's word, `at` when the master heard it (0 in journals of old)."""

    worker: int
    jobs: list[int]
    ats: list[float]
    at: float = 0.0


class JobsCompleted(_Fact, frozen=True, tag="jobs_completed"):
    """`values`, if not empty, are the results of calls, as their workers made them; `outputs` the
    files that each left; `reasons` what there is to say of some of them all the same; `lost` why
    some output of each is lost, "" if it is all there."""

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
    """`retry_at` 0 means that there is no further attempt: JobsDied follows. `blameless` were
    BROKEN by the worker. `lost` as in JobsCompleted."""

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
    """Attempts that ended without a result; the jobs are queued again at once, with `pins` as in
    JobsQueued.

    `blamed` of them were running when the worker was lost; `doubted` were first in line there and
    may have been.
    """

    worker: int
    jobs: list[int]
    blamed: list[int]
    reason: str
    at: float
    pins: list[int] = []
    doubted: list[int] = []


class JobsDied(_Fact, frozen=True, tag="jobs_died"):
    """Out of retries, or poison. `reason` "" keeps each job's own."""

    jobs: list[int]
    reason: str
    at: float


class JobsCancelled(_Fact, frozen=True, tag="jobs_cancelled"):
    """`reason` is for people, `cause` (a Cause) for decisions; 0: of an older Titan, see
    `causes.cause_of_old`."""

    jobs: list[int]
    reason: str
    at: float
    actor: str = ""
    cause: int = 0


class RunRestored(_Fact, frozen=True, tag="run_restored"):
    """A run that had left the state is part of it again, as the chunks of a snapshot say."""

    run: str
    chunks: list[bytes]
    at: float


class JobsRevived(_Fact, frozen=True, tag="jobs_revived"):
    """A user took `jobs[:retried]` off the dead letter queue; the others had been cancelled because
    of them. All of one run.

    They wait again, with no failure counted; JobsQueued follows for those that have nothing to wait
    for. `key` is the request's.
    """

    run: str
    jobs: list[int]
    retried: int
    by: str
    key: str
    at: float
    actor: str = ""


class DeadPurged(_Fact, frozen=True, tag="dead_purged"):
    """They stay DEAD and are no longer in the dead letter queue."""

    dead: list[int]
    at: float
    actor: str = ""


class GatesOpened(_Fact, frozen=True, tag="gates_opened"):
    """They wait for a decision, each until then."""

    jobs: list[int]
    until: list[float]
    at: float


class TokenIssued(_Fact, frozen=True, tag="token_issued"):
    """Whoever has the token with this SHA-256 may decide about the gate, once."""

    job: int
    digest: bytes
    at: float


class WebhookEnded(_Fact, frozen=True, tag="webhook_ended"):
    """What was to be told of the gate's opening was "delivered", or was given up for that reason."""

    job: int
    result: str
    at: float


class GatesDecided(_Fact, frozen=True, tag="gates_decided"):
    """Approved ones are COMPLETED, rejected ones CANCELLED. `by` "" is the clock: nobody decided in
    time."""

    jobs: list[int]
    approved: bool
    by: str
    comment: str
    key: str
    at: float
    actor: str = ""


class RunCancelled(_Fact, frozen=True, tag="run_cancelled"):
    """A user asked for it; JobsCancelled follows."""

    run: str
    at: float
    actor: str = ""


class RunExpired(_Fact, frozen=True, tag="run_expired"):
    """Its deadline passed; JobsCancelled follows."""

    run: str
    at: float


class ScheduleAdded(_Fact, frozen=True, tag="schedule_added"):
    """A new schedule, or another one under a known name: that keeps its number and counts, and
    forgets what waited.

    `key` is whoever's added it, so that the same request sent twice is one. `due` is its first
    nominal time.
    """

    name: str
    number: int
    key: str
    dag: DagSpec
    """Without its parents."""
    parents: list[tuple[int, ...]]
    """Of each job, as positions."""
    timing: Timing
    overlap: str
    catch_up: str
    paused: bool
    due: float
    at: float
    actor: str = ""


class ScheduleChanged(_Fact, frozen=True, tag="schedule_changed"):
    """It was paused or resumed."""

    name: str
    paused: bool
    at: float
    actor: str = ""


class ScheduleRemoved(_Fact, frozen=True, tag="schedule_removed"):
    """It makes no further run. Those that it made go on."""

    name: str
    at: float
    actor: str = ""


class ScheduleFired(_Fact, frozen=True, tag="schedule_fired"):
    """It made `run` for the nominal time `nominal`: the next one that was due, or the first that
    waited. `due` is the next one."""

    name: str
    nominal: float
    run: str
    due: float
    at: float
    by_user: bool = False
    """Somebody asked for it; `nominal` is when, and no time of the schedule."""
    actor: str = ""


class ScheduleWaited(_Fact, frozen=True, tag="schedule_waited"):
    """For these nominal times runs will be made, one after the other, when the schedule has no
    other run. `due` is the next one.

    `why`: "overlap" (a run was open), "missed" (nobody was there) or "parts" (its DAG is large, the
    run comes in parts).
    """

    name: str
    nominal: list[float]
    why: str
    due: float
    at: float


class ScheduleSkipped(_Fact, frozen=True, tag="schedule_skipped"):
    """For `count` nominal times, from `first` to `last`, no run is made.

    `why`: "overlap" (another run of it was open), "missed" (nobody was there, and its catch-up
    policy gives them up) or "full" (too many waited) or "made" (it has a run already). `more`:
    there were more than were counted. `due` is the next nominal time.
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
    """New, back from LOST or LEFT, or a new process under an old name."""

    worker: int
    name: str
    incarnation: str
    capabilities: tuple[str, ...]
    slots: int
    facts: dict[str, str | int | float]
    at: float


class WorkerFactsChanged(_Fact, frozen=True, tag="worker_facts_changed"):
    """These facts of a worker are different from now on."""

    worker: int
    facts: dict[str, str | int | float]
    at: float


class WorkerDrained(_Fact, frozen=True, tag="worker_drained"):
    """It takes nothing new from now on."""

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
    """It is told to finish what runs and leave; `now`: not to finish. It is told again until it has
    left."""

    worker: int
    now: bool
    at: float
    actor: str = ""


class StoreChanged(_Fact, frozen=True, tag="store_changed"):
    """Commands that repeat what was done in TitanStore, each with its database. A transaction
    stands between MULTI and EXEC."""

    databases: list[int]
    commands: list[list[bytes]]
    at: float = 0.0


class LeasesEnding(_Fact, frozen=True, tag="leases_ending"):
    """Fenced attempts that a worker still holds and was told to stop."""

    worker: int
    leases: list[int]
    at: float = 0.0


class LeasesEnded(_Fact, frozen=True, tag="leases_ended"):
    worker: int
    leases: list[int]
    at: float = 0.0


class WorkerConnected(_Fact, frozen=True, tag="worker_connected"):
    """Not durable."""

    worker: int
    connection: int
    at: float


class WorkerHeard(_Fact, frozen=True, tag="worker_heard"):
    """Not durable."""

    worker: int
    at: float


class LeasesRecalled(_Fact, frozen=True, tag="leases_recalled"):
    """The worker is asked to hand these back if they have not started. Not durable."""

    worker: int
    leases: list[int]


class WorkerSuspected(_Fact, frozen=True, tag="worker_suspected"):
    """Its connection broke. Not durable."""

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
)

VOLATILE: tuple[type, ...] = (
    *(WorkerConnected, WorkerHeard, LeasesRecalled, SlotsLent, WorkerSuspected, RootsReleased, ScaleReviewed),
    ProgressReported,
)

SYNCED: frozenset[type] = frozenset((MasterStarted, TermRaised))
"""What must be on the disk, whatever the sync policy says, before anything that follows from it is
done."""

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(list[Event])


def encode(events: list[Event]) -> tuple[bytes, int]:
    """The journal payload of a batch (its durable events), and how many they are; (b"", 0) if none
    is durable."""
    durable = [e for e in events if type(e) not in VOLATILE]
    return (_encoder.encode(durable), len(durable)) if durable else (b"", 0)


def decode(payload: bytes | memoryview) -> list[Event]:
    return _decoder.decode(payload)
