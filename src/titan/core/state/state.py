"""The state of the master: jobs, runs, workers, and the indexes over them.

Only `apply` writes the state. A snapshot holds the jobs, runs and workers. Lanes, pool, timers and
lookups are derived, and `reindex` can rebuild them. Inside the core a job is identified by an
integer; names occur only in inputs and outputs.

The number of a job or lease is `term << 32 | counter`. No number is issued twice, even if a lax
sync policy lost the end of the journal. `fencing` handles homes that were restored from a copy.
"""

from __future__ import annotations

from enum import IntEnum
from heapq import heapify, heappush

import msgspec

from titan.core.state.burst_worker import Burst
from titan.core.state.result_cache import ResultCache
from titan.core.state.run import Growth as Growth
from titan.core.state.run import Opening as Opening
from titan.core.state.run import Run as Run
from titan.core.state.run_lookups import RunTables
from titan.core.state.service import ServiceState
from titan.model.causes import Cause
from titan.model.dag import MAX_JOBS, DagSpec, JobTemplate
from titan.model.demand import NOTHING, Amounts, LaneKey, amounts_of, demand_in_run, plus, totals_of
from titan.model.files import Published, StoredFile
from titan.model.settings import LoggedSettings, Settings
from titan.model.states import ON_WORKER, TERMINAL, JobState, Outcome, RunState, WorkerState
from titan.model.timing import Timing
from titan.scheduling.lane import Lane
from titan.scheduling.place import Terms
from titan.scheduling.pool import Pool
from titan.store.store import Store

STALE_TIMERS = 1000
"""Compact the heap when it holds more than this many void timers and they are over half of it."""
NO_WORKER = -1
LEAVE, LEAVE_NOW = 1, 2
BURST_PREFIX = "burst-"
"""Prefix of the names of burst workers. No other worker may use it."""
HISTORY_LIMIT = 64
TOKENS_LIMIT = 16
"""Maximum number of valid tokens per gate; the oldest token is dropped. Each start of a master
generates a token while the gate's webhook is undelivered."""
TIMED = (JobState.DELAYED, JobState.FAILED, JobState.PAUSED)
"""States that a timer may end."""
FORGOTTEN_LIMIT = 50_000
"""Maximum number of forgotten workers whose names are kept for jobs that ran on them."""
FENCED_LIMIT = 256
ARCHIVED_LIMIT = 50_000
"""Maximum number of archived runs whose submission keys are kept."""


class SavedPipeline(msgspec.Struct, frozen=True):
    """A DAG that can be run by name."""

    name: str
    dag: DagSpec
    saved_at: float


class Schedule(msgspec.Struct):
    """Schedule, which submits a run of its DAG at each nominal time of its timing."""

    name: str
    number: int
    key: str
    dag: DagSpec
    """The DAG without its dependencies; see `parents`."""
    parents: list[tuple[int, ...]]
    """Parents of each job, as positions."""
    timing: Timing
    overlap: str
    """Policy for a nominal time that comes while a run of the schedule is open: "skip", "queue" or
    "replace"."""
    catch_up: str
    """Policy for nominal times that passed while the master was down or the schedule was paused:
    "skip", "last" or "all"."""
    added_at: float
    paused: bool = False
    due: float = 0.0
    """The next nominal time that has not been decided; 0 if there is none."""
    waiting: list[float] = msgspec.field(default_factory=list)
    """Nominal times whose runs are made later, each when no other run of the schedule is open."""
    fired: int = 0
    skipped: int = 0
    """Nominal times skipped because a run was open or too many waited."""
    missed: int = 0
    """Nominal times skipped by the catch-up policy; a lower bound."""
    last_at: float = 0.0
    """Nominal time of the newest run."""
    last_run: str = ""
    changed_at: float = 0.0


class TimerKind(IntEnum):
    """Kinds of timer. If several timers are due at the same time, the lowest kind goes first."""

    JOB = 0
    WORKER = 1
    RUN = 8
    SCHEDULE = 9
    SCALE = 20
    FORGET = 21
    ASIDE = 22


