"""Placement: decides which queued jobs go to which workers now.

Jobs are placed by priority, then age. A job goes to the least loaded worker that has the job's
capabilities and room for it. A pinned job (its affinity names a node) waits for that node only and
blocks no other job; the jobs pinned to one node keep their order. If no worker has the resources of
a job free, later jobs overtake it, but not for ever: the pool reserves room for the job on one
worker (`Pool.keep_room`). The lane of an array whose jobs on workers have reached their limit is
left out. No job of such an array is pinned.

Placement removes jobs from the lanes and room from the pool. The caller must apply the returned
assignment at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from heapq import heapify, heappop, heappush

import msgspec

from titan.model.demand import Demand, LaneKey, amounts_in, plus
from titan.scheduling.lane import Lane, job_of
from titan.scheduling.pool import Pool


class Terms(msgspec.Struct):
    """Parameters of a placement besides lanes and workers. The caller may reuse the object with
    another `now`."""

    demand_of: Callable[[int], LaneKey] = lambda job: ""
    """Returns the demand of a job."""
    now: float = 0.0
    patience_s: float = 0.0
    """Time for which later jobs may overtake the first job of a lane and take the room it needs."""
    active_in: Callable[[str], int] = lambda array: 0
    """Returns the number of jobs of an array that are on workers."""


def place(
    lanes: Mapping[LaneKey, Lane], pinned: Mapping[int, Lane], touched: Iterable[int], pool: Pool, terms: Terms | None = None
) -> dict[int, list[int]]:
    """Return the jobs to dispatch, by worker. O(log n) per job.

    `touched` are the workers whose pinned jobs or room changed since the last call.
    """
    placed: dict[int, list[int]] = {}
    terms = terms or Terms()
    # This placement makes all reservations anew, so jobs pinned to these workers may have room now.
    reserved = list(pool.holds)
    if reserved or pool.stuck:
        pool.begin()
    _fill(lanes, pinned, pool, placed, terms)
    for worker in dict.fromkeys((*touched, *reserved)) if reserved else touched:
        lane = pinned.get(worker)
        while lane is not None:
            key = lane.head()
            if key is None:
                break
            demand = terms.demand_of(job_of(key))
            if not pool.fits(worker, demand, key):
                break
            _assign(worker, lane, demand, pool, placed)
    return placed


def _fill(
    lanes: Mapping[LaneKey, Lane], pinned: Mapping[int, Lane], pool: Pool, placed: dict[int, list[int]], terms: Terms
) -> None:
    """Place the jobs that are not pinned, in order over all lanes.

    Before a chosen worker takes a job, it takes the jobs pinned to it that come before that job.
    """
    heads = _heads(lanes, pool, terms)
    taken: dict[str, int] = {}
    """Array -> number of its jobs placed so far."""
    while heads:
        key, demand = heappop(heads)
        limit = heads[0][0] if heads else None
        lane = lanes[demand]
        while True:  # stay on this lane while its first job comes before those of the other lanes
            if not isinstance(demand, str) and _is_full(demand, terms, taken):
                break
            worker = pool.best(demand)
            if worker is None:
                if type(demand) is not str and pool.may_hold(demand):
                    _wait_for_room(lane, key, demand, pool, terms)
                break
            own = pinned.get(worker)
            first = own.head() if own is not None else None
            if own is not None and first is not None and first < key:
                own_demand = terms.demand_of(job_of(first))
                if pool.fits(worker, own_demand, first):
                    _assign(worker, own, own_demand, pool, placed)
                    continue
                if pool.keep_room(worker, own_demand, first, firm=_is_firm(own, terms)):
                    continue
            _assign(worker, lane, demand, pool, placed)
            if not isinstance(demand, str) and demand.most:
                taken[demand.array] = taken.get(demand.array, 0) + 1
            next_key = lane.head()
            if next_key is None:
                break
            key = next_key
            if limit is not None and key > limit:
                heappush(heads, (key, demand))
                break


def _is_full(demand: Demand, terms: Terms, taken: Mapping[str, int]) -> bool:
    """Return True if no further job of the demand's array may go to a worker."""
    return demand.most > 0 and terms.active_in(demand.array) + taken.get(demand.array, 0) >= demand.most


def _heads(lanes: Mapping[LaneKey, Lane], pool: Pool, terms: Terms) -> list[tuple[int, LaneKey]]:
    """Return a heap of (key of the first job, demand) for the lanes whose first job some worker can
    take or reserve room for. Keys are unique."""
    heads: list[tuple[int, LaneKey]] = []
    for demand, lane in lanes.items():
        if not isinstance(demand, str) and _is_full(demand, terms, {}):
            continue
        if lane.count and (pool.best(demand) is not None or (type(demand) is not str and pool.may_hold(demand))):
            key = lane.head()
            if key is not None:
                heads.append((key, demand))
    if len(heads) > 1:
        heapify(heads)
    return heads


def _wait_for_room(lane: Lane, key: int, demand: LaneKey, pool: Pool, terms: Terms) -> None:
    """Reserve room on one worker for the first job of a lane, which fits nowhere. The job keeps the
    same worker as long as possible."""
    assert isinstance(demand, Demand)
    firm = _is_firm(lane, terms)
    worker = pool.nearest(demand, lane.home)
    if worker is not None and pool.keep_room(worker, demand, key, firm=firm):
        lane.home = worker


def _is_firm(lane: Lane, terms: Terms) -> bool:
    if lane.blocked_at < 0.0:
        lane.blocked_at = terms.now
    return terms.now - lane.blocked_at >= terms.patience_s


def _assign(worker: int, lane: Lane, demand: LaneKey, pool: Pool, placed: dict[int, list[int]]) -> None:
    job = lane.pop()
    assert job is not None, "a lane that has a head has a job"
    placed.setdefault(worker, []).append(job)
    seat = pool.seats[worker]
    if type(demand) is str:
        pool.use(worker, seat.used + 1)
    else:
        pool.use(worker, seat.used + 1, plus(seat.taken, amounts_in(demand)))
        lane.blocked_at = -1.0
