"""Everything the master knows: jobs, runs, workers, and the indexes over them.

Only `apply` writes here. The jobs, runs and workers are the truth and are what a snapshot holds;
lanes, pool, timers and lookups are derived from them and can be built anew by `reindex`. Jobs are
integers inside the core; their names live at the border. Numbers of jobs and leases are `term << 32
| counter`, so a number is never given out twice, also when a lax sync policy lost the tail of the
log; `fencing` sees to homes that were restored.
"""

from __future__ import annotations

from enum import IntEnum
from heapq import heapify, heappush

import msgspec

from titan.core.state.burst_worker import Burst
from titan.core.state.run import Growth as Growth
from titan.core.state.run import Opening as Opening
from titan.core.state.run import Run as Run
from titan.core.state.run_lookups import RunTables
from titan.core.state.service import ServiceState
from titan.model.causes import Cause
from titan.model.dag import DagSpec, JobTemplate
from titan.model.demand import NOTHING, Amounts, LaneKey, amounts_of, demand_of, plus, totals_of
from titan.model.files import Published, StoredFile
from titan.model.settings import LoggedSettings, Settings
from titan.model.states import TERMINAL, JobState, Outcome, RunState, WorkerState
from titan.model.timing import Timing
from titan.scheduling.lane import Lane
from titan.scheduling.place import Terms
from titan.scheduling.pool import Pool
from titan.store.store import Store

STALE_TIMERS = 1000
"""So many timers that nobody waits for any more may be in the heap; beyond that, and half of it,
they are taken out."""
NO_WORKER = -1
LEAVE, LEAVE_NOW = 1, 2
BURST_PREFIX = "burst-"
"""Of the names of burst workers, and of no others."""
HISTORY_LIMIT = 64
TOKENS_LIMIT = 16
"""Tokens of a gate that are good, the newest: each start of a master draws one while its webhook is
not told."""
TIMED = (JobState.DELAYED, JobState.FAILED, JobState.PAUSED)
"""States that end by themselves when a job's time has come."""
FORGOTTEN_LIMIT = 50_000
"""Forgotten workers whose names are still known, for jobs that ran on them."""
FENCED_LIMIT = 256
ARCHIVED_LIMIT = 50_000
"""Archived runs whose submission keys are still known."""


class SavedPipeline(msgspec.Struct, frozen=True):
    """A DAG that is run by its name."""

    name: str
    dag: DagSpec
    saved_at: float


class Schedule(msgspec.Struct):
    """What makes a run of a DAG at each time of a timing."""

    name: str
    number: int
    key: str
    dag: DagSpec
    """Without its parents."""
    parents: list[tuple[int, ...]]
    """Of each job, as positions."""
    timing: Timing
    overlap: str
    """What becomes of a time that comes while a run of the schedule is open: "skip", "queue" or
    "replace"."""
    catch_up: str
    """What becomes of the times at which nobody was there: "skip", "last" or "all"."""
    added_at: float
    paused: bool = False
    due: float = 0.0
    """The next nominal time, the first that was not decided yet; 0 if there is none."""
    waiting: list[float] = msgspec.field(default_factory=list)
    """Nominal times whose runs are made, one after the other, when no other run of it is open."""
    fired: int = 0
    skipped: int = 0
    """Times given up because a run was open, or too many waited."""
    missed: int = 0
    """Times given up because nobody was there; at least so many."""
    last_at: float = 0.0
    """The nominal time of its newest run."""
    last_run: str = ""
    changed_at: float = 0.0


class TimerKind(IntEnum):
    """Kinds of timer. Of those that are due at once the lower number goes first."""

    JOB = 0
    WORKER = 1
    RUN = 8
    SCHEDULE = 9
    SCALE = 20
    FORGET = 21
    ASIDE = 22


