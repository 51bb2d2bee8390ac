"""Explanations for `titan why`: typed reasons why a job does not run, or a description of how it
runs.

A reason has a code that programs can rely on, a sentence, and the numbers and names in the
sentence.
"""

from __future__ import annotations

import msgspec

from titan.core.apply.transitions import satisfies
from titan.core.handlers.ready import has_capabilities
from titan.core.state.service import ServiceState
from titan.core.state.state import NO_WORKER, Job, State, Worker
from titan.model.dag import waits_for_end
from titan.model.demand import KINDS, NOTHING, Demand, amount_text, amounts_in, capabilities_of, demand_of, demand_text, totals_of
from titan.model.names import shell_word
from titan.model.states import TERMINAL, JobState, RunState, WorkerState
from titan.model.timing import iso
from titan.scheduling.lane import sort_key

MAX_NAMED = 8
"""Maximum number of parents that a sentence names. The sentence gives only the number of the other
parents."""
MAX_WORKERS = 1000
"""Maximum number of workers to list. Workers that could run the job soonest come first."""

_OF_JOB = (
    *("over", "running", "dispatched", "parents", "releasing", "delayed", "backoff", "paused"),
    *("no_worker", "affinity", "behind", "placeable", "ready", "starting", "restarting", "replacing", "service", "bound"),
    *("condition", "max_parallel"),
)
_OF_WORKER = (
    *("fits", "held", "slots", "resources_busy", "suspect", "elsewhere", "refused", "aside", "draining"),
    *("resources", "capability", "gone"),
)
"""Codes of reasons why a worker does not take a job, ordered by how soon the reason passes."""
CODES = (*_OF_JOB, *_OF_WORKER)

Detail = dict[str, str | int | float]


class Reason(msgspec.Struct, frozen=True):
    code: str
    """One of CODES."""
    text: str
    detail: Detail = {}


class WorkerReasons(msgspec.Struct, frozen=True):
    """Reasons why one worker does not take a job."""

    worker: str
    reasons: list[Reason]


class Explanation(msgspec.Struct, frozen=True):
    state: JobState
    reasons: list[Reason]
    workers: list[WorkerReasons]
    """Filled for QUEUED jobs only."""
    left_off: int = 0
    """Number of workers that are not listed."""


def explain(state: State, number: int, now: float) -> Explanation:
    """Return why a job does not run. `now` is in seconds since the epoch."""
    job = state.jobs[number]
    if job.state is JobState.QUEUED:
        return _queued(state, number, job)
    reasons = _waiting(state, job, now) if job.state is JobState.WAITING else [_reason_at_rest(state, job, now)]
    return Explanation(job.state, reasons, [])


def _reason_at_rest(state: State, job: Job, now: float) -> Reason:
    """Return the reason for a job that is neither WAITING nor QUEUED."""
    where = _name(state, job.worker)
    if job.state in TERMINAL:
        reason = f": {job.reason}" if job.reason else ""
        over: Detail = {"state": job.state.name, "finished_at": job.finished_at or job.since}
        if job.cached_from:
            over["cached_from"] = job.cached_from
        return Reason("over", f"it is over: {job.state.name}{reason}", over)
    match job.state:
        case JobState.DELAYED:
            return Reason("delayed", f"delayed for another {max(0.0, job.due - now):.1f} s", {"until": job.due})
        case JobState.FAILED:
            wait = f"attempt {job.attempt} failed ({job.reason}); the next one is due in {max(0.0, job.due - now):.1f} s"
            failed: Detail = {"until": job.due, "attempt": job.attempt, "failures": job.failures, "retries": job.template.retries}
            return Reason("backoff", wait, failed)
        case JobState.PAUSED:
            return Reason("paused", "paused: it waits for a decision", {"since": job.since})
        case JobState.RUNNING if job.service is not None:
            return _serving(job, job.service, where, now)
        case JobState.RUNNING:
            runs = f"it runs: attempt {job.attempt} on {where}, for {max(0.0, now - job.started_at):.1f} s"
            return Reason("running", runs, {"worker": where, "attempt": job.attempt, "started_at": job.started_at})
        case _:
            worker = state.workers[job.worker]
            full = worker.used > worker.slots
            progress = "it waits there for a slot" if full else "its start has not been reported"
            sent: Detail = {"worker": where, "attempt": job.attempt, "since": job.since}
            return Reason("dispatched", f"sent to {where} as attempt {job.attempt}: {progress}", sent)


