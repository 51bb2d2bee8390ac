"""Checks of all invariants of the state, against values computed from scratch. Tests and the
simulator use them; a check reads the whole state."""

from __future__ import annotations

from collections import Counter

from titan.core.apply.transitions import blocks, lacks_service, satisfies
from titan.core.handlers.schedules import MAX_WAITING, key_of
from titan.core.state.content_references import numbers_of
from titan.core.state.state import BURST_PREFIX, NO_WORKER, Job, State, TimerKind
from titan.model.dag import GATE, SERVICE, waits_for_end
from titan.model.demand import Demand, LaneKey, capabilities_of, demand_in_run, totals_of
from titan.model.files import MAX_KEYS, MAX_SHARED_KEYS, MAX_VERSIONS, has_left_all
from titan.model.states import ON_WORKER, TERMINAL, JobState, RunState, WorkerState
from titan.scheduling.lane import Lane, job_of

GATE_STATES = (JobState.WAITING, JobState.DELAYED, JobState.PAUSED, *TERMINAL)
UNRUN = (JobState.CANCELLED, JobState.SKIPPED)


def check(state: State) -> None:
    """Raise an AssertionError that names the first invariant that does not hold."""
    _check_jobs(state)
    _check_runs(state)
    _check_workers(state)
    _check_queues(state)
    _check_timers(state)
    _check_schedules(state)
    _check_scaling(state)
    _check_result_cache(state)


def _check_jobs(state: State) -> None:
    for number, job in state.jobs.items():
        where = f"{job.run.id}/{job.name}"
        missing = sum(not satisfies(state.jobs[p], job) for p in job.parents)
        assert job.missing == missing, f"{where}: {job.missing} parents missing, really {missing}"
        if job.state is JobState.WAITING and not missing and job.run.state is not RunState.OPENING:
            assert job.run.position(number) >= state.releasing.get(job.run.id, job.run.count), f"{where} waits for nothing"
        if job.attempt:
            assert missing == 0 or _went_on(state, job), f"{where} was dispatched before its parents were COMPLETED"
        for parent in job.parents:
            assert number in (state.jobs[parent].children or ()), f"{where} is unknown to its parent"
            if blocks(state.jobs[parent], job) and state.jobs[parent].template.on_failure != "continue":
                ended = job.state in TERMINAL if state.jobs[parent].service is not None else job.state in UNRUN
                assert ended, f"{where} is {job.state.name} behind a parent that never completes"
        queued = job.state in (JobState.QUEUED, JobState.DELAYED)
        assert not queued or not lacks_service(state, job), f"{where} is queued before its services are READY"
        assert (job.service is not None) == (job.template.kind == SERVICE), f"{where}: service state and kind disagree"
        if job.service is not None:
            ready = job.service.ready_at > 0
            old = job.service.old_lease
            assert not ready or old or job.state in (JobState.RUNNING, JobState.COMPLETED), f"{where} is READY and {job.state.name}"
            assert not ready or old or job.service.lease == job.lease or not job.lease, (
                f"{where} is READY, but the report is of an older attempt"
            )
            assert not old or ready, f"{where}: the service under replacement is not READY"
            assert not old or state.workers[job.service.old_worker].retiring.get(old) == number, (
                f"{where}: no worker retires its old lease {old}"
            )
            listed = number in state.services.get(job.run.id, ())
            assert listed == (job.state not in TERMINAL), f"{where} is {job.state.name}, among the services: {listed}"
        assert (job.state in ON_WORKER) == bool(job.lease), f"{where} is {job.state.name} with lease {job.lease}"
        if job.lease:
            assert state.workers[job.worker].held.get(job.lease) == number, f"{where}: its worker does not hold lease {job.lease}"
        assert job.in_dlq == (number in state.dead), f"{where} and the dead letter queue disagree"
        assert job.pin == NO_WORKER or job.state in (JobState.QUEUED, JobState.CANCELLED), f"{where} is pinned and {job.state.name}"
        assert 0 <= job.doubts < 2 * state.settings.poison_losses, f"{where}: {job.doubts} doubts"
        right = has_left_all(job.template, job.outputs) if job.state is JobState.COMPLETED else not job.outputs
        assert right, f"{where} is {job.state.name} with outputs {job.outputs}"
        assert (job.state is JobState.PAUSED) == (number in state.gates), (
            f"{where} is {job.state.name}; among the open gates: {number in state.gates}"
        )
        if job.template.kind == GATE:
            assert job.state in GATE_STATES and not job.attempt, f"{where} is a gate and {job.state.name}, attempt {job.attempt}"
        assert 0 <= job.losses <= state.settings.poison_losses, f"{where}: {job.losses} losses"
        assert job.failures <= job.template.retries + 1 or job.service is not None, f"{where}: {job.failures} failures"


