"""Rebalancing: attempts that wait on a busy worker are recalled for an idle one. Prefetching thus
never makes a job wait behind a long one.

When all queues that an idle worker serves are empty, the master recalls attempts that wait
elsewhere, the last dispatched first. The busy worker hands back those that have not started. They
are queued again in their old place, and the idle worker takes them.
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
"""Maximum number of idle and of overfull workers to check in one turn. The next turn goes on."""


def take_back(turn: Turn) -> None:
    pool = turn.state.pool
    if not pool.surplus or not (pool.idle or turn.state.services):
        return
    recalls = _behind_services(turn.state) if turn.state.services else {}
    share = _spare(turn.state) // (1 + min(LOOK_AT, len(pool.idle)))
    for idle in islice(pool.idle, LOOK_AT):
        seat = pool.seats[idle]
        if seat.hold is not None:
            continue  # its free slots wait for another job
        # Quick jobs may exceed the slots of a worker: take an even share of the jobs that wait
        # elsewhere.
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
    """Return by worker the leases of attempts that wait behind services in all its slots. They
    would wait for ever, so they must be queued again."""
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
    """Return the number of attempts that were recalled but have not come back. They will fill slots
    that are idle now."""
    asked = sum(len(state.workers[w].recalled) for w in islice(state.pool.surplus, LOOK_AT))
    return asked + sum(map(len, recalls.values()))


def _waiting(state: State, worker: Worker, capabilities: tuple[str, ...], chosen: list[int]) -> list[int]:
    """Return leases beyond the worker's slots that have not started and need only these
    capabilities, newest first."""
    if not worker.connection:
        return []
    spare = worker.used - worker.slots - len(worker.recalled) - len(chosen)
    found: list[int] = []
    for lease in reversed(worker.held):
        if len(found) >= spare:
            break
        job = state.jobs[worker.held[lease]]
        template = job.template
        # An attempt that asks for resources has a slot, or gets one before those sent to wait.
        movable = job.state is JobState.DISPATCHED and not template.affinity and template.requirement in capabilities
        if movable and template.needs is not None:
            movable = amounts_of(template.needs) == NOTHING and all(c in capabilities for c in template.needs.capabilities)
        if movable and lease not in worker.recalled and lease not in chosen:
            found.append(lease)
    return found
