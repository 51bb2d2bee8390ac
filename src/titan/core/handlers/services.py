"""Services: a worker says that one is READY or no longer, and what follows for the jobs behind it;
and how one ends.

A READY service is to its children what a COMPLETED job is. When it is READY no longer, children
that have not been dispatched wait again, those that run are left alone. A service on which
something depends is stopped, and COMPLETED by that, when all other jobs of its run are over; one on
which nothing depends, one that says `keep`, and what these depend on, goes on until a user stops
it.
"""

from __future__ import annotations

import msgspec

from titan.core import effects as fx
from titan.core.events import events as ev
from titan.core.handlers.cancel import cancel, cancel_descendants, dismiss, end
from titan.core.handlers.ready import choose_pins, elsewhere, has_capabilities, release, unlock
from titan.core.handlers.worker_figures import due_within, passed_within, started_within
from titan.core.inputs import ServiceReplaceRequested, ServicesSeen, ServiceStopRequested
from titan.core.state.state import NO_WORKER, Job, Run, State, Worker
from titan.core.turn import Turn
from titan.errors import CallerError, Conflict, InvalidGraph, NotFound
from titan.model.backoff import backoff_delay
from titan.model.causes import Cause
from titan.model.dag import HANDLER, JobTemplate
from titan.model.demand import demand_of
from titan.model.graph import check_head
from titan.model.states import STOPPABLE, TERMINAL, JobState, Outcome, RunState
from titan.scheduling.lane import sort_key


def on_services_seen(turn: Turn, received: ServicesSeen) -> None:
    """Takes what is new of the attempts that are current. Reports are repeated with each heartbeat
    and may come late."""
    state = turn.state
    worker = state.workers[received.worker]
    fresh: dict[int, int] = {}
    for i, lease in enumerate(received.leases):
        number = worker.held.get(lease)
        service = state.jobs[number].service if number is not None else None
        if number is None or service is None or (service.lease == lease and received.serials[i] <= service.serial):
            continue
        if received.started[i] and (number not in fresh or received.serials[fresh[number]] < received.serials[i]):
            fresh[number] = i
    if not fresh:
        return
    unstarted = {number: i for number, i in fresh.items() if state.jobs[number].state is JobState.DISPATCHED}
    if unstarted:
        ats = [started_within(state.jobs[number], received.started[i], turn.now) for number, i in unstarted.items()]
        turn.emit(ev.JobsStarted(worker.number, list(unstarted), ats, turn.now))
    rows = list(fresh.values())
    replaced = [s for number, i in fresh.items() if received.ready_ats[i] and (s := state.jobs[number].service) and s.old_lease]
    stops = [(s.old_worker, s.old_lease) for s in replaced]
    turn.emit(
        ev.ServicesReported(
            worker=worker.number,
            jobs=list(fresh),
            serials=[received.serials[i] for i in rows],
            ready_ats=[passed_within(state.jobs[number], received.ready_ats[i], turn.now) for number, i in fresh.items()],
            addresses=[_address(worker, received.ports[i]) for i in rows],
            restarts=[received.restarts[i] for i in rows],
            reasons=[received.reasons[i] for i in rows],
            at=turn.now,
            next_starts=[due_within(received.next_starts[i], turn.now) for i in rows],
        )
    )
    for old_worker, lease in stops:
        turn.order(fx.SendStop(old_worker, [lease]))
    turn.runs.update({state.jobs[number].run.id: state.jobs[number].run for number in fresh})
    unlock(turn, [number for number in fresh if state.jobs[number].is_done])


def _address(worker: Worker, port: int) -> str:
    host = str(worker.facts.get("address") or worker.facts.get("host") or "127.0.0.1")
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def addresses_of(state: State, job: Job) -> tuple[tuple[str, str], ...]:
    """(id, HOST:PORT) of each service that a job depends on, as a dispatch tells it."""
    if not job.parents:
        return ()
    jobs = state.jobs
    return tuple([(p.name, p.service.address) for number in job.parents if (p := jobs[number]).service is not None])


def service_retry_at(state: State, now: float, number: int, outcome: int) -> float:
    """When an attempt of a service that its worker gave up is made again; 0 for never.

    One that could not be started (its port is taken, its program is not there) is tried at once on
    a worker that has not refused it; one whose process ended is over, as its restart policy says.
    """
    job = state.jobs[number]
    if job.service is not None and job.service.old_lease:  # what it is to replace goes on meanwhile
        return now + backoff_delay(job.failures, state.settings.backoff_base_s, state.settings.backoff_max_s)
    if outcome == Outcome.REFUSED and job.failures < job.template.retries:
        return now if elsewhere(state, job, besides=job.worker) != NO_WORKER else 0.0
    return 0.0