def _went_on(state: State, job: Job) -> bool:
    """Return True if the job may have run although it now has an open parent: the job waits for
    the end of its parents, or a parent was retried since then, or the parent is a service that is
    no longer READY."""
    behind = [state.jobs[p] for p in job.parents if not satisfies(state.jobs[p], job)]
    went_on = all(parent.template.on_failure == "continue" or parent.service is not None for parent in behind)
    return waits_for_end(job.template) or went_on


def _check_runs(state: State) -> None:
    tallies = {run.id: [0] * len(JobState) for run in state.runs.values()}
    for job in state.jobs.values():
        tallies[job.run.id][job.state] += 1
    for run in state.runs.values():
        assert run.tally == tallies[run.id], f"run {run.id}: tally {run.tally}, really {tallies[run.id]}"
        opening = run.state is RunState.OPENING
        assert opening == (run.added >= 0), f"run {run.id} is {run.state.name} with {run.added} jobs added"
        assert sum(run.tally) == (run.added if opening else run.count), f"run {run.id}: jobs are gone"
        running = not opening and run.open > 0
        assert (run.state is RunState.RUNNING) == running, f"run {run.id} is {run.state.name} with {run.open} jobs open"
    assert state.keys == {run.key: run.id for run in state.runs.values() if run.key and run.state is not RunState.OPENING}
    assert not state.unsettled and all(state.services.values()), "services are not settled"
    grown = {run.id: {(g.by, g.key): g for g in run.grown} for run in state.runs.values() if run.grown}
    assert state.tables.growths == grown, "the index of additions by request differs from the additions of the runs"
    assert not state.archived.keys() & state.keys.keys(), "a run is both archived and in the state"
    for keys, most in ((state.published, MAX_SHARED_KEYS), *((run.published, MAX_KEYS) for run in state.runs.values())):
        assert len(keys) <= most and all(0 < len(versions) <= MAX_VERSIONS for versions in keys.values()), "published"
    tokens = {token: n for n, j in state.jobs.items() if j.extra and j.extra.gate for token in j.extra.gate.tokens}
    assert state.tokens == tokens, "the index of tokens differs from the tokens of the gates"
    assert state.opening.keys() == {run.id for run in state.runs.values() if run.state is RunState.OPENING}