def _serving(job: Job, service: ServiceState, where: str, now: float) -> Reason:
    """Return the reason for a running attempt of a service: whether it is READY, and why not."""
    is_current = service.lease == job.lease
    restarts = service.restarts if is_current else 0
    about: Detail = {"worker": where, "attempt": job.attempt, "restarts": restarts, "address": service.address}
    cause = f": {service.reason}" if is_current and service.reason else ""
    wait = service.next_start - now if is_current else 0.0
    if service.old_lease:
        return Reason("replacing", f"it serves: READY at {service.address}; {_replaced(cause, wait)}", about)
    if service.ready_at:
        again = f"; restarted {_times(restarts)}, the last time{cause}" if restarts else ""
        serves = f"it serves: READY at {service.address} on {where}, for {max(0.0, now - service.ready_at):.1f} s{again}"
        return Reason("ready", serves, about)
    if wait > 0:
        backs_off = f"backs off: its process on {where} restarts in {wait:.1f} s, for the {_nth(restarts)} time{cause}"
        return Reason("restarting", backs_off, {**about, "until": service.next_start})
    begun = f", restarted {_times(restarts)}," if restarts else ""
    return Reason("starting", f"its process on {where}{begun} is not READY yet{cause}", about)


def _replaced(why: str, wait: float) -> str:
    later = f", and restarts in {wait:.1f} s" if wait > 0 else ""
    return f"its replacement is not READY yet{why}{later}"


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count:,} times"


def _nth(count: int) -> str:
    last = "th" if count % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(count % 10, "th")
    return f"{count:,}{last}"


def _waiting(state: State, job: Job, now: float) -> list[Reason]:
    open_ = [parent for p in job.parents if not satisfies(parent := state.jobs[p], job)]
    if not open_:
        opening = job.run.state is RunState.OPENING
        text = "its run is still being submitted" if opening else "its run is large: it will be queued in a moment"
        return [Reason("releasing", text)]
    named = ", ".join(f"{p.name} ({p.state.name})" for p in open_[:MAX_NAMED])
    more = f" and {len(open_) - MAX_NAMED} more" if len(open_) > MAX_NAMED else ""
    parents: Detail = {"open": len(open_), "parents": len(job.parents), "first": open_[0].name}
    end = "the end of " if job.template.when else ""
    reasons = [Reason("parents", f"waits for {end}{len(open_)} of {len(job.parents)} parents: {named}{more}", parents)]
    if job.template.condition:
        reasons.append(Reason("condition", f"runs then if {job.template.condition}", {"if": job.template.condition}))
    services = [p for p in open_ if p.service is not None and not waits_for_end(job.template)]
    return [*reasons, *[_of_service(state, service, now) for service in services[:MAX_NAMED]]]


def _of_service(state: State, service: Job, now: float) -> Reason:
    """Return the reason for a job that waits for the service `service`."""
    if service.state in (JobState.WAITING, JobState.QUEUED):
        cause = f"it is {service.state.name} itself: `titan why {shell_word(f'{service.run.id}/{service.name}')}`"
    else:
        cause = _reason_at_rest(state, service, now).text
    about: Detail = {"service": service.name, "state": service.state.name}
    return Reason("service", f"waits for the service {service.name} to be READY: {cause}", about)


