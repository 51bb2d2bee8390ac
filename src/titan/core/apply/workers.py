"""Writers of events about the master and its workers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from titan.core.events import events as ev
from titan.core.state.state import State, TimerKind, Worker
from titan.core.state.terms import keep_draw, keep_notice
from titan.model.states import WorkerState


def _begin_term(state: State, term: int, draw: str) -> None:
    assert term > state.term, "terms only grow"
    state.term = term
    state.next_job = state.next_lease = term << 32
    keep_draw(state, term, draw)


def _term_raised(state: State, e: ev.TermRaised) -> None:
    _begin_term(state, e.term, e.draw)
    state.heard_term = e.heard
    keep_notice(state, e.at, e.notice)


def _settings_changed(state: State, e: ev.SettingsChanged) -> None:
    state.logged = state.in_force = e.settings
    for worker in state.workers.values():
        state.seat(worker)
        if worker.state in (WorkerState.LOST, WorkerState.LEFT):
            state.arm(worker.left_at + e.settings.forget_s, TimerKind.FORGET, worker.number)


def _master_started(state: State, e: ev.MasterStarted) -> None:
    _begin_term(state, e.term, e.draw)
    keep_notice(state, e.at, e.notice)
    state.cluster = e.cluster
    state.burst_serial = 0
    if state.in_force.scale_every_s:
        state.scale_due = e.at + state.in_force.scale_every_s
        state.arm(state.scale_due, TimerKind.SCALE, 0)
    for worker in state.workers.values():
        worker.connection = 0
        if worker.state in (WorkerState.ALIVE, WorkerState.SUSPECT):
            worker.state = WorkerState.SUSPECT
            worker.heard_at = e.at
            worker.deadline = e.at + state.in_force.loss_s
            state.watch(worker)
        state.seat(worker)


def _worker_joined(state: State, e: ev.WorkerJoined) -> None:
    worker = state.workers.get(e.worker)
    if worker is None:
        worker = Worker(e.worker, e.name, e.incarnation, e.capabilities, e.slots, e.facts, e.at)
        state.workers[e.worker] = worker
        state.next_worker = max(state.next_worker, e.worker + 1)
        state.worker_numbers[e.name] = e.worker
    elif worker.incarnation == e.incarnation:
        for number in worker.blamed:  # only the connection was lost: the process lives
            job = state.jobs.get(number)
            if job is not None:
                job.losses -= 1
        for number in worker.doubted:
            job = state.jobs.get(number)
            if job is not None:
                job.add_doubts(-1)
        worker.blamed.clear()
        worker.doubted.clear()
    else:
        assert not worker.held, worker.name
        worker.ending.clear()
        worker.fenced.clear()
        worker.blamed.clear()
        worker.doubted.clear()
        worker.draining, worker.asked = False, 0
        worker.recover()
        worker.joined_at = e.at
    worker.incarnation, worker.capabilities, worker.slots, worker.facts = e.incarnation, e.capabilities, e.slots, e.facts
    worker.state, worker.left_at = WorkerState.SUSPECT, 0.0
    worker.idle_since = e.at
    worker.taken = state.count_taken(worker)
    state.seat(worker)


def _worker_facts_changed(state: State, e: ev.WorkerFactsChanged) -> None:
    worker = state.workers[e.worker]
    worker.facts = {**worker.facts, **e.facts}  # not in place: the current dict belongs to an event


def _worker_drained(state: State, e: ev.WorkerDrained) -> None:
    worker = state.workers[e.worker]
    worker.draining = True
    state.seat(worker)


def _worker_gone(state: State, number: int, into: WorkerState, at: float) -> None:
    worker = state.workers[number]
    worker.state, worker.connection, worker.left_at = into, 0, at
    worker.ending.clear()
    worker.taken = state.count_taken(worker)
    state.seat(worker)
    state.arm(at + state.in_force.forget_s, TimerKind.FORGET, number)


def _worker_lost(state: State, e: ev.WorkerLost) -> None:
    _worker_gone(state, e.worker, WorkerState.LOST, e.at)


def _worker_left(state: State, e: ev.WorkerLeft) -> None:
    _worker_gone(state, e.worker, WorkerState.LEFT, e.at)


def _leases_ending(state: State, e: ev.LeasesEnding) -> None:
    worker = state.workers[e.worker]
    worker.ending.update(dict.fromkeys(e.leases))
    if worker.fenced:
        worker.taken = state.count_taken(worker)
    state.reload(worker)


def _leases_ended(state: State, e: ev.LeasesEnded) -> None:
    worker = state.workers[e.worker]
    for lease in e.leases:
        worker.ending.pop(lease, None)
    if worker.fenced:
        for lease in e.leases:
            worker.fenced.pop(lease, None)
        worker.taken = state.count_taken(worker)
    state.reload(worker)


def _hear(state: State, worker: Worker, at: float) -> None:
    worker.heard_at = at
    worker.deadline = at + state.in_force.loss_s


def _worker_connected(state: State, e: ev.WorkerConnected) -> None:
    worker = state.workers[e.worker]
    worker.state, worker.connection = WorkerState.ALIVE, e.connection
    worker.lent = dict.fromkeys(worker.lent, False)  # the worker reports again which of its calls wait
    _hear(state, worker, e.at)
    state.watch(worker)
    state.seat(worker)


def _worker_heard(state: State, e: ev.WorkerHeard) -> None:
    worker = state.workers[e.worker]
    # A recall may have been lost: allow another recall of attempts that still wait on the worker.
    worker.recalled.clear()
    _hear(state, worker, e.at)


def _leases_recalled(state: State, e: ev.LeasesRecalled) -> None:
    state.workers[e.worker].recalled.update(dict.fromkeys(e.leases))


def _slots_lent(state: State, e: ev.SlotsLent) -> None:
    worker = state.workers[e.worker]
    worker.lent = {**dict.fromkeys(worker.lent, False), **dict.fromkeys(e.leases, True)}
    state.reload(worker)


def _worker_suspected(state: State, e: ev.WorkerSuspected) -> None:
    worker = state.workers[e.worker]
    worker.state, worker.connection = WorkerState.SUSPECT, 0
    state.seat(worker)


WRITERS: dict[type, Callable[[State, Any], None]] = {
    ev.SettingsChanged: _settings_changed,
    ev.MasterStarted: _master_started,
    ev.TermRaised: _term_raised,
    ev.WorkerJoined: _worker_joined,
    ev.WorkerFactsChanged: _worker_facts_changed,
    ev.WorkerDrained: _worker_drained,
    ev.WorkerLost: _worker_lost,
    ev.WorkerLeft: _worker_left,
    ev.LeasesEnding: _leases_ending,
    ev.LeasesEnded: _leases_ended,
    ev.WorkerConnected: _worker_connected,
    ev.WorkerHeard: _worker_heard,
    ev.LeasesRecalled: _leases_recalled,
    ev.SlotsLent: _slots_lent,
    ev.WorkerSuspected: _worker_suspected,
}
