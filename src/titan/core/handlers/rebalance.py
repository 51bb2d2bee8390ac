"""What waits on a busy worker goes to one that has nothing to do: so prefetching never makes a job
wait behind a long one.

When all queues that an idle worker serves are empty, attempts that wait elsewhere are asked back,
the last dispatched first. The busy worker hands them back if they have not started; then they are
queued again, at their old place, and find the idle one.
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
"""Idle and overfull workers that are looked at in one turn: the work per turn is bounded, the next
turn goes on."""


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
        # Quick work, of which it may hold more than it has slots, comes in bulk: an even share of
        # what waits elsewhere.
        wanted = max(seat.slots - seat.used, min(seat.room, share)) - _on_their_way(turn.state, recalls)
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
    """What waits behind as many services as its worker has slots, by worker: it would wait for
    ever, and is to be queued again."""
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
    """Attempts that wait on workers beyond their slots and were not asked for."""
    seats = state.pool.seats
    overfull = ((seats[w], state.workers[w]) for w in islice(state.pool.surplus, LOOK_AT))
    return sum(seat.used - seat.slots - len(worker.recalled) for seat, worker in overfull)


def _on_their_way(state: State, recalls: dict[int, list[int]]) -> int:
    """Attempts that were asked back before and have not come: they will fill slots that are idle
    now."""
    asked = sum(len(state.workers[w].recalled) for w in islice(state.pool.surplus, LOOK_AT))
    return asked + sum(map(len, recalls.values()))


def _waiting(state: State, worker: Worker, capabilities: tuple[str, ...], chosen: list[int]) -> list[int]:
    """Leases beyond the worker's slots that have not started and that one with these capabilities
    may take, the newest first."""
    if not worker.connection:
        return []
    spare = worker.used - worker.slots - len(worker.recalled) - len(chosen)
    found: list[int] = []
    for lease in reversed(worker.held):
        if len(found) >= spare:
            break
        job = state.jobs[worker.held[lease]]
        template = job.template
        # One that asks for resources has a slot already, or will have before those that were sent
        # to wait.
        free = job.state is JobState.DISPATCHED and not template.affinity and template.requirement in capabilities
        if free and template.needs is not None:
            free = amounts_of(template.needs) == NOTHING and all(c in capabilities for c in template.needs.capabilities)
        if free and lease not in worker.recalled and lease not in chosen:
            found.append(lease)
    return found