# -- jobs that wait for a worker -------------------------------------------------------------------
def _queued(state: State, number: int, job: Job) -> Explanation:
    demand = state.demand(number)
    key = sort_key(job.template.priority, number)
    found = [(worker, _of_worker(state, worker, job, key)) for worker in state.workers.values()]
    reasons: list[Reason] = []
    lacking = _nobody(state, demand)
    if lacking is not None:
        reasons.append(lacking)
    if job.pin != NO_WORKER:
        reasons.append(_bound(state, job))
    if isinstance(demand, Demand) and not state.places_left(demand):
        reasons.append(_of_array(state, demand))
    elif lacking is None:
        reasons += _behind(state, job, demand, key)
    past = job.history[-1] if job.history else None
    if past is not None and past.released:
        reasons.append(Reason("affinity", past.reason, {"worker": _name(state, past.worker), "released": 1}))
    found.sort(key=lambda entry: (_weight(entry[1]), entry[0].name))
    workers = [WorkerReasons(worker.name, why) for worker, why in found[:MAX_WORKERS]]
    return Explanation(job.state, reasons, workers, len(found) - len(workers))


def _of_array(state: State, demand: Demand) -> Reason:
    """Return the reason of a job whose array has as many jobs on workers as may be."""
    running, array = state.count_active(demand.array), demand.array.partition("/")[2]
    about: Detail = {"max_parallel": demand.most, "array": array, "running": running}
    return Reason("max_parallel", f"max_parallel {demand.most} of {array}: {running} running", about)


def _nobody(state: State, demand: str | Demand) -> Reason | None:
    """Return the reason if no present worker could run such a job even when idle, with the command
    that starts a suitable worker. Return None if some worker could."""
    present = [w for w in state.workers.values() if w.state in (WorkerState.ALIVE, WorkerState.SUSPECT) and not w.draining]
    wanted = capabilities_of(demand)
    amounts = amounts_in(demand)
    capable = [w for w in present if all(c in w.capabilities for c in wanted)]
    enough = [w for w in capable if all(have >= want for want, have in zip(amounts, totals_of(w.facts), strict=True))]
    if enough:
        return None
    options = [f"--capability {c}" for c in wanted] if wanted != ("GENERAL",) else []
    options += [f"--{kind} {_option(i, amounts[i])}" for i, kind in enumerate(KINDS) if amounts[i]]
    how = " ".join(["titan worker --master HOST:PORT", *options])
    if capable:
        most = [max(totals_of(w.facts)[i] for w in capable) for i in range(3)]
        short = [f"{KINDS[i]} {amount_text(i, amounts[i])} (the most is {amount_text(i, most[i])})" for i in range(3) if amounts[i]]
        text = f"no worker with {' and '.join(wanted)} has enough: it asks for {', '.join(short)}"
    else:
        lacking = [c for c in wanted if not any(c in w.capabilities for w in present)]
        text = f"no worker offers {' and '.join(lacking or wanted)}"
    return Reason("no_worker", f"{text}: start one: {how}", {"demand": demand_text(demand), "start": how, "workers": len(present)})


def _option(kind: int, amount: int) -> str:
    return str(amount) if kind else f"{amount / 1000:g}"


def _bound(state: State, job: Job) -> Reason:
    worker = state.workers[job.pin]
    busy = worker.used
    how = {WorkerState.SUSPECT: "whose connection broke", WorkerState.ALIVE: f"where {_attempts(busy, worker.slots)}"}
    there = f"{worker.name}, {how.get(worker.state, f'which is {worker.state.name}')}"
    about: Detail = {"worker": worker.name, "state": worker.state.name, "held": busy}
    if job.template.affinity:
        return Reason("affinity", f"bound by affinity to {there}", about)
    refused = job.service is not None and job.service.refused_by
    cause = "other workers could not start it" if refused else "its port is in use where the old process runs"
    return Reason("bound", f"goes to {there}: {cause}", about)


def _behind(state: State, job: Job, demand: str | Demand, key: int) -> list[Reason]:
    """Return the reason that tells how many earlier jobs compete for the same workers."""
    if job.pin != NO_WORKER:
        ahead = state.pinned[job.pin].ahead(key)
    else:
        lanes = [(other, lane) for other, lane in state.lanes.items() if lane.count and _compete(state, demand, other)]
        ahead = sum(lane.ahead(key) for other, lane in lanes if state.places_left(other))
    if not ahead:
        return [Reason("placeable", "it is next: it goes to the first worker that has room for it")]
    many = "jobs" if ahead > 1 else "job"
    return [Reason("behind", f"behind {ahead:,} {many} of higher priority or greater age", {"ahead": ahead})]


