"""Services: reports of their readiness, the effect on dependents, and their end.

For its children, a READY service counts like a COMPLETED job. When the service is no longer READY,
children that have not been dispatched wait again; running children continue.

A service on which other jobs depend is stopped when all other jobs of its run are over, and is then
COMPLETED. These services continue until a user stops them:

- a service on which no job depends
- a service with `keep`
- the services on which one of these depends
"""

from __future__ import annotations

import msgspec

from titan.core import effects as fx
from titan.core.events import events as ev
from titan.core.handlers.cancel import cancel, cancel_descendants, dismiss, end
from titan.core.handlers.ready import choose_pins, elsewhere, has_capabilities, make_ready, release, unlock
from titan.core.handlers.sick_workers import note_sound
from titan.core.handlers.worker_figures import due_within, passed_within, started_within
from titan.core.inputs import ServiceReplaceRequested, ServicesSeen, ServiceStopRequested
from titan.core.state.state import NO_WORKER, Job, Run, State, Worker
from titan.core.turn import Turn
from titan.errors import CallerError, Conflict, InvalidGraph, NotFound
from titan.model.backoff import backoff_delay
from titan.model.causes import Cause
from titan.model.dag import HANDLER, JobTemplate, waits_for_end
from titan.model.demand import demand_of
from titan.model.graph import check_head
from titan.model.names import shell_word
from titan.model.states import STOPPABLE, TERMINAL, JobState, Outcome, RunState
from titan.scheduling.lane import sort_key


def on_services_seen(turn: Turn, received: ServicesSeen) -> None:
    """Record new reports of current attempts. Workers repeat reports with each heartbeat, and a
    report may arrive late."""
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
    if worker.probing and any(received.ready_ats[i] for i in rows):
        note_sound(turn, worker.number)
    for old_worker, lease in stops:
        turn.order(fx.SendStop(old_worker, [lease]))
    turn.runs.update({state.jobs[number].run.id: state.jobs[number].run for number in fresh})
    unlock(turn, [number for number in fresh if state.jobs[number].is_done])


def _address(worker: Worker, port: int) -> str:
    host = str(worker.facts.get("address") or worker.facts.get("host") or "127.0.0.1")
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def addresses_of(state: State, job: Job) -> tuple[tuple[str, str], ...]:
    """Return (id, HOST:PORT) of each service that a job depends on, for its dispatch."""
    if not job.parents:
        return ()
    jobs = state.jobs
    return tuple([(p.name, p.service.address) for number in job.parents if (p := jobs[number]).service is not None])


def service_retry_at(state: State, now: float, number: int, outcome: int) -> float:
    """Return the time of the next attempt of a service whose attempt ended; 0 for none.

    A service that could not be started (its port is in use, its program is missing) is retried at
    once on a worker that has not refused the service. A service whose process ended gets no further
    attempt, because its worker has already applied the restart policy.
    """
    job = state.jobs[number]
    if job.service is not None and job.service.old_lease:  # the old attempt continues meanwhile
        return now + backoff_delay(job.failures, state.settings.backoff_base_s, state.settings.backoff_max_s)
    if outcome == Outcome.REFUSED and job.failures < job.template.retries:
        return now if elsewhere(state, job, besides=job.worker) != NO_WORKER else 0.0
    return 0.0


