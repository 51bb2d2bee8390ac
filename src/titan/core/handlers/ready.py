"""Jobs whose parents are done. Such a job is delayed, or queued for any capable worker, or queued
for the one worker that its affinity names."""

from __future__ import annotations

from collections.abc import Sequence

from titan.core import effects as fx
from titan.core.apply.transitions import lacks_service
from titan.core.events import events as ev
from titan.core.state.state import NO_WORKER, Job, State, Worker
from titan.core.turn import Turn
from titan.model.dag import GATE, HANDLER, JobTemplate
from titan.model.demand import amounts_of, totals_of, within
from titan.model.states import JobState, RunState, WorkerState


def make_ready(turn: Turn, jobs: Sequence[int]) -> None:
    """Move WAITING jobs without a condition to DELAYED or QUEUED, and open gates."""
    admit(turn, without_conditions(turn, jobs))


def without_conditions(turn: Turn, jobs: Sequence[int]) -> Sequence[int]:
    """Return the jobs without a condition. The others stay WAITING for `settle_conditions`, in the
    same turn."""
    entries = turn.state.jobs
    conditional = [number for number in jobs if entries[number].template.condition]
    if not conditional:
        return jobs
    turn.conditional.update(dict.fromkeys(conditional))
    return [number for number in jobs if not entries[number].template.condition]


def admit(turn: Turn, jobs: Sequence[int]) -> None:
    """Move WAITING jobs to DELAYED or QUEUED, and open gates. Their conditions are true."""
    at_once, later, until, gates = [], [], [], []
    for number in jobs:
        template = turn.state.jobs[number].template
        due = max(turn.now + template.delay_s, template.run_at)
        if due > turn.now:
            later.append(number)
            until.append(due)
        elif template.kind == GATE:
            gates.append(number)
        else:
            at_once.append(number)
    if later:
        turn.emit(ev.JobsDelayed(later, until, turn.now))
    open_gates(turn, gates)
    queue(turn, at_once)


def release_roots(turn: Turn) -> None:
    """Make the jobs of new or grown runs that have no open parents ready. Each turn handles a slice
    of each run, so that a large run does not delay others."""
    state = turn.state
    for run_id, begin in list(state.releasing.items()):
        run = state.runs[run_id]
        end = min(begin + state.settings.release_slice, run.count)
        if run.state is RunState.RUNNING:
            jobs = state.jobs
            make_ready(
                turn,
                [n for n in run.numbers(begin, end) if not jobs[n].missing and jobs[n].state is JobState.WAITING],
            )
        turn.emit(ev.RootsReleased(run_id, end))


def open_gates(turn: Turn, gates: list[int]) -> None:
    """Open WAITING or DELAYED gates whose time has come. They then wait for a decision."""
    if not gates:
        return
    jobs = turn.state.jobs
    until = [turn.now + (gate.max_wait_s if (gate := jobs[number].template.gate) is not None else 0.0) for number in gates]
    turn.emit(ev.GatesOpened(gates, until, turn.now))
    for number in gates:
        gate = jobs[number].template.gate
        if gate is not None and gate.webhook:
            turn.order(fx.AnnounceGate(number))


def unlock(turn: Turn, completed: Sequence[int]) -> list[int]:
    """Make the children of COMPLETED jobs ready if they have no other open parents. Return the
    handlers that are not needed."""
    jobs = turn.state.jobs
    ready: dict[int, None] = {}
    unneeded: dict[int, None] = {}
    for number in completed:
        for child in jobs[number].children or ():
            entry = jobs[child]
            if entry.missing == 0 and entry.state is JobState.WAITING:
                (unneeded if entry.template.kind == HANDLER else ready)[child] = None
    if ready:
        make_ready(turn, list(ready))
    return list(unneeded)


def queue(turn: Turn, jobs: Sequence[int]) -> None:
    """Queue WAITING, DELAYED or FAILED jobs whose time has come."""
    held = [number for number in jobs if lacks_service(turn.state, turn.state.jobs[number])]
    if held:
        turn.emit(ev.JobsHeld(held, turn.now))
        jobs = [number for number in jobs if number not in held]
    if not jobs:
        return
    pins, released = choose_pins(turn.state, jobs)
    turn.emit(ev.JobsQueued(list(jobs), turn.now, pins))
    entries = turn.state.jobs
    turn.queued += [n for n in jobs if (t := entries[n].template).inputs or t.cache is not None or t.fills_results]
    for worker, numbers in released.items():
        release(turn, worker, numbers)


def choose_pins(state: State, jobs: Sequence[int]) -> tuple[list[int], dict[int, list[int]]]:
    """Return the pin of each job, and the jobs whose affinity cannot be kept, by worker.

    A pin is the only worker that may take a job. The list of pins is empty if no job is pinned.
    """
    pins: list[int] = []
    released: dict[int, list[int]] = {}
    for number in jobs:
        job = state.jobs[number]
        pin = NO_WORKER
        if job.template.affinity and job.parents:
            pin = state.jobs[_first_parent(state, job)].worker
            if pin != NO_WORKER and not can_keep(state, pin, job.template):
                released.setdefault(pin, []).append(number)
                pin = NO_WORKER
        elif job.service is not None and job.service.refused_by:
            pin = elsewhere(state, job)
        elif job.extra is not None and job.extra.broken_on and job.template.parallel is None:
            pin = unbroken(state, job)
        pins.append(pin)
    return (pins if any(pin != NO_WORKER for pin in pins) else []), released