# -- the end of a service --------------------------------------------------------------------------
def on_service_stop_requested(turn: Turn, received: ServiceStopRequested) -> None:
    """Stopping what is over already is no error; it stops nothing.

    A service that has not begun is cancelled, and so are children of one that has, as far as they
    have not begun.
    """
    state = turn.state
    run = state.runs.get(received.run)
    if run is None or run.state is RunState.OPENING:
        _refuse(turn, received, NotFound.code, f"there is no run {received.run!r}: `titan runs` lists them")
        return
    live = state.services.get(run.id, {})
    if not received.job:
        doomed = list(live)
    else:
        number = state.find(run, received.job)
        if number is None:
            _refuse(turn, received, NotFound.code, f"run {run.id} has no job {received.job!r}")
            return
        if state.jobs[number].service is None:
            told = (
                f"{run.id}/{received.job} is no service, it ends by itself: `titan cancel {run.id}/{received.job}` makes it end now"
            )
            _refuse(turn, received, CallerError.code, told)
            return
        doomed = [number] if number in live else []
    unbegun = [number for number in doomed if not state.jobs[number].attempt]
    cancel(turn, unbegun, Cause.ASKED, f"stopped by {turn.asker} before it began")
    for number in unbegun:
        reason = f"the service {state.jobs[number].name} was stopped by {turn.asker} before it began"
        cancel_descendants(turn, number, reason, Cause.SERVICE)
    begun = [number for number in doomed if state.jobs[number].state not in TERMINAL]
    stop(turn, begun, f"stopped by {turn.asker}", by_user=True)
    for number in begun:
        service = state.jobs[number]
        behind = [child for child in service.children or () if _waits_for_it(state, child) and child not in doomed]
        reason = f"the service {service.name} was stopped by {turn.asker}"
        cancel(turn, behind, Cause.SERVICE, reason)
        for child in behind:
            cancel_descendants(turn, child, reason, Cause.SERVICE)
    turn.order(fx.ReplyServicesStopped(received.origin, received.request, len(doomed)))


def on_service_replace_requested(turn: Turn, received: ServiceReplaceRequested) -> None:
    """If some worker has room, the new attempt becomes READY before the old one is stopped; else
    the old one is stopped first.

    A fixed port needs another worker. Until the new one is READY another request replaces that, and
    the old one goes on.
    """
    state = turn.state
    run = state.runs.get(received.run)
    number = state.find(run, received.job) if run is not None and run.state is not RunState.OPENING else None
    if run is None or number is None:
        _refuse(
            turn,
            received,
            NotFound.code,
            f"there is no service {received.run[:80]}/{received.job[:128]}: `titan services` lists them",
        )
        return
    job = state.jobs[number]
    if job.service is None:
        _refuse(turn, received, CallerError.code, f"{run.id}/{job.name} is no service")
        return
    if job.state in TERMINAL:
        _refuse(turn, received, Conflict.code, f"{run.id}/{job.name} is {job.state.name}: submit it anew")
        return
    template = _template(job.template, received)
    try:
        check_head(run.name, [template], 1)
    except InvalidGraph as e:
        _refuse(turn, received, e.code, str(e))
        return
    rolling, pin = _place_beside(state, number, job)
    released: dict[int, list[int]] = {}
    if job.lease and template.affinity:
        pins, released = choose_pins(state, [number])
        pin = pins[0] if pins else NO_WORKER
    lease, args = job.lease, job.args if received.args is None else received.args
    how = "the old process goes on until the new one is READY" if rolling else "the old process is stopped first"
    reason = f"replaced by {turn.asker}{f': {how}' if lease else ''}"
    turn.emit(ev.ServiceReplaced(number, template, args, rolling, reason, turn.now, pin, turn.actor))
    for home, numbers in released.items():
        release(turn, home, numbers)
    if lease and not rolling:
        turn.order(fx.SendStop(job.worker, [lease]))
    turn.order(fx.ReplyServiceReplaced(received.origin, received.request, rolling))


def _template(old: JobTemplate, received: ServiceReplaceRequested) -> JobTemplate:
    """What is run changes; where, and with what limits, does not."""
    if not (received.file or received.file_hash or received.command or received.argv):
        return old
    return msgspec.structs.replace(
        old,
        file=received.file,
        file_hash=received.file_hash,
        command=received.command,
        argv=received.argv,
        archive="" if received.file_hash else old.archive,
        python=old.python if received.file.endswith(".py") else "",
    )


