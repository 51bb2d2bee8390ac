"""Workers come, are heard, drain, fall silent and return; and the one mechanism that heals every
lost message.

`_reconcile`: a worker says which attempts it holds, the master compares with what it believes, and
orders the difference.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice

from titan.core import effects as fx
from titan.core.events import events as ev
from titan.core.handlers.attempts import lose, report_started
from titan.core.handlers.fencing import fence_foreign
from titan.core.handlers.ready import can_keep, release
from titan.core.inputs import LeasesAwaiting, WorkerBeat, WorkerDisconnected, WorkerDraining, WorkerLeaving, WorkerRegistered
from titan.core.state.state import BURST_PREFIX, LEAVE, LEAVE_NOW, State, Worker
from titan.core.turn import Turn
from titan.errors import Conflict
from titan.model.demand import totals_of
from titan.model.disk import Facts, news_of
from titan.model.states import JobState, WorkerState

ENDING_LIMIT = 100_000
"""Leases that a worker says it holds and should not, as many of them as are remembered until it
says that they are gone."""

LOST, LEFT = WorkerState.LOST, WorkerState.LEFT


def on_worker_registered(turn: Turn, received: WorkerRegistered) -> None:
    state = turn.state
    known = state.workers.get(state.worker_numbers.get(received.name, -1))
    if known is None and received.name.startswith(BURST_PREFIX) and received.name not in state.bursts:
        refusal = f"no burst worker {received.name!r} is wanted (any more), and names that begin with {BURST_PREFIX} are theirs"
        turn.order(fx.Refuse(received.origin, received.request, Conflict.code, f"{refusal}; this process must end"))
        return
    if known is not None and known.incarnation != received.incarnation:
        refusal = _why_not(state, known, received, turn.now)
        if refusal:
            turn.order(fx.Refuse(received.origin, received.request, Conflict.code, refusal))
            return
        died = known.state is not WorkerState.LEFT
        doubted = _first_in_line(state, known) if died else []
        _lose_all(turn, known, doubted, blame=died, reason=f"worker {known.name} was started anew")
    number = known.number if known else state.next_worker
    if known is None or _changed(known, received):
        turn.emit(
            ev.WorkerJoined(
                worker=number,
                name=received.name,
                incarnation=received.incarnation,
                capabilities=received.capabilities,
                slots=received.slots,
                facts=received.facts,
                at=turn.now,
            )
        )
    turn.emit(ev.WorkerConnected(number, received.origin, turn.now))
    _note_facts(turn, number, received.facts)
    turn.order(fx.AcceptWorker(received.origin, received.request, number))
    if received.draining and not state.workers[number].draining:
        turn.emit(ev.WorkerDrained(number, turn.now))
    burst = state.bursts.get(received.name)
    if state.workers[number].asked or (burst is not None and burst.retired_at):
        ask_to_leave(turn, state.workers[number], now=state.workers[number].asked == LEAVE_NOW)
    _release_pinned(turn, state.workers[number])
    foreign = fence_foreign(turn, received.name, received.leases, received.draws, received.draw_of)
    _reconcile(turn, state.workers[number], received.leases, received.started, foreign, all_seen=True)


def _why_not(state: State, known: Worker, received: WorkerRegistered, now: float) -> str:
    if _is_older(received.incarnation, known):
        return f"worker {received.name!r} was started anew elsewhere meanwhile; this older process must end"
    if known.connection and now - known.heard_at < state.settings.name_guard_s:
        host = known.facts.get("host", "another host")
        return f"a worker named {received.name!r} is connected already (from {host}): give this one another name with --name"
    return ""


def _is_older(incarnation: str, known: Worker) -> bool:
    """Whether a process was there before the known one of its name: by the count of starts of their
    home, if it is the same.

    Those of an older Titan sort by their time; a clock may be wrong, so that counts only while the
    known one may come back.
    """
    (home, _, number), (known_home, _, known_number) = incarnation.partition(":"), known.incarnation.partition(":")
    if number.isdecimal() and known_number.isdecimal():
        return home == known_home and int(number) < int(known_number)
    return not number and not known_number and incarnation < known.incarnation and known.state not in (LOST, LEFT)


def _changed(known: Worker, received: WorkerRegistered) -> bool:
    return (
        known.incarnation != received.incarnation
        or known.state in (LOST, LEFT)
        or known.capabilities != received.capabilities
        or known.slots != received.slots
        or totals_of(known.facts) != totals_of(received.facts)
        or known.facts.get("address") != received.facts.get("address")
    )


def _note_facts(turn: Turn, number: int, facts: Facts) -> None:
    news = news_of(facts, turn.state.workers[number].facts)
    if news:
        turn.emit(ev.WorkerFactsChanged(number, news, turn.now))


def ask_to_leave(turn: Turn, worker: Worker, *, now: bool) -> None:
    """It takes nothing new from now on, and is told; again with each heartbeat until it has left."""
    if not worker.draining:
        turn.emit(ev.WorkerDrained(worker.number, turn.now))
        _release_pinned(turn, worker)
    if worker.asked < (LEAVE_NOW if now else LEAVE):
        turn.emit(ev.WorkerAsked(worker.number, now, turn.now, turn.actor))
    turn.order(fx.SendLeave(worker.number, worker.asked == LEAVE_NOW))


def on_worker_beat(turn: Turn, received: WorkerBeat) -> None:
    if turn.state.workers[received.worker].state is not WorkerState.ALIVE:
        return  # said before it heard that it is LOST; it has to register anew
    turn.emit(ev.WorkerHeard(received.worker, turn.now))
    if received.facts:
        _note_facts(turn, received.worker, received.facts)
    if turn.state.workers[received.worker].asked:
        turn.order(fx.SendLeave(received.worker, turn.state.workers[received.worker].asked == LEAVE_NOW))
    worker = turn.state.workers[received.worker]
    foreign = fence_foreign(turn, worker.name, received.leases, received.draws, received.draw_of)
    _reconcile(turn, worker, received.leases, received.started, foreign, all_seen=False)


def _reconcile(
    turn: Turn,
    worker: Worker,
    leases: Sequence[int],
    started: Sequence[float],
    foreign: Mapping[int, None],
    *,
    all_seen: bool,
) -> None:
    """`all_seen`: nothing that was sent to the worker is still on its way, so what it does not list
    is not there.

    Nor is what bears the number of a `foreign` attempt: the worker has that one, and would have
    passed over ours.
    """
    state = turn.state
    listed = dict.fromkeys(leases)
    fresh = turn.now - state.settings.missing_s
    gone = [
        number for lease, number in worker.held.items() if lease not in listed and (all_seen or _sent_at(state, number) < fresh)
    ]
    if foreign:
        gone += [number for lease, number in worker.held.items() if lease in foreign]
    lose(turn, worker.number, gone, [], f"worker {worker.name} does not hold it")
    retired = [lease for lease in worker.retiring if lease not in listed or lease in foreign]
    if retired:
        turn.emit(ev.ServicesRetired(worker.number, retired, turn.now))
    known = (worker.held, worker.ending, worker.retiring)
    unknown = [lease for lease in listed if not any(lease in those for those in known)]
    room = max(0, ENDING_LIMIT - len(worker.ending))
    if len(unknown) > room:  # it is told to stop them all, and what is not remembered takes no slot
        turn.order(fx.SendStop(worker.number, unknown[room:]))
        del unknown[room:]
    if unknown:
        turn.emit(ev.LeasesEnding(worker.number, unknown, turn.now))
    ended = [lease for lease in worker.ending if lease not in listed]
    if ended:
        turn.emit(ev.LeasesEnded(worker.number, ended, turn.now))
    if worker.ending:
        turn.order(fx.SendStop(worker.number, list(worker.ending)))
    report_started(turn, worker.number, leases, started)


def _sent_at(state: State, number: int) -> float:
    job = state.jobs[number]
    return job.since if job.state is JobState.DISPATCHED else job.started_at


def on_leases_awaiting(turn: Turn, received: LeasesAwaiting) -> None:
    """What it does not hold is nothing to it: that was said before the worker heard."""
    worker = turn.state.workers[received.worker]
    lent = [lease for lease in received.leases if lease in worker.held]
    if worker.state is WorkerState.ALIVE and dict.fromkeys(lent) != {it: None for it, waits in worker.lent.items() if waits}:
        turn.emit(ev.SlotsLent(received.worker, lent, turn.now))


def on_worker_draining(turn: Turn, received: WorkerDraining) -> None:
    worker = turn.state.workers[received.worker]
    if not worker.draining:
        turn.emit(ev.WorkerDrained(received.worker, turn.now))
        _release_pinned(turn, worker)


def on_worker_leaving(turn: Turn, received: WorkerLeaving) -> None:
    worker = turn.state.workers[received.worker]
    depart(turn, worker, lost=False, blame=False, reason=f"worker {worker.name} left")


def on_worker_disconnected(turn: Turn, received: WorkerDisconnected) -> None:
    """A suspicion, not a death: it has until its deadline to come back."""
    if turn.state.workers[received.worker].connection == received.origin:
        turn.emit(ev.WorkerSuspected(received.worker, turn.now))


def on_deadline(turn: Turn, number: int) -> None:
    """A worker's deadline may have passed; if it was heard since, the timer is set anew."""
    worker = turn.state.workers.get(number)
    if worker is None:
        return
    worker.watched = False
    if worker.state not in (WorkerState.ALIVE, WorkerState.SUSPECT):
        return
    if worker.deadline > turn.now:
        turn.state.watch(worker)
        return
    if worker.connection:
        turn.order(fx.Disconnect(worker.connection))
    silent = turn.now - worker.heard_at
    reason = f"worker {worker.name} was silent for {silent:.0f} s"
    depart(turn, worker, lost=True, blame=True, reason=reason)