def _first_parent(state: State, job: Job) -> int:
    """Return the job to whose worker an affinity binds: the first parent. If that parent is a gate,
    which runs on no worker, take the gate's own first parent, and so on."""
    number = job.parents[0]
    while (parent := state.jobs[number]).template.kind == GATE and parent.parents:
        number = parent.parents[0]
    return number


def rebind(turn: Turn, moved: Sequence[int]) -> bool:
    """Choose a new pin for QUEUED jobs whose affinity names one of the jobs `moved`. The jobs
    `moved` were dispatched to another worker than before.

    A retried job, or a replaced service, can have such children. The children must run on the node
    of their parent's newest attempt. Return True if any child was pinned or released.
    """
    state = turn.state
    below = [child for number in moved for child in state.jobs[number].children or ()]
    found: dict[int, None] = {}
    while below:
        number = below.pop()
        job = state.jobs[number]
        if job.template.kind == GATE:
            below += job.children or ()
        elif job.state is JobState.QUEUED and job.template.affinity and _first_parent(state, job) in moved:
            found[number] = None
    jobs = sorted(found)
    pins, released = choose_pins(state, jobs)
    pairs = zip(jobs, pins, strict=True) if pins else ()
    bound = {number: pin for number, pin in pairs if pin not in (NO_WORKER, state.jobs[number].pin)}
    if bound:
        turn.emit(ev.JobsBound(list(bound), list(bound.values()), turn.now))
    for worker, numbers in released.items():
        release(turn, worker, numbers)
    return bool(bound or released)


def elsewhere(state: State, job: Job, *, besides: int = NO_WORKER) -> int:
    """Return the least loaded worker that can run a service, has not refused the service, and is
    not the worker `besides`; NO_WORKER if no worker qualifies."""
    refused, seats = (*job.service.refused_by, besides) if job.service is not None else (), state.pool.seats
    fit = [
        (seats[number].used / seats[number].slots, number)
        for number in state.workers
        if number not in refused and can_keep(state, number, job.template)
    ]
    return min(fit)[1] if fit else NO_WORKER


def unbroken(state: State, job: Job) -> int:
    """Return the least loaded worker that can take a job and has broken none of its recent
    attempts; NO_WORKER if no worker qualifies."""
    broken = job.extra.broken_on if job.extra is not None else ()
    fit = [
        (worker.used / worker.slots, number)
        for number, worker in state.workers.items()
        if number not in broken and worker.takes_work and not worker.aside_until and can_keep(state, number, job.template)
    ]
    return min(fit)[1] if fit else NO_WORKER


def hold(turn: Turn) -> None:
    """Move queued and delayed jobs back to WAITING if a service that they depend on is no longer
    READY."""
    state = turn.state
    if not state.unsettled:
        return
    entries = [(number, state.jobs.get(number)) for number in state.unsettled]
    state.unsettled.clear()
    held = [
        n
        for n, job in entries
        if job is not None and job.state in (JobState.QUEUED, JobState.DELAYED) and lacks_service(state, job)
    ]
    if held:
        turn.emit(ev.JobsHeld(held, turn.now))


def release(turn: Turn, worker: int, jobs: list[int]) -> None:
    """Release the affinity of jobs to `worker`, and record the reason in their history."""
    if jobs:
        state, entry = turn.state, turn.state.workers.get(worker)
        if entry is None:
            reason = "is gone"
        elif entry.state in (WorkerState.LOST, WorkerState.LEFT) or entry.draining:
            reason = f"is {'draining' if entry.draining else entry.state.name}"
        elif all(has_capabilities(entry, state.jobs[number].template) for number in jobs):
            reason = "has less than it asks for"
        else:
            reason = "lacks the capability"
        name = state.worker_name(worker)
        turn.emit(ev.JobsReleased(jobs, worker, f"affinity released: worker {name}, where its parent ran, {reason}", turn.now))


def can_keep(state: State, worker: int, template: JobTemplate) -> bool:
    """Return True if a worker can run jobs of a template, now or once it has free capacity."""
    entry = state.workers.get(worker)
    if entry is None:
        return False
    is_present = entry.state in (WorkerState.ALIVE, WorkerState.SUSPECT) and not entry.draining
    return is_present and has_capabilities(entry, template) and has_enough(entry, template)


def has_capabilities(worker: Worker, template: JobTemplate) -> bool:
    needs = template.needs
    return template.requirement in worker.capabilities and (
        needs is None or all(capability in worker.capabilities for capability in needs.capabilities)
    )


def has_enough(worker: Worker, template: JobTemplate) -> bool:
    """Return True if the worker's total of each resource is enough."""
    return template.needs is None or within(amounts_of(template.needs), totals_of(worker.facts))