def _place_beside(state: State, number: int, job: Job) -> tuple[bool, int]:
    """Whether a new attempt can run beside the one that is READY, and the one worker that it has to
    go to, if any."""
    s, service = job.service, job.template.service
    if s is None or service is None or not s.ready_at or s.old_lease or job.state is not JobState.RUNNING or job.template.affinity:
        return False, NO_WORKER
    pool, demand, key = state.pool, demand_of(job.template), sort_key(job.template.priority, number)
    free = [
        (pool.seats[w].used / pool.seats[w].slots, w)
        for w, worker in state.workers.items()
        if worker.takes_work and pool.seats[w].used < pool.seats[w].slots and has_capabilities(worker, job.template)
        if pool.fits(w, demand, key) and (not service.port or w != job.worker)
    ]
    return bool(free), min(free)[1] if free and service.port else NO_WORKER


def _refuse(turn: Turn, received: ServiceStopRequested | ServiceReplaceRequested, code: str, text: str) -> None:
    turn.order(fx.Refuse(received.origin, received.request, code, text))


def stop(turn: Turn, services: list[int], reason: str, *, by_user: bool) -> None:
    """Services that are not over become COMPLETED, and their processes are told to end."""
    if not services:
        return
    state = turn.state
    end(turn, services, ev.ServicesStopped(services, reason, turn.now, turn.actor, by_user))
    children = [child for number in services for child in state.jobs[number].children or ()]
    idle = [n for n in dict.fromkeys(children) if (job := state.jobs[n]).state is JobState.WAITING and not job.missing]
    dismiss(turn, [n for n in idle if state.jobs[n].template.kind == HANDLER])


def stop_helpers(turn: Turn) -> None:
    """Stops the services of runs of which everything else is over, as far as they were there for
    the other jobs.

    What waits for the end of a service (its handlers, and what is behind those) may run yet: its
    services go on till that is decided, unless that is the end of the very service. If all that is
    left waits in a circle, all are stopped.
    """
    for run in list(turn.runs.values()):
        while idle := _idle_helpers(turn.state, run):  # what is left may be a circle now
            stop(turn, idle, "stopped: all jobs that needed it are over", by_user=False)


def _idle_helpers(state: State, run: Run) -> list[int]:
    live = state.services.get(run.id)
    if not live or run.state is not RunState.RUNNING:
        return []
    waiting = _waiting_for_the_end(state, list(live))
    if run.open > len(live | waiting):
        return []
    helpers = [number for number in live if number not in waiting]
    asked_for = _needed(state, [number for number in helpers if goes_on(state, state.jobs[number])])
    awaited = _needed(state, [s for number, ends in waiting.items() for s in state.jobs[number].parents if s not in ends])
    idle = [number for number in helpers if number not in asked_for and number not in awaited]
    return helpers if not idle and not asked_for else idle


def _waits_for_it(state: State, child: int) -> bool:
    """And not for its end, as a handler does."""
    return state.jobs[child].state in STOPPABLE and state.jobs[child].template.kind != HANDLER


def _waiting_for_the_end(state: State, live: list[int]) -> dict[int, dict[int, None]]:
    """The handlers of services, and what waits for those, services too -> the services whose end
    each waits for."""
    found: dict[int, dict[int, None]] = {}
    jobs = state.jobs
    stack = [(child, n) for n in live for child in jobs[n].children or () if jobs[child].template.kind == HANDLER]
    while stack:
        number, service = stack.pop()
        if jobs[number].state is JobState.WAITING and service not in found.get(number, ()):
            found.setdefault(number, {})[service] = None
            stack += [(child, service) for child in jobs[number].children or ()]
    return found


def _needed(state: State, wanted: list[int]) -> dict[int, None]:
    """These, and what those of them that are not over depend on."""
    found: dict[int, None] = {}
    stack = list(wanted)
    while stack:
        number = stack.pop()
        if number not in found:
            found[number] = None
            job = state.jobs[number]
            if job.template.kind != HANDLER and job.state not in TERMINAL:
                stack += job.parents
    return found


def goes_on(state: State, job: Job) -> bool:
    """Whether a service runs until a user stops it."""
    helps = any(state.jobs[child].template.kind != HANDLER for child in job.children or ())
    return job.template.service is None or job.template.service.keep or not helps