class Past(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What became of an earlier attempt, or another turn in a job's life that its fields no longer
    tell."""

    at: float
    attempt: int
    worker: int
    outcome: int
    """An Outcome, or -1 for a note."""
    exit_code: int
    reason: str
    released: bool = False
    """Its affinity was released, and nothing else."""


class GateFacts(msgspec.Struct, array_like=True, gc=False):
    """A gate since it opened. Times are seconds since the epoch."""

    opened_at: float
    expires_at: float
    tokens: list[bytes] = []
    """SHA-256 of each token that was given out for it, the newest last."""
    webhook: str = ""
    """"" has none or is not told yet; "delivered", or why it was given up."""
    decided_at: float = 0.0
    approved: bool = False
    by: str = ""
    comment: str = ""
    key: str = ""
    """The request under which it was decided: said again, the answer is the same."""


class Extra(msgspec.Struct, array_like=True, gc=False):
    """What few jobs have."""

    doubts: int = 0
    """Workers that were lost while they may have run it: it was first in line there, and no start
    was reported."""
    purged: bool = False
    """DEAD, and taken off the dead letter queue."""
    gate: GateFacts | None = None
    status: str = ""
    """What the newest attempt says of itself."""
    outputs: tuple[StoredFile, ...] = ()
    """COMPLETED: the files that it left."""
    breaks: int = 0
    """Attempts that its workers broke, through no fault of its own."""
    broken_on: tuple[int, ...] = ()
    """Those workers, the newest last."""
    lost: str = ""
    """Why output of its newest attempt that ended is lost."""


class Job(msgspec.Struct, gc=False):
    """A node of a run. Times are seconds since the epoch, 0 while they have not come."""

    name: str
    run: Run
    template: JobTemplate
    args: tuple[str, ...]
    parents: tuple[int, ...]
    missing: int
    """Parents whose end it still waits for: see `moves.satisfies`."""
    state: JobState = JobState.WAITING
    children: list[int] | None = None
    since: float = 0.0
    """When it entered its present state."""
    due: float = 0.0
    """DELAYED, FAILED: when it is to be queued. PAUSED: when it is rejected."""
    attempt: int = 0
    failures: int = 0
    losses: int = 0
    """Workers that were lost while they ran it."""
    worker: int = NO_WORKER
    lease: int = 0
    pin: int = NO_WORKER
    """QUEUED with affinity: the only worker that may take it."""
    started_at: float = 0.0
    finished_at: float = 0.0
    outcome: Outcome = Outcome.SUCCEEDED
    exit_code: int = -1
    cpu_s: float = 0.0
    peak_bytes: int = 0
    reason: str = ""
    cause: Cause = Cause.NONE
    """CANCELLED: why."""
    history: list[Past] | None = None
    payload: bytes = b""
    """Of a call: its pickled arguments."""
    value: bytes = b""
    """Of a call: what it returned or raised, opaque here."""
    service: ServiceState | None = None
    """Of a service, else None."""
    extra: Extra | None = None

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
        """Keep why output of the attempt that just ended is lost; "" if all of it is there."""
        if why or self.lost:
            self.extra = self.extra or Extra()
            self.extra.lost = why

    @property
    def status(self) -> str:
        return self.extra.status if self.extra is not None else ""

    def add_doubts(self, count: int) -> None:
        self.extra = self.extra or Extra()
        self.extra.doubts += count

    @property
    def is_done(self) -> bool:
        """As far as its children are concerned."""
        return self.state is JobState.COMPLETED or (self.service is not None and self.service.ready_at > 0)

    def note(self, past: Past) -> None:
        if self.history is None:
            self.history = []
        elif len(self.history) >= HISTORY_LIMIT:
            del self.history[0]
        self.history.append(past)


class Worker(msgspec.Struct):
    """A node that registered. Its number outlives its processes: it stands for the name."""

    number: int
    name: str
    incarnation: str
    """Names one process of the worker; see `workers._is_older` for their order."""
    capabilities: tuple[str, ...]
    slots: int
    facts: dict[str, str | int | float]
    joined_at: float
    state: WorkerState = WorkerState.ALIVE
    draining: bool = False
    left_at: float = 0.0
    held: dict[int, int] = msgspec.field(default_factory=dict)
    """lease -> job: the attempts that it should have."""
    ending: dict[int, None] = msgspec.field(default_factory=dict)
    """Leases of fenced attempts whose processes may still be there; each takes a slot until the
    worker says it is gone."""
    blamed: dict[int, None] = msgspec.field(default_factory=dict)
    """Jobs whose `losses` count this worker's loss; taken back if the same process returns."""
    doubted: dict[int, None] = msgspec.field(default_factory=dict)
    """Jobs whose `doubts` count this worker's loss; taken back likewise."""
    recalled: dict[int, None] = msgspec.field(default_factory=dict)
    """Leases that it was asked to hand back unstarted. Not durable."""
    connection: int = 0
    """The connection it speaks on, 0 for none. Not durable."""
    heard_at: float = 0.0
    """Not durable."""
    deadline: float = 0.0
    """When it is LOST if nothing is heard. Not durable."""
    watched: bool = False
    """Whether its deadline is among the timers. Not durable."""
    retiring: dict[int, int] = msgspec.field(default_factory=dict)
    """lease -> service: attempts that are READY while another one, that replaces them, is not yet.
    """
    pace_s: float = 0.0
    """How long an attempt took here of late, 0 for not known. Slow ones count at once, quick ones
    by and by."""
    serving: int = 0
    """Services among those in `held` and `retiring`."""
    taken: Amounts = NOTHING
    """What its attempts take up: those that it should have, and those in `ending` and `retiring`.
    """
    fenced: dict[int, Amounts] = msgspec.field(default_factory=dict)
    """What attempts that were taken from it last would take up if they were still there."""
    asked: int = 0
    """It was told to leave: LEAVE, or LEAVE_NOW."""
    told_by: str = ""
    """Who told it."""
    idle_since: float = 0.0
    """When it last had an attempt, or joined."""
    breaks: int = 0
    """Reports of broken attempts since one last ran to its end here."""
    aside_until: float = 0.0
    """It is set aside: until then, and on trial after it, until an attempt has run to its end. 0:
    it is not."""
    aside_reason: str = ""
    aside_times: int = 0
    """How often in a row."""
    probing: bool = False
    """Its time aside is over: it gets one attempt at a time."""
    lent: dict[int, bool] = msgspec.field(default_factory=dict)
    """Leases in `held` of calls that wait for other calls (True: their slots are free) or did once.
    Not durable."""

    @property
    def offered(self) -> int:
        """Slots that it has for work now."""
        return 1 if self.probing else self.slots

    def recover(self) -> None:
        self.breaks = self.aside_times = 0
        self.aside_until, self.aside_reason, self.probing = 0.0, "", False

    @property
    def used(self) -> int:
        """Slots that are, or may be, taken."""
        taken = len(self.held) + len(self.ending) + len(self.retiring)
        return taken - sum(self.lent.values()) if self.lent else taken

    @property
    def takes_work(self) -> bool:
        there = self.state is WorkerState.ALIVE and not self.draining and self.connection != 0
        return there and (not self.aside_until or self.probing)


class State:
    __slots__ = (
        "archived", "burst_serial", "bursts", "cluster", "dead", "decided_at", "draws", "filling", "forgotten", "gates",
        "heard_term", "in_force", "jobs", "keys", "lanes", "live", "logged", "next_job", "next_lease", "next_schedule",
        "next_worker", "notices", "opening", "pinned", "pool", "progress", "published", "releasing", "runs", "saved",
        "scale_changed", "scale_due", "scale_reasons", "scale_waiting", "schedule_names", "schedules", "services",
        "settings", "stale", "store", "store_is_live", "tables", "term", "terms", "timers", "tokens", "touched",
        "unsettled", "worker_numbers", "workers",
    )  # fmt: skip

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = settings or Settings()
        """Of this process: what decisions read. `apply` reads `in_force` alone."""
        self.logged: LoggedSettings | None = None
        """What the log says is in force; None: an older Titan wrote it."""
        self.in_force = LoggedSettings.of(self.settings)
        """`logged`, or else what is set today."""
        self.cluster = ""
        self.decided_at = 0.0
        """When the last durable event was decided, in seconds since the epoch; 0: none says."""
        self.term = 0
        self.draws: dict[int, str] = {}
        """Term -> the random id of the start that began it, of the terms of which somebody may hold
        a lease."""
        self.heard_term = 0
        """The latest term of another past than this home's that a worker proved: see `fencing`."""
        self.notices: list[tuple[float, str]] = []
        """What operators are to be told of this home, and since when; the newest last."""
        self.next_job = 1
        self.next_lease = 1
        self.jobs: dict[int, Job] = {}
        self.runs: dict[str, Run] = {}
        self.workers: dict[int, Worker] = {}
        self.schedules: dict[str, Schedule] = {}
        self.next_worker = 1
        self.bursts: dict[str, Burst] = {}
        self.forgotten: dict[int, str] = {}
        """Number -> name of workers that are no more, as far as jobs may refer to them."""
        self.saved: dict[str, SavedPipeline] = {}
        self.store = Store()
        self.published: dict[str, list[Published]] = {}
        """Key -> what was published under it for all, the newest last."""
        # Of this process of the master alone:
        self.store_is_live = False
        """Commands are executed on the store here: what an event says of it has been done when the
        event is applied."""
        self.progress: dict[int, tuple[float, str]] = {}
        """Lease -> how far that attempt says it is (-1: not known), and its words."""
        self.burst_serial = 0
        self.scale_due = 0.0
        self.scale_reasons: dict[str, tuple[float, str]] = {}
        """Rule -> when it was last looked at, and what was decided."""
        self.scale_changed: dict[str, float] = {}
        """Rule -> when the number of its workers was last changed."""
        self.scale_waiting: dict[str, float] = {}
        """Rule -> since when jobs have waited at every look."""
        # Derived:
        self.keys: dict[str, str] = {}
        self.worker_numbers: dict[str, int] = {}
        self.dead: dict[int, None] = {}
        self.gates: dict[int, None] = {}
        """Those that are PAUSED."""
        self.tokens: dict[bytes, int] = {}
        """SHA-256 of a token -> its gate, decided or not."""
        self.lanes: dict[LaneKey, Lane] = {}
        self.pinned: dict[int, Lane] = {}
        self.touched: dict[int, None] = {}
        """Workers whose pinned jobs or room changed since the last placement."""
        self.pool = Pool()
        self.terms = Terms(self.demand, 0.0, self.settings.hold_s)
        self.timers: list[tuple[float, TimerKind, int]] = []
        self.stale = 0
        """About how many of the timers nobody waits for any more."""
        self.schedule_names: dict[int, str] = {}
        self.next_schedule = 1
        self.live: dict[str, dict[str, None]] = {}
        """By schedule, the runs it made that are RUNNING."""
        self.filling: dict[str, str] = {}
        """By schedule, the run whose jobs it brings in parts. Not durable: a restart begins again.
        """
        self.archived: dict[str, tuple[str, int]] = {}
        """Submission key -> (run, jobs) of the runs that were archived last: a submission that is
        repeated finds its run."""
        self.releasing: dict[str, int] = {}
        """Runs some of whose jobs may be without open parents and still WAITING -> the position
        from which on."""
        self.opening: dict[str, Opening] = {}
        """By run. Its `ids` are of use while parts come in, and not built anew."""
        self.services: dict[str, dict[int, None]] = {}
        """Run -> its services that are not over."""
        self.unsettled: dict[int, None] = {}
        """Jobs of which a service that they depend on is no longer READY: `hold` looks at them
        before the next placement."""
        self.tables = RunTables()

    # -- reading -----------------------------------------------------------------------------------
    def find(self, run: Run, name: str) -> int | None:
        """The number of a job by its name."""
        return self.tables.number_of(self.jobs, run, name)

    def worker_name(self, number: int) -> str:
        """Of any worker that a job refers to, also one that is forgotten."""
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
        """Puts a QUEUED job into the lane of its demand, or of the worker it is pinned to."""
        if job.pin == NO_WORKER:
            template = job.template
            demand = template.requirement if template.needs is None else demand_of(template)
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
        """A job stops being QUEUED where it was; the lane drops its entry when it comes to it."""
        if job.pin != NO_WORKER:
            lane = self.pinned[job.pin]
            self.touched[job.pin] = None  # those behind it may fit where it did not
        else:
            template = job.template
            demand = template.requirement if template.needs is None else demand_of(template)
            lane = self.lanes[demand]
            if lane.count == 1 and not isinstance(demand, str):  # there may be no end of these
                del self.lanes[demand]
                self.pool.forget(demand)
        lane.count -= 1
        assert lane.count >= 0, job.name

    def seat(self, worker: Worker) -> None:
        """Tells the pool all about a worker."""
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
        """Tells the pool that a worker's load changed."""
        self.pool.use(worker.number, worker.used, worker.taken)
        if worker.number in self.pinned:
            self.touched[worker.number] = None

    def count_taken(self, worker: Worker) -> Amounts:
        """What the worker's attempts take up, counted anew."""
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
        return demand_of(self.jobs[number].template)

    def depth(self, worker: Worker) -> int:
        """How many attempts may wait on the worker beyond its slots: as many as it gets through in
        a moment.

        None behind a service, whose slot does not become free.
        """
        s = self.in_force
        if worker.probing:
            return 0
        slots = max(0, worker.slots - worker.serving)
        if not s.prefetch or not worker.pace_s:
            return slots * s.prefetch
        return slots * max(s.prefetch, min(s.prefetch_max, int(s.prefetch_s / worker.pace_s)))

    def note_pace(self, worker: Worker, mean_s: float) -> None:
        """The attempts of a batch took so long in the mean."""
        mean_s = max(mean_s, 1e-6)
        worker.pace_s = mean_s if mean_s >= worker.pace_s else 0.75 * worker.pace_s + 0.25 * mean_s
        self.pool.deepen(worker.number, self.depth(worker))

    def serve(self, worker: Worker, change: int) -> None:
        """A worker has a service more or less in its slots."""
        worker.serving += change
        self.pool.deepen(worker.number, self.depth(worker))
        self.reload(worker)

    def add_service(self, number: int, job: Job) -> None:
        self.services.setdefault(job.run.id, {})[number] = None

    def drop_service(self, number: int, job: Job) -> None:
        """It is over."""
        live = self.services[job.run.id]
        del live[number]
        if not live:
            del self.services[job.run.id]

    def arm(self, due: float, kind: TimerKind, number: int) -> None:
        heappush(self.timers, (due, kind, number))

    def disarm(self) -> None:
        """A timer is needed no more. It stays in the heap until it is due, or until there are too
        many like it."""
        self.stale += 1
        if self.stale > STALE_TIMERS and 2 * self.stale > len(self.timers):
            self.timers[:] = [timer for timer in dict.fromkeys(self.timers) if self.is_awaited(*timer)]
            heapify(self.timers)
            self.stale = 0

    def is_awaited(self, due: float, kind: TimerKind, number: int) -> bool:
        """Whether that timer would find something to do, as things are."""
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
        """Sees to it that the worker's deadline is among the timers; one entry serves it, however
        often it is heard."""
        if not worker.watched:
            worker.watched = True
            self.arm(worker.deadline, TimerKind.WORKER, worker.number)

    def index_gate(self, number: int, job: Job) -> None:
        if job.state is JobState.PAUSED:
            self.gates[number] = None
        if job.extra is not None and job.extra.gate is not None:
            self.tokens.update(dict.fromkeys(job.extra.gate.tokens, number))

    def reindex(self) -> None:
        """Builds all that is derived anew from jobs, runs and workers."""
        self.keys = {run.key: run.id for run in self.runs.values() if run.key and run.state is not RunState.OPENING}
        self.releasing = {}
        self.worker_numbers = {w.name: w.number for w in self.workers.values()}
        self.dead, self.lanes, self.pinned, self.touched, self.timers = {}, {}, {}, {}, []
        self.services, self.unsettled = {}, {}
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