def depart(turn: Turn, worker: Worker, *, lost: bool, blame: bool, reason: str) -> None:
    """It is no more: what it held is queued again. `blame`: what ran on it, or was to, may have
    taken it down."""
    doubted = _first_in_line(turn.state, worker) if blame else []
    turn.emit(ev.WorkerLost(worker.number, reason, turn.now) if lost else ev.WorkerLeft(worker.number, turn.now))
    _lose_all(turn, worker, doubted, blame=blame, reason=reason)
    _release_pinned(turn, worker)


def _lose_all(turn: Turn, worker: Worker, doubted: list[int], *, blame: bool, reason: str) -> None:
    if worker.retiring:
        turn.emit(ev.ServicesRetired(worker.number, list(worker.retiring), turn.now))
    jobs = list(worker.held.values())
    # A service that was READY is not to blame for its worker's end.
    running = [j for j in jobs if blame and (job := turn.state.jobs[j]).state is JobState.RUNNING and not job.is_done]
    lose(turn, worker.number, jobs, running, reason, doubted)


def _first_in_line(state: State, worker: Worker) -> list[int]:
    """Jobs that the worker may have started without a word of it: as many of those that were
    dispatched first as slots were free.

    What waits behind them had not started, whatever took the worker down.
    """
    running = sum(state.jobs[number].state is JobState.RUNNING for number in worker.held.values())
    free = worker.slots - running - len(worker.ending) - len(worker.retiring)
    waiting = (number for number in worker.held.values() if state.jobs[number].state is JobState.DISPATCHED)
    return list(islice(waiting, max(0, free)))


def _release_pinned(turn: Turn, worker: Worker) -> None:
    """Those that were to go to this worker and now cannot."""
    state = turn.state
    lane = state.pinned.get(worker.number)
    if lane is not None and lane.count:
        unfit = [j for j in lane.jobs() if not can_keep(state, worker.number, state.jobs[j].template)]
        release(turn, worker.number, unfit)