def _check_workers(state: State) -> None:
    leases: Counter[int] = Counter()
    for worker in state.workers.values():
        leases.update(worker.held.keys())
        assert not worker.held.keys() & worker.ending.keys(), f"{worker.name} holds leases that it must end"
        for lease, number in worker.held.items():
            assert state.jobs[number].lease == lease, f"{worker.name} holds lease {lease}, but its job has another lease"
        if worker.state in (WorkerState.LOST, WorkerState.LEFT):
            assert not worker.held and not worker.retiring, f"{worker.name} is {worker.state.name} and holds attempts"
            assert not worker.connection, f"{worker.name} is {worker.state.name} and connected"
        seat = state.pool.seats[worker.number]
        used = worker.used
        for lease, number in worker.retiring.items():
            service = state.jobs[number].service
            assert service is not None and service.old_lease == lease, (
                f"{worker.name} retires lease {lease}, which is no old lease of a service"
            )
            assert lease not in worker.held and lease not in worker.ending, f"{worker.name} has lease {lease} twice"
        assert (seat.used, seat.slots, seat.open) == (used, worker.offered, worker.takes_work), (
            f"{worker.name}: the pool has {seat}"
        )
        assert worker.serving == state.count_serving(worker), f"{worker.name}: {worker.serving} services"
        taken = state.count_taken(worker)
        assert worker.taken == taken == seat.taken, f"{worker.name}: {worker.taken} taken, {seat.taken} in the pool, really {taken}"
        assert seat.total == totals_of(worker.facts), f"{worker.name}: the pool has {seat.total} in all"
        assert (seat.hold is not None) == (worker.number in state.pool.holds), f"{worker.name}: holds room?"
        most = worker.slots * (1 + max(state.in_force.prefetch, state.in_force.prefetch_max if state.in_force.prefetch else 0))
        assert seat.depth == state.depth(worker) or not worker.takes_work, f"{worker.name}: the pool has depth {seat.depth}"
        assert len(worker.held) - len(worker.lent) <= most, (
            f"{worker.name} holds more attempts than its slots and its prefetch allow"
        )
        assert worker.lent.keys() <= worker.held.keys(), f"{worker.name}: {worker.lent} lent of {worker.held}"
        assert worker.recalled.keys() <= worker.held.keys(), f"{worker.name} was asked to return attempts that it does not hold"
        assert (worker.number in state.pool.idle) == (seat.open and used < worker.offered), f"{worker.name}: idle?"
        assert (worker.number in state.pool.surplus) == (used > worker.offered), f"{worker.name}: surplus?"
        assert bool(worker.aside_until) >= worker.probing, f"{worker.name} is on trial and not set aside"
    assert not leases or max(leases.values()) == 1, "a lease is held twice"
    assert state.progress.keys() <= leases.keys(), "there is progress of an attempt that is over"
    assert all(lease < state.next_lease for lease in leases)
    assert state.worker_numbers == {w.name: w.number for w in state.workers.values()}


def _check_queues(state: State) -> None:
    general: Counter[LaneKey] = Counter()
    pinned: Counter[int] = Counter()
    for job in state.jobs.values():
        if job.state is JobState.QUEUED:
            if job.pin == NO_WORKER:
                general[demand_in_run(job.run.id, job.template)] += 1
            else:
                pinned[job.pin] += 1
    for demand, lane in state.lanes.items():
        assert lane.count == general[demand] == len(lane.jobs()), f"lane {demand}: {lane.count} != {general[demand]}"
        if lane.count and state.places_left(demand):
            assert state.pool.best(demand) is None, f"{demand} jobs are queued while a worker has room"
            assert not _has_room(state, demand, lane), f"{demand} jobs are queued while a worker unknown to the pool has room"
    for worker, lane in state.pinned.items():
        assert lane.count == pinned[worker] == len(lane.jobs()), f"lane of worker {worker}: {lane.count}, really {pinned[worker]}"
        if lane.count:
            first = lane.head()
            assert first is not None
            fits = state.pool.fits(worker, state.demand(job_of(first)), first)
            assert not fits, f"jobs are pinned to worker {worker}, which has room"
            assert state.workers[worker].state in (WorkerState.ALIVE, WorkerState.SUSPECT), (
                f"jobs are pinned to worker {worker}, which is gone"
            )
    active = [job for job in state.jobs.values() if job.template.parallel is not None and job.state in ON_WORKER]
    for job in active:
        demand = demand_in_run(job.run.id, job.template)
        assert isinstance(demand, Demand)
        assert state.count_active(demand.array) <= demand.most, f"more than {demand.most} jobs of {demand.array} are on workers"
    assert sum(state.active_in.values()) == len(active), f"{len(active)} jobs of arrays with a limit are on workers"
    assert set(general) <= set(state.lanes) and set(pinned) <= set(state.pinned)


def _has_room(state: State, demand: LaneKey, lane: Lane) -> bool:
    """Return True if any worker could take the first job of a lane now. Each worker is checked."""
    key = lane.head()
    assert key is not None
    for worker in state.workers.values():
        capable = all(capability in worker.capabilities for capability in capabilities_of(demand))
        if capable and state.pool.fits(worker.number, demand, key):
            return True
    return False


