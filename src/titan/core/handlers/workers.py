"""Lifecycle of workers (registration, heartbeats, draining, silence, return), and reconciliation,
which repairs the effects of lost messages.

`_reconcile` compares the attempts that a worker reports with the attempts that the state assigns to
the worker, and orders whatever corrects the difference.
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
"""Maximum number of unknown leases that are recorded per worker. A lease is recorded until the
worker reports that its attempt is gone."""

LOST, LEFT = WorkerState.LOST, WorkerState.LEFT


def on_worker_registered(turn: Turn, received: WorkerRegistered) -> None:
    state = turn.state
    known = state.workers.get(state.worker_numbers.get(received.name, -1))
    if known is None and received.name.startswith(BURST_PREFIX) and received.name not in state.bursts:
        refusal = (
            f"the master has no burst worker {received.name!r}, and the prefix {BURST_PREFIX} is reserved for burst workers; "
            "this process must end"
        )
        turn.order(fx.Refuse(received.origin, received.request, Conflict.code, refusal))
        return
    if known is not None and known.incarnation != received.incarnation:
        refusal = _why_not(state, known, received, turn.now)
        if refusal:
            turn.order(fx.Refuse(received.origin, received.request, Conflict.code, refusal))
            return
        died = known.state is not WorkerState.LEFT
        doubted = _first_in_line(state, known) if died else []
        _lose_all(turn, known, doubted, count_losses=died, reason=f"worker {known.name} was restarted")
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
        return f"a newer process of worker {received.name!r} has registered; this older process must end"
    if known.connection and now - known.heard_at < state.settings.name_guard_s:
        host = known.facts.get("host", "another host")
        return f"a worker named {received.name!r} is connected already (from {host}): give this one another name with --name"
    return ""


def _is_older(incarnation: str, known: Worker) -> bool:
    """Return True if this process is older than the known process of the same name.

    If both processes have the same home, the start counter of the home decides. Incarnations of an
    older Titan sort by time. A clock may be wrong, so the time only counts while the known process
    may still reconnect.
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
    """Tell the worker to drain and leave. Each heartbeat repeats the order until the worker has
    left."""
    if not worker.draining:
        turn.emit(ev.WorkerDrained(worker.number, turn.now))
        _release_pinned(turn, worker)
    if worker.asked < (LEAVE_NOW if now else LEAVE):
        turn.emit(ev.WorkerAsked(worker.number, now, turn.now, turn.actor))
    turn.order(fx.SendLeave(worker.number, worker.asked == LEAVE_NOW))


def on_worker_beat(turn: Turn, received: WorkerBeat) -> None:
    if turn.state.workers[received.worker].state is not WorkerState.ALIVE:
        return  # the worker is LOST but does not know this yet: it must register again
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
    """Compare the attempts that a worker lists with those that the state assigns to the worker, and
    order whatever corrects the difference.

    `all_seen`: no dispatch is in transit to the worker, so the worker does not have an attempt that
    it does not list. The worker does not have an assigned attempt whose lease is in `foreign`
    either. The worker holds another home's attempt with the same lease, so it would have ignored a
    dispatch of ours.
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
    unknown = [lease for lease in listed if not any(lease in group for group in known)]
    room = max(0, ENDING_LIMIT - len(worker.ending))
    if len(unknown) > room:  # all must stop, but leases beyond the limit are not recorded
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
    """Record the calls that wait for other calls and use no slot. Leases that the state no longer
    assigns to the worker are ignored."""
    worker = turn.state.workers[received.worker]
    lent = [lease for lease in received.leases if lease in worker.held]
    known = {lease: None for lease, waits in worker.lent.items() if waits}
    if worker.state is WorkerState.ALIVE and dict.fromkeys(lent) != known:
        turn.emit(ev.SlotsLent(received.worker, lent, turn.now))


def on_worker_draining(turn: Turn, received: WorkerDraining) -> None:
    worker = turn.state.workers[received.worker]
    if not worker.draining:
        turn.emit(ev.WorkerDrained(received.worker, turn.now))
        _release_pinned(turn, worker)


def on_worker_leaving(turn: Turn, received: WorkerLeaving) -> None:
    worker = turn.state.workers[received.worker]
    depart(turn, worker, lost=False, count_losses=False, reason=f"worker {worker.name} left")


def on_worker_disconnected(turn: Turn, received: WorkerDisconnected) -> None:
    """Mark the worker SUSPECT. It has until its deadline to reconnect."""
    if turn.state.workers[received.worker].connection == received.origin:
        turn.emit(ev.WorkerSuspected(received.worker, turn.now))


def on_deadline(turn: Turn, number: int) -> None:
    """Declare a worker LOST if its deadline passed. If a message has moved the deadline, set the
    timer again."""
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
    depart(turn, worker, lost=True, count_losses=True, reason=reason)


def depart(turn: Turn, worker: Worker, *, lost: bool, count_losses: bool, reason: str) -> None:
    """Declare a worker LOST or LEFT, and queue its attempts again.

    `count_losses`: the loss counts against the jobs that were running or about to start, because
    one of them may have caused it.
    """
    doubted = _first_in_line(turn.state, worker) if count_losses else []
    turn.emit(ev.WorkerLost(worker.number, reason, turn.now) if lost else ev.WorkerLeft(worker.number, turn.now))
    _lose_all(turn, worker, doubted, count_losses=count_losses, reason=reason)
    _release_pinned(turn, worker)


def _lose_all(turn: Turn, worker: Worker, doubted: list[int], *, count_losses: bool, reason: str) -> None:
    if worker.retiring:
        turn.emit(ev.ServicesRetired(worker.number, list(worker.retiring), turn.now))
    jobs = list(worker.held.values())
    # A service that was READY did not cause the loss of its worker.
    running = [j for j in jobs if count_losses and (job := turn.state.jobs[j]).state is JobState.RUNNING and not job.is_done]
    lose(turn, worker.number, jobs, running, reason, doubted)


def _first_in_line(state: State, worker: Worker) -> list[int]:
    """Return the jobs that the worker may have started without a report: the jobs dispatched first,
    as many as the worker had free slots.

    Jobs dispatched later cannot have started, so they did not cause the loss.
    """
    running = sum(state.jobs[number].state is JobState.RUNNING for number in worker.held.values())
    free = worker.slots - running - len(worker.ending) - len(worker.retiring)
    waiting = (number for number in worker.held.values() if state.jobs[number].state is JobState.DISPATCHED)
    return list(islice(waiting, max(0, free)))


def _release_pinned(turn: Turn, worker: Worker) -> None:
    """Release the affinity of queued jobs to a worker that can no longer run them."""
    state = turn.state
    lane = state.pinned.get(worker.number)
    if lane is not None and lane.count:
        unfit = [j for j in lane.jobs() if not can_keep(state, worker.number, state.jobs[j].template)]
        release(turn, worker.number, unfit)