def _compete(state: State, demand: str | Demand, other: str | Demand) -> bool:
    wanted = dict.fromkeys((*capabilities_of(demand), *capabilities_of(other)))
    return demand == other or any(w.takes_work and all(c in w.capabilities for c in wanted) for w in state.workers.values())


# -- one worker ------------------------------------------------------------------------------------
def _of_worker(state: State, worker: Worker, job: Job, key: int) -> list[Reason]:
    if worker.state in (WorkerState.LOST, WorkerState.LEFT):
        return [Reason("gone", f"is {worker.state.name}", {"state": worker.state.name, "left_at": worker.left_at})]
    reasons: list[Reason] = []
    if not has_capabilities(worker, job.template):
        wanted = capabilities_of(demand_of(job.template))
        lacks = [c for c in wanted if c not in worker.capabilities]
        reasons.append(Reason("capability", f"does not offer {' and '.join(lacks)}", {"lacks": " ".join(lacks)}))
    if worker.draining:
        reasons.append(Reason("draining", "is draining: it takes no new jobs"))
    if worker.aside_until:
        until = "it is on trial with one attempt" if worker.probing else f"until {iso(worker.aside_until)}"
        reasons.append(Reason("aside", f"is set aside, {until}: {worker.aside_reason}", {"until": worker.aside_until}))
    if job.pin not in (NO_WORKER, worker.number):
        cause = "affinity binds the job to" if job.template.affinity else "the service is to go to"
        reasons.append(Reason("elsewhere", f"{cause} {_name(state, job.pin)}"))
    if job.service is not None and worker.number in job.service.refused_by:
        reasons.append(Reason("refused", "could not start it"))
    reasons += _of_resources(worker, job)
    if worker.state is WorkerState.SUSPECT:
        reasons.append(Reason("suspect", "its connection broke: it may come back", {"until": worker.deadline}))
    busy = worker.used
    if busy >= worker.slots:
        waiting = f", {busy - worker.slots} of them waiting" if busy > worker.slots else ""
        full = f"no free slot: {_attempts(busy, worker.slots)}{waiting}"
        reasons.append(Reason("slots", full, {"held": busy, "slots": worker.slots}))
    if reasons:
        return reasons
    if not state.pool.fits(worker.number, demand_of(job.template), key):
        return [Reason("held", "its room is reserved for a job that comes first")]
    return [Reason("fits", "has room: it takes the job once the jobs that come first are placed")]


def _of_resources(worker: Worker, job: Job) -> list[Reason]:
    asked = amounts_in(demand_of(job.template))
    if asked == NOTHING:
        return []
    reasons = []
    for i, (kind, want, have, total) in enumerate(zip(KINDS, asked, worker.taken, totals_of(worker.facts), strict=True)):
        free = max(0, total - have)
        numbers: Detail = {"resource": kind, "asked": want, "free": free, "total": total}
        if want > total:
            text = f"not enough {kind}: asks for {amount_text(i, want)}, has {amount_text(i, total)} in all"
            reasons.append(Reason("resources", text, numbers))
        elif want > free:
            text = f"not enough {kind}: asks for {amount_text(i, want)}, {amount_text(i, free)} of {amount_text(i, total)} free"
            reasons.append(Reason("resources_busy", text, numbers))
    return reasons


def _weight(reasons: list[Reason]) -> int:
    return max(_OF_WORKER.index(reason.code) for reason in reasons)


def _attempts(count: int, slots: int) -> str:
    return f"{count} attempt{'s are' if count != 1 else ' is'} in {slots} slot{'s' if slots != 1 else ''}"


def _name(state: State, number: int) -> str:
    worker = state.workers.get(number)
    return worker.name if worker else "no worker"