def _check_timers(state: State) -> None:
    jobs = {number for _, kind, number in state.timers if kind == TimerKind.JOB}
    workers = Counter(number for _, kind, number in state.timers if kind == TimerKind.WORKER)
    for number, job in state.jobs.items():
        if job.state in (JobState.DELAYED, JobState.PAUSED) or (job.state is JobState.FAILED and job.due):
            assert number in jobs, f"{job.run.id}/{job.name} is {job.state.name} and no timer will wake it"
        assert job.state is not JobState.FAILED or job.due, (
            f"{job.run.id}/{job.name} is FAILED, but no retry is planned and it is not DEAD"
        )
        if job.state in TERMINAL:
            assert not job.lease
    for worker in state.workers.values():
        assert workers[worker.number] == worker.watched, f"{worker.name}: {workers[worker.number]} timers"
        if worker.state in (WorkerState.ALIVE, WorkerState.SUSPECT):
            assert worker.watched, f"the deadline of {worker.name} has no timer"


def _check_schedules(state: State) -> None:
    armed = dict.fromkeys(timer for timer in state.timers if timer[1] in (TimerKind.RUN, TimerKind.SCHEDULE))
    live: dict[str, dict[str, None]] = {}
    filling: dict[str, str] = {}
    for run in state.runs.values():
        if run.state is RunState.RUNNING and run.deadline_s and not run.expired:
            assert (run.deadline, TimerKind.RUN, run.first) in armed, f"nothing will end run {run.id} at its deadline"
        assert not run.expired or run.open == 0, f"the deadline of run {run.id} passed and it goes on"
        if run.schedule and run.state is RunState.RUNNING:
            live.setdefault(run.schedule, {})[run.id] = None
        elif run.schedule and run.state is RunState.OPENING:
            assert filling.setdefault(run.schedule, run.id) == run.id, f"schedule {run.schedule} makes two runs at once"
    assert state.live == live and state.filling == filling, "the index of runs by schedule differs from the runs"
    assert state.schedule_names == {s.number: s.name for s in state.schedules.values()}
    for name, s in state.schedules.items():
        assert name == s.name and s.number < state.next_schedule, name
        if s.due and not s.paused:
            assert (s.due, TimerKind.SCHEDULE, s.number) in armed, f"no timer will wake schedule {name}"
        assert len(s.waiting) <= MAX_WAITING, f"schedule {name}: {len(s.waiting)} times wait"
        assert s.waiting == sorted(dict.fromkeys(s.waiting)), f"schedule {name}: the waiting times are out of order"
        assert not s.waiting or not s.due or s.waiting[-1] < s.due, (
            f"schedule {name}: a waiting time is not before the next due time"
        )
        if s.waiting and not s.paused:
            assert name in live or name in filling, f"schedule {name} has waiting times, but no run for whose end they wait"
        if name in filling:
            run = state.runs[filling[name]]
            assert s.waiting and (run.scheduled_at, run.key) == (s.waiting[0], key_of(name, s.waiting[0])), (
                f"{name} makes another run"
            )


def _check_scaling(state: State) -> None:
    assert state.pool.seats.keys() == state.workers.keys(), "the workers of the pool differ from the workers of the state"
    assert not state.workers.keys() & state.forgotten.keys(), "a worker is both in the state and forgotten"
    assert all(number < state.next_worker for number in (*state.workers, *state.forgotten))
    per_rule = Counter(burst.rule for burst in state.bursts.values())
    for rule, (_, most) in state.settings.scale.items():
        assert per_rule[rule] <= most, f"{per_rule[rule]} burst workers of {rule}; the maximum is {most}"
    for worker in state.workers.values():
        assert not worker.asked or worker.draining, f"{worker.name} was told to leave, but is not draining"
        assert not worker.name.startswith(BURST_PREFIX) or worker.name in state.bursts, f"{worker.name} has no burst record"


def _check_result_cache(state: State) -> None:
    cache = state.result_cache
    kept = list(cache.results.values())
    assert cache.memory == sum(result.memory for result in kept), "the memory of the cached results is not their sum"
    assert cache.content == sum(result.content for result in kept), "the content of the cached results is not their sum"
    for run in state.runs.values():
        reused = [job for number in numbers_of(run) if (job := state.jobs[number]).cached_from]
        assert run.reused == len(reused), f"run {run.id}: {run.reused} jobs reused a result, really {len(reused)}"
        assert all(job.state is JobState.COMPLETED for job in reused), f"run {run.id}: a job reused a result and is not COMPLETED"