class Past(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Entry in a job's history: the outcome of an attempt, or a note about another change."""

    at: float
    attempt: int
    worker: int
    outcome: int
    """An Outcome, or -1 for a note."""
    exit_code: int
    reason: str
    released: bool = False
    """True for a note that the job's affinity was released."""
    queued_at: float = 0.0
    """Time at which the job was queued for the attempt; 0 in a note, and if not known."""
    sent_at: float = 0.0
    """Time at which the attempt was sent to its worker; 0 in a note, and if not known."""
    started_at: float = 0.0
    """Time at which the attempt's process started; 0 if no start was reported."""


class GateFacts(msgspec.Struct, array_like=True, gc=False):
    """State of a gate since it opened. Times are seconds since the epoch."""

    opened_at: float
    expires_at: float
    tokens: list[bytes] = []
    """SHA-256 of each token issued for the gate, newest last."""
    webhook: str = ""
    """"delivered", or the reason for giving up. Empty if the gate has no webhook or the delivery is
    pending."""
    decided_at: float = 0.0
    approved: bool = False
    by: str = ""
    comment: str = ""
    key: str = ""
    """Idempotency key of the decision. A repeated request gets the same answer."""


class Extra(msgspec.Struct, array_like=True, gc=False):
    """Fields of a job that only few jobs need."""

    doubts: int = 0
    """Number of workers that were lost while they may have been running the job. The job was next
    to start on each of them, and none reported a start."""
    purged: bool = False
    """True for a DEAD job that was purged from the dead letter queue."""
    gate: GateFacts | None = None
    status: str = ""
    """Status line reported by the newest attempt."""
    outputs: tuple[StoredFile, ...] = ()
    """Output files of a COMPLETED job."""
    breaks: int = 0
    """Number of attempts that workers broke through no fault of the job."""
    broken_on: tuple[int, ...] = ()
    """Workers that broke an attempt of the job, newest last."""
    lost: str = ""
    """Reason why output of the last finished attempt was lost."""
    cache_key: str = ""
    """Key of a job with caching since it was queued."""
    cached_from: str = ""
    """RUN/JOB whose result the job reused; "" if it ran."""


class Job(msgspec.Struct, gc=False):
    """Job of a run. Times are seconds since the epoch; 0 for an event that has not happened."""

    name: str
    run: Run
    template: JobTemplate
    args: tuple[str, ...]
    parents: tuple[int, ...]
    missing: int
    """Number of parents for which the job still waits: see `transitions.satisfies`."""
    state: JobState = JobState.WAITING
    children: list[int] | None = None
    since: float = 0.0
    """Time of the last transition."""
    due: float = 0.0
    """Time at which a timer moves the job on: a DELAYED or FAILED job is then queued, and a PAUSED
    gate is rejected."""
    attempt: int = 0
    failures: int = 0
    losses: int = 0
    """Number of workers that were lost while they ran the job."""
    worker: int = NO_WORKER
    lease: int = 0
    pin: int = NO_WORKER
    """For a pinned QUEUED job, the only worker that may take it."""
    started_at: float = 0.0
    finished_at: float = 0.0
    outcome: Outcome = Outcome.SUCCEEDED
    exit_code: int = -1
    cpu_s: float = 0.0
    peak_bytes: int = 0
    reason: str = ""
    cause: Cause = Cause.NONE
    """Cause of the cancellation of a CANCELLED job."""
    history: list[Past] | None = None
    payload: bytes = b""
    """Pickled arguments of a call."""
    value: bytes = b""
    """Return value or exception of a call; opaque to the master."""
    service: ServiceState | None = None
    """State of a service; None for other jobs."""
    extra: Extra | None = None
    queued_at: float = 0.0
    """Time at which the job was last queued."""
    sent_at: float = 0.0
    """Time at which the attempt was sent to its worker; 0 while the job is queued."""

    @property
    def doubts(self) -> int:
        return self.extra.doubts if self.extra is not None else 0

    @property
    def in_dlq(self) -> bool:
        return self.state is JobState.DEAD and not (self.extra is not None and self.extra.purged)

    @property
    def outputs(self) -> tuple[StoredFile, ...]:
        return self.extra.outputs if self.extra is not None else ()

    @property
    def lost(self) -> str:
        return self.extra.lost if self.extra is not None else ""

    def note_lost(self, why: str) -> None:
        """Record why output of the attempt that just ended was lost; "" if no output was lost."""
        if why or self.lost:
            self.extra = self.extra or Extra()
            self.extra.lost = why

    @property
    def cached_from(self) -> str:
        """RUN/JOB whose result the job reused; "" if it ran."""
        return self.extra.cached_from if self.extra is not None else ""

    @property
    def status(self) -> str:
        return self.extra.status if self.extra is not None else ""

    def add_doubts(self, count: int) -> None:
        self.extra = self.extra or Extra()
        self.extra.doubts += count

    @property
    def is_done(self) -> bool:
        """True if the job no longer holds back its children: COMPLETED, or a READY service."""
        return self.state is JobState.COMPLETED or (self.service is not None and self.service.ready_at > 0)

    def note_attempt(self, at: float, worker: int, outcome: int, exit_code: int, reason: str) -> None:
        """Record an attempt that ended at a time without success."""
        times = (self.queued_at, self.sent_at, self.started_at)
        self.note(Past(at, self.attempt, worker, outcome, exit_code, reason, False, *times))

    def note(self, past: Past) -> None:
        if self.history is None:
            self.history = []
        elif len(self.history) >= HISTORY_LIMIT:
            del self.history[0]
        self.history.append(past)


class Worker(msgspec.Struct):
    """Worker as a node. Its number belongs to its name and outlives each of its processes."""

    number: int
    name: str
    incarnation: str
    """Id of the worker's current process. `workers._is_older` defines the order of these ids."""
    capabilities: tuple[str, ...]
    slots: int
    facts: dict[str, str | int | float]
    joined_at: float
    state: WorkerState = WorkerState.ALIVE
    draining: bool = False
    left_at: float = 0.0
    held: dict[int, int] = msgspec.field(default_factory=dict)
    """Lease -> job, for the attempts assigned to the worker."""
    ending: dict[int, None] = msgspec.field(default_factory=dict)
    """Leases of fenced attempts whose processes may still run. Each attempt takes a slot until the
    worker reports that it is gone."""
    blamed: dict[int, None] = msgspec.field(default_factory=dict)
    """Jobs whose `losses` count this worker's loss. If the same process returns, the loss is
    subtracted again."""
    doubted: dict[int, None] = msgspec.field(default_factory=dict)
    """Jobs whose `doubts` count this worker's loss. If the same process returns, the doubt is
    subtracted again."""
    recalled: dict[int, None] = msgspec.field(default_factory=dict)
    """Leases whose attempts the worker was asked to return unstarted. Not durable."""
    connection: int = 0
    """The worker's connection; 0 if it has none. Not durable."""
    heard_at: float = 0.0
    """Time of the worker's last registration or heartbeat. Not durable."""
    deadline: float = 0.0
    """Time at which the worker becomes LOST unless a message arrives first. Not durable."""
    watched: bool = False
    """True if the worker's deadline is among the timers. Not durable."""
    retiring: dict[int, int] = msgspec.field(default_factory=dict)
    """Lease -> job, for old attempts of services that run until their replacement is READY."""
    pace_s: float = 0.0
    """Recent duration of an attempt on this worker; 0 if not known. The value rises at once with a
    long attempt and falls gradually."""
    serving: int = 0
    """Number of services in `held` and `retiring`."""
    taken: Amounts = NOTHING
    """Resources in use by the attempts in `held`, `ending` and `retiring`."""
    fenced: dict[int, Amounts] = msgspec.field(default_factory=dict)
    """Resources of recently fenced attempts that may still be running, by lease."""
    asked: int = 0
    """Order to leave that the master gave: LEAVE or LEAVE_NOW; 0 for no order."""
    told_by: str = ""
    """Actor that gave the order to leave."""
    idle_since: float = 0.0
    """Time at which the worker's last attempt ended, or at which the worker joined."""
    breaks: int = 0
    """Number of reports of only broken attempts since an attempt last ran to its end here."""
    aside_until: float = 0.0
    """Time until which the worker is set aside; 0 if it is not set aside. Then the worker is on
    trial until an attempt has run to its end."""
    aside_reason: str = ""
    aside_times: int = 0
    """Number of consecutive times that the worker was set aside."""
    probing: bool = False
    """True while the worker is on trial: it gets one attempt."""
    probe_slots: int = 0
    """Number of slots that the worker offers on trial: the slots in use when the trial began, and
    one more."""
    lent: dict[int, bool] = msgspec.field(default_factory=dict)
    """Lease in `held` of a call -> True if the call now waits for other calls, so that its slot is
    free; False if the call waited before. Not durable."""

    @property
    def offered(self) -> int:
        """Number of slots that the worker offers now."""
        return max(1, self.probe_slots) if self.probing else self.slots

    def recover(self) -> None:
        self.breaks = self.aside_times = 0
        self.aside_until, self.aside_reason, self.probing, self.probe_slots = 0.0, "", False, 0

    @property
    def used(self) -> int:
        """Number of attempts that take, or may take, a slot."""
        taken = len(self.held) + len(self.ending) + len(self.retiring)
        return taken - sum(self.lent.values()) if self.lent else taken

    @property
    def takes_work(self) -> bool:
        is_present = self.state is WorkerState.ALIVE and not self.draining and self.connection != 0
        return is_present and (not self.aside_until or self.probing)


class State:
    __slots__ = (
        "active_in", "archived", "burst_serial", "bursts", "cluster", "dead", "decided_at", "draws", "filling", "forgotten",
        "gates", "heard_term", "in_force", "jobs", "keys", "lanes", "live", "logged", "next_job", "next_lease", "next_schedule",
        "next_worker", "notices", "opening", "pinned", "pool", "progress", "published", "releasing", "result_cache", "runs",
        "saved", "scale_changed", "scale_due", "scale_reasons", "scale_waiting", "schedule_names", "schedules",
        "secret_versions", "services", "settings", "stale", "store", "store_is_live", "tables", "term", "terms", "timers",
        "tokens", "touched", "unsettled", "worker_numbers", "workers",
    )  # fmt: skip

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = settings or Settings()
        """Settings of this process, for decisions. `apply` reads only `in_force`."""
        self.logged: LoggedSettings | None = None
        """Settings recorded in the journal; None for a journal of an older Titan."""
        self.in_force = LoggedSettings.of(self.settings)
        """`logged`, or the settings of this process if the journal has none."""
        self.cluster = ""
        self.decided_at = 0.0
        """Time of the last durable event, in seconds since the epoch; 0 if unknown."""
        self.term = 0
        self.draws: dict[int, str] = {}
        """Term -> draw, the random id of the master's start that began the term. Old terms are
        dropped when no worker holds a lease of them."""
        self.heard_term = 0
        """Latest term that a worker's lease proved and the journal lacks: see `fencing`."""
        self.notices: list[tuple[float, str]] = []
        """Notices for operators with their times, newest last."""
        self.next_job = 1
        self.next_lease = 1
        self.jobs: dict[int, Job] = {}
        self.runs: dict[str, Run] = {}
        self.workers: dict[int, Worker] = {}
        self.schedules: dict[str, Schedule] = {}
        self.next_worker = 1
        self.bursts: dict[str, Burst] = {}
        self.forgotten: dict[int, str] = {}
        """Number -> name of forgotten workers, to which jobs may still refer."""
        self.saved: dict[str, SavedPipeline] = {}
        self.store = Store()
        self.published: dict[str, list[Published]] = {}
        """Shared key -> versions published under the key, newest last."""
        self.result_cache = ResultCache()
        self.secret_versions: dict[str, tuple[int, float]] = {}
        """Secret -> its version and the time at which it was set, as far as the journal has it."""
        # Not durable: these fields belong to this process of the master.
        self.store_is_live = False
        """True if this process executes commands on the store. The changes of an event are then
        already in the store when the event is applied."""
        self.progress: dict[int, tuple[float, str]] = {}
        """Lease -> progress that the attempt reported (-1 if not known), and its text."""
        self.burst_serial = 0
        self.scale_due = 0.0
        self.scale_reasons: dict[str, tuple[float, str]] = {}
        """Rule -> time and reason of the last scaling decision."""
        self.scale_changed: dict[str, float] = {}
        """Rule -> time of the last change to its number of workers."""
        self.scale_waiting: dict[str, float] = {}
        """Rule -> time since which jobs have waited at every review."""
        # Derived from the fields above:
        self.keys: dict[str, str] = {}
        self.worker_numbers: dict[str, int] = {}
        self.dead: dict[int, None] = {}
        self.gates: dict[int, None] = {}
        """PAUSED gates."""
        self.tokens: dict[bytes, int] = {}
        """SHA-256 of a token -> the token's gate, decided or not."""
        self.lanes: dict[LaneKey, Lane] = {}
        self.pinned: dict[int, Lane] = {}
        self.active_in: dict[str, int] = {}
        """RUN/ARRAY of jobs that share a limit -> number of them that are on workers."""
        self.touched: dict[int, None] = {}
        """Workers whose pinned jobs or room changed since the last placement."""
        self.pool = Pool()
        self.terms = Terms(self.demand, 0.0, self.settings.hold_s, self.count_active)
        self.timers: list[tuple[float, TimerKind, int]] = []
        self.stale = 0
        """Approximate number of void timers."""
        self.schedule_names: dict[int, str] = {}
        self.next_schedule = 1
        self.live: dict[str, dict[str, None]] = {}
        """Schedule -> its RUNNING runs."""
        self.filling: dict[str, str] = {}
        """Schedule -> the run that is being made in parts. A restart of the master drops the run
        and begins again."""
        self.archived: dict[str, tuple[str, int]] = {}
        """Idempotency key of the submission -> (run, number of jobs) of recently archived runs, so
        that a repeated submission finds its run."""
        self.releasing: dict[str, int] = {}
        """Run -> first position from which jobs may be WAITING without open parents."""
        self.opening: dict[str, Opening] = {}
        """Run id -> submission in parts. `reindex` does not rebuild this index, because a restart
        drops these runs."""
        self.services: dict[str, dict[int, None]] = {}
        """Run -> its services that are not over."""
        self.unsettled: dict[int, None] = {}
        """Jobs that depend on a service that is no longer READY. `hold` handles them before the
        next placement."""
        self.tables = RunTables()

    # -- reading -----------------------------------------------------------------------------------
    def find(self, run: Run, name: str) -> int | None:
        """Return the number of the job with this name, or None."""
        return self.tables.number_of(self.jobs, run, name)

    def worker_name(self, number: int) -> str:
        """Return the name of a worker that a job refers to, even if it was forgotten."""
        worker = self.workers.get(number)
        return worker.name if worker is not None else self.forgotten.get(number, "a forgotten worker")

    def is_queued(self, job: int) -> bool:
        entry = self.jobs.get(job)
        return entry is not None and entry.state is JobState.QUEUED and entry.pin == NO_WORKER

    def is_pinned(self, job: int, worker: int) -> bool:
        entry = self.jobs.get(job)
        return entry is not None and entry.state is JobState.QUEUED and entry.pin == worker

    # -- indexes: written by apply -----------------------------------------------------------------
    def enqueue(self, number: int, job: Job) -> None:
        """Put a QUEUED job into the lane of its demand, or of the worker to which it is pinned."""
        if job.pin == NO_WORKER:
            demand = demand_in_run(job.run.id, job.template)
            lane = self.lanes.get(demand)
            if lane is None:
                lane = self.lanes[demand] = Lane(self.is_queued)
        else:
            lane = self.pinned.get(job.pin)
            if lane is None:
                pin = job.pin
                lane = self.pinned[pin] = Lane(lambda j: self.is_pinned(j, pin))
            self.touched[job.pin] = None
        lane.count += 1
        lane.push(job.template.priority, number)

    def dequeued(self, job: Job) -> None:
        """Count a job out of its lane. The lane drops its entry for the job when the entry reaches
        the front."""
        if job.pin != NO_WORKER:
            lane = self.pinned[job.pin]
            self.touched[job.pin] = None  # jobs behind this job may fit where this job did not fit
        else:
            demand = demand_in_run(job.run.id, job.template)
            lane = self.lanes[demand]
            if lane.count == 1 and not isinstance(demand, str):  # drop the lane, because the number of such lanes has no limit
                del self.lanes[demand]
                self.pool.forget(demand)
        lane.count -= 1
        assert lane.count >= 0, job.name

    def seat(self, worker: Worker) -> None:
        """Update the pool with all properties of a worker."""
        self.pool.put(
            worker.number,
            worker.capabilities,
            worker.offered,
            worker.used,
            open_=worker.takes_work,
            depth=self.depth(worker),
            total=totals_of(worker.facts),
            taken=worker.taken,
        )
        self.touched[worker.number] = None

    def reload(self, worker: Worker) -> None:
        """Update the pool with a worker's new load."""
        self.pool.use(worker.number, worker.used, worker.taken)
        if worker.number in self.pinned:
            self.touched[worker.number] = None

    def count_taken(self, worker: Worker) -> Amounts:
        """Count again which resources the worker's attempts use, and return them."""
        taken = NOTHING
        for number in worker.held.values():
            needs = self.jobs[number].template.needs
            if needs is not None:
                taken = plus(taken, amounts_of(needs))
        for lease in (*worker.ending, *worker.retiring):
            taken = plus(taken, worker.fenced.get(lease, NOTHING))
        return taken

    def count_serving(self, worker: Worker) -> int:
        return sum(self.jobs[number].service is not None for number in worker.held.values()) + len(worker.retiring)

    def demand(self, number: int) -> LaneKey:
        job = self.jobs[number]
        return demand_in_run(job.run.id, job.template)

    def count_active(self, array: str) -> int:
        """Return the number of jobs of RUN/ARRAY that are on workers."""
        return self.active_in.get(array, 0)

    def places_left(self, demand: LaneKey) -> int:
        """Return how many more jobs of a demand may go to workers by the limit of their array."""
        if isinstance(demand, str) or not demand.most:
            return MAX_JOBS
        return max(0, demand.most - self.count_active(demand.array))

    def note_active(self, job: Job, change: int) -> None:
        """Add `change` to the jobs of the job's array that are on workers."""
        if job.template.parallel is None:
            return
        array = f"{job.run.id}/{job.template.parallel.array}"
        count = self.active_in.get(array, 0) + change
        assert count >= 0, array
        if count:
            self.active_in[array] = count
        else:
            del self.active_in[array]

    def depth(self, worker: Worker) -> int:
        """Return how many attempts may wait on the worker beyond its slots, by its recent pace.

        No attempts may wait for a slot with a service, because the slot does not become free.
        """
        s = self.in_force
        if worker.probing:
            return 0
        slots = max(0, worker.slots - worker.serving)
        if not s.prefetch or not worker.pace_s:
            return slots * s.prefetch
        return slots * max(s.prefetch, min(s.prefetch_max, int(s.prefetch_s / worker.pace_s)))

    def note_pace(self, worker: Worker, mean_s: float) -> None:
        """Update the worker's pace with the mean duration of a batch of attempts."""
        mean_s = max(mean_s, 1e-6)
        worker.pace_s = mean_s if mean_s >= worker.pace_s else 0.75 * worker.pace_s + 0.25 * mean_s
        self.pool.deepen(worker.number, self.depth(worker))

    def serve(self, worker: Worker, change: int) -> None:
        """Add `change` to the number of services on a worker."""
        worker.serving += change
        self.pool.deepen(worker.number, self.depth(worker))
        self.reload(worker)

    def add_service(self, number: int, job: Job) -> None:
        self.services.setdefault(job.run.id, {})[number] = None

    def drop_service(self, number: int, job: Job) -> None:
        """Remove a service that is over from the index."""
        live = self.services[job.run.id]
        del live[number]
        if not live:
            del self.services[job.run.id]

    def arm(self, due: float, kind: TimerKind, number: int) -> None:
        heappush(self.timers, (due, kind, number))

    def disarm(self) -> None:
        """Count a timer as void. The timer stays in the heap until it is due or the heap is
        compacted."""
        self.stale += 1
        if self.stale > STALE_TIMERS and 2 * self.stale > len(self.timers):
            self.timers[:] = [timer for timer in dict.fromkeys(self.timers) if self.is_awaited(*timer)]
            heapify(self.timers)
            self.stale = 0

    def is_awaited(self, due: float, kind: TimerKind, number: int) -> bool:
        """Return False if the timer is void."""
        if kind == TimerKind.SCHEDULE:
            schedule = self.schedules.get(self.schedule_names.get(number, ""))
            return schedule is not None and not schedule.paused and schedule.due == due
        if kind not in (TimerKind.JOB, TimerKind.RUN):
            return True
        job = self.jobs.get(number)
        if kind == TimerKind.RUN:
            return job is not None and job.run.state is RunState.RUNNING and job.run.deadline == due and not job.run.expired
        return job is not None and job.state in TIMED and job.due == due

    def await_deadline(self, run: Run) -> None:
        if run.deadline_s and run.state is RunState.RUNNING and not run.expired:
            self.arm(run.deadline, TimerKind.RUN, run.first)

    def await_schedule(self, schedule: Schedule) -> None:
        if schedule.due and not schedule.paused:
            self.arm(schedule.due, TimerKind.SCHEDULE, schedule.number)

    def watch(self, worker: Worker) -> None:
        """Ensure that the worker's deadline is among the timers.

        Heartbeats move the deadline but not the timer: `on_deadline` sets the timer again.
        """
        if not worker.watched:
            worker.watched = True
            self.arm(worker.deadline, TimerKind.WORKER, worker.number)

    def index_gate(self, number: int, job: Job) -> None:
        if job.state is JobState.PAUSED:
            self.gates[number] = None
        if job.extra is not None and job.extra.gate is not None:
            self.tokens.update(dict.fromkeys(job.extra.gate.tokens, number))

    def reindex(self) -> None:
        """Rebuild all derived indexes from jobs, runs and workers."""
        self.keys = {run.key: run.id for run in self.runs.values() if run.key and run.state is not RunState.OPENING}
        self.releasing = {}
        self.worker_numbers = {w.name: w.number for w in self.workers.values()}
        self.dead, self.lanes, self.pinned, self.touched, self.timers = {}, {}, {}, {}, []
        self.services, self.unsettled, self.active_in = {}, {}, {}
        self.tables = RunTables()
        for run in self.runs.values():
            self.tables.add(run)
        self.gates, self.tokens = {}, {}
        self._reindex_schedules()
        self.pool = Pool()
        for number, job in self.jobs.items():
            self.index_gate(number, job)
            if job.service is not None and job.state not in TERMINAL:
                self.add_service(number, job)
            if job.state in ON_WORKER:
                self.note_active(job, 1)
            if job.state is JobState.QUEUED:
                self.enqueue(number, job)
            elif job.state is JobState.WAITING:
                if not job.missing and job.run.state is RunState.RUNNING:
                    position = job.run.position(number)
                    self.releasing[job.run.id] = min(position, self.releasing.get(job.run.id, position))
            elif job.state is JobState.DEAD:
                if job.in_dlq:
                    self.dead[number] = None
            elif job.due and job.state in TIMED:
                self.arm(job.due, TimerKind.JOB, number)
        for worker in self.workers.values():
            worker.taken, worker.serving = self.count_taken(worker), self.count_serving(worker)
            self.seat(worker)
            worker.watched = False
            if worker.aside_until and not worker.probing:
                self.arm(worker.aside_until, TimerKind.ASIDE, worker.number)
            if worker.state in (WorkerState.ALIVE, WorkerState.SUSPECT):
                self.watch(worker)
            else:
                self.arm(worker.left_at + self.in_force.forget_s, TimerKind.FORGET, worker.number)

    def _reindex_schedules(self) -> None:
        self.stale, self.live, self.filling = 0, {}, {}
        self.schedule_names = {schedule.number: schedule.name for schedule in self.schedules.values()}
        self.next_schedule = max(self.schedule_names, default=0) + 1
        for run in self.runs.values():
            self.await_deadline(run)
            if run.schedule and run.state is RunState.RUNNING:
                self.live.setdefault(run.schedule, {})[run.id] = None
            elif run.schedule and run.state is RunState.OPENING:
                self.filling[run.schedule] = run.id
        for schedule in self.schedules.values():
            self.await_schedule(schedule)
