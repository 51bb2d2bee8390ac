"""Rebalancing: the master recalls attempts that wait on a busy worker when another worker is idle.
Prefetching thus never makes a job wait behind a long job.

When all queues that an idle worker serves are empty, the master recalls attempts that wait on other
workers, the last dispatched first. The busy worker returns the attempts that have not started. The
master queues their jobs again in their old place, and the idle worker takes them.
"""

from __future__ import annotations

from itertools import islice

from titan.core import effects as fx
from titan.core.events import events as ev
from titan.core.state.state import State, Worker
from titan.core.turn import Turn
from titan.model.demand import NOTHING, amounts_of
from titan.model.states import JobState

LOOK_AT = 16
"""Maximum number of idle workers, and of workers with waiting attempts, to check in one turn."""


def take_back(turn: Turn) -> None:
    pool = turn.state.pool
    if not pool.surplus or not (pool.idle or turn.state.services):
        return
    recalls = _behind_services(turn.state) if turn.state.services else {}
    share = _spare(turn.state) // (1 + min(LOOK_AT, len(pool.idle)))
    for idle in islice(pool.idle, LOOK_AT):
        seat = pool.seats[idle]
        if seat.hold is not None:
            continue  # a reservation keeps the free slots for another job
        # If jobs are quick, a worker may prefetch beyond its slots. Let it take an even share of
        # the jobs that wait on other workers.
        wanted = max(seat.slots - seat.used, min(seat.room, share)) - _recalled(turn.state, recalls)
        for other in islice(pool.surplus, LOOK_AT):
            if wanted <= 0:
                break
            found = _waiting(turn.state, turn.state.workers[other], seat.group.capabilities, recalls.get(other, []))[:wanted]
            wanted -= len(found)
            if found:
                recalls.setdefault(other, []).extend(found)
    for worker, leases in recalls.items():
        turn.emit(ev.LeasesRecalled(worker, leases))
        turn.order(fx.SendRecall(worker, leases))


def _behind_services(state: State) -> dict[int, list[int]]:
    """Return, for each worker whose slots are all taken by services, the leases of attempts that
    wait there. These attempts would wait for ever, so their jobs must be queued again."""
    recalls: dict[int, list[int]] = {}
    for number in islice(state.pool.surplus, LOOK_AT):
        worker = state.workers[number]
        if worker.serving < worker.slots or not worker.connection:
            continue
        ahead, found = len(worker.retiring), []
        for lease, waiting in worker.held.items():
            job = state.jobs[waiting]
            if ahead < worker.slots:
                ahead += job.service is not None
            elif job.state is JobState.DISPATCHED and not job.template.affinity and lease not in worker.recalled:
                found.append(lease)
        if found:
            recalls[number] = found
    return recalls


def _spare(state: State) -> int:
    """Return the number of attempts that wait beyond the slots of workers and were not recalled."""
    seats = state.pool.seats
    overfull = ((seats[w], state.workers[w]) for w in islice(state.pool.surplus, LOOK_AT))
    return sum(seat.used - seat.slots - len(worker.recalled) for seat, worker in overfull)


def _recalled(state: State, recalls: dict[int, list[int]]) -> int:
    """Return the number of attempts that were recalled but not yet returned. Their jobs will fill
    slots that are idle now."""
    asked = sum(len(state.workers[w].recalled) for w in islice(state.pool.surplus, LOOK_AT))
    return asked + sum(map(len, recalls.values()))


def _waiting(state: State, worker: Worker, capabilities: tuple[str, ...], chosen: list[int]) -> list[int]:
    """Return leases that a worker holds beyond its slots, newest first. Their attempts have not
    started and need only `capabilities`."""
    if not worker.connection:
        return []
    spare = worker.used - worker.slots - len(worker.recalled) - len(chosen)
    found: list[int] = []
    for lease in reversed(worker.held):
        if len(found) >= spare:
            break
        job = state.jobs[worker.held[lease]]
        template = job.template
        # An attempt that asks for resources already has a slot, or gets one before the prefetched
        # attempts.
        movable = job.state is JobState.DISPATCHED and not template.affinity and template.requirement in capabilities
        if movable and template.needs is not None:
            movable = amounts_of(template.needs) == NOTHING and all(c in capabilities for c in template.needs.capabilities)
        if movable and lease not in worker.recalled and lease not in chosen:
            found.append(lease)
    return found