# -- the end of a service --------------------------------------------------------------------------
def on_service_stop_requested(turn: Turn, received: ServiceStopRequested) -> None:
    """Stop a service, or all services of a run. A service that is over stays as it is, without an
    error.

    A service that has not begun is cancelled. Children of a stopped service that have not begun are
    cancelled too.
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
            target = f"{run.id}/{received.job}"
            text = f"{target} is not a service and ends by itself: `titan cancel {shell_word(target)}` ends it now"
            _refuse(turn, received, CallerError.code, text)
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
        behind = [child for child in service.children or () if _waits_until_ready(state, child) and child not in doomed]
        reason = f"the service {service.name} was stopped by {turn.asker}"
        cancel(turn, behind, Cause.SERVICE, reason)
        for child in behind:
            cancel_descendants(turn, child, reason, Cause.SERVICE)
    turn.order(fx.ReplyServicesStopped(received.origin, received.request, len(doomed)))


def on_service_replace_requested(turn: Turn, received: ServiceReplaceRequested) -> None:
    """Replace a service. If a worker has room for the new attempt, the old attempt is stopped only
    when the new one is READY (a rolling replacement). Otherwise the old attempt is stopped first.

    A rolling replacement of a service with a fixed port needs another worker. If a second request
    comes before the new attempt is READY, the new attempt is replaced, and the old one continues.
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
        _refuse(turn, received, CallerError.code, f"{run.id}/{job.name} is not a service: `titan services` lists them")
        return
    if job.state in TERMINAL:
        _refuse(turn, received, Conflict.code, f"{run.id}/{job.name} is {job.state.name}: submit it again")
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
    """Return the template of the replacement. The program changes; placement and limits do not."""
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
    """Return whether a new attempt can run beside the READY attempt, and the pin of the new attempt
    (NO_WORKER for none)."""
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
    """Stop services that are not over: they become COMPLETED, and their workers are told to stop
    the processes."""
    if not services:
        return
    state = turn.state
    end(turn, services, ev.ServicesStopped(services, reason, turn.now, turn.actor, by_user))
    children = [child for number in services for child in state.jobs[number].children or ()]
    idle = [n for n in dict.fromkeys(children) if (job := state.jobs[n]).state is JobState.WAITING and not job.missing]
    dismiss(turn, [n for n in idle if state.jobs[n].template.kind == HANDLER])
    make_ready(turn, [n for n in idle if state.jobs[n].template.when and state.jobs[n].state is JobState.WAITING])


def stop_helpers(turn: Turn) -> None:
    """In runs where all other jobs are over, stop the services that only served those jobs.

    The handlers and `always` jobs of a service, and the dependents of these jobs, wait for the end
    of the service and may still run. The services that such a job needs therefore continue, except
    the service for whose end the job waits. If all remaining jobs wait for each other in a circle,
    all services are stopped.
    """
    for run in list(turn.runs.values()):
        while idle := _idle_helpers(turn.state, run):  # the remaining services may form a circle now
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


def _waits_until_ready(state: State, child: int) -> bool:
    """Return True if a child waits for a service to be READY, not for its end."""
    return state.jobs[child].state in STOPPABLE and not waits_for_end(state.jobs[child].template)


def _waiting_for_the_end(state: State, live: list[int]) -> dict[int, dict[int, None]]:
    """Return the jobs that wait for the end of services, and these services by job.

    The jobs are handlers and `always` jobs of services, and all their dependents, which can be
    services too.
    """
    found: dict[int, dict[int, None]] = {}
    jobs = state.jobs
    stack = [(child, n) for n in live for child in jobs[n].children or () if waits_for_end(jobs[child].template)]
    while stack:
        number, service = stack.pop()
        if jobs[number].state is JobState.WAITING and service not in found.get(number, ()):
            found.setdefault(number, {})[service] = None
            stack += [(child, service) for child in jobs[number].children or ()]
    return found


def _needed(state: State, wanted: list[int]) -> dict[int, None]:
    """Return the jobs `wanted`, and all jobs on which they depend.

    The search does not continue through jobs that are over, or that wait for the end of their
    parents.
    """
    found: dict[int, None] = {}
    stack = list(wanted)
    while stack:
        number = stack.pop()
        if number not in found:
            found[number] = None
            job = state.jobs[number]
            if not waits_for_end(job.template) and job.state not in TERMINAL:
                stack += job.parents
    return found


def goes_on(state: State, job: Job) -> bool:
    """Return True if a service runs until a user stops it."""
    helps = any(not waits_for_end(state.jobs[child].template) for child in job.children or ())
    return job.template.service is None or job.template.service.keep or not helps
