"""The match: which queued jobs go to which workers now.

Jobs go by priority, then age, each to the least loaded worker that has its capability and room. A job that is pinned (its
affinity names a node) waits for that worker alone and blocks nobody else. Takes jobs out of the lanes and room out of the
pool; whoever calls makes the assignment true at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from titan.scheduling.lane import Lane
from titan.scheduling.pool import Pool


def place(lanes: Mapping[str, Lane], pinned: Mapping[int, Lane], touched: Iterable[int], pool: Pool) -> dict[int, list[int]]:
    """worker -> jobs. `touched` are the workers whose pinned jobs or room changed since the last call. O(log n) a job."""
    placed: dict[int, list[int]] = {}
    _fill(lanes, pinned, pool, placed)
    for worker in touched:
        lane = pinned.get(worker)
        while lane is not None and pool.room(worker) > 0 and lane.head() is not None:
            _assign(worker, lane, pool, placed)
    return placed


def _fill(lanes: Mapping[str, Lane], pinned: Mapping[int, Lane], pool: Pool, placed: dict[int, list[int]]) -> None:
    """The jobs that any capable worker may take, in order over all lanes that some worker with room serves.

    A worker that is chosen for one takes those first that are pinned to it and come before.
    """
    heads = []
    for capability, lane in lanes.items():
        if lane.count and pool.best(capability) is not None:
            key = lane.head()
            if key is not None:
                heads.append((key, capability))
    while heads:
        key, capability = min(heads)
        heads.remove((key, capability))
        limit = min(heads)[0] if heads else None
        lane = lanes[capability]
        while True:  # stay on this lane while it leads
            worker = pool.best(capability)
            if worker is None:
                break
            own = pinned.get(worker)
            first = own.head() if own is not None else None
            if own is not None and first is not None and first < key:
                _assign(worker, own, pool, placed)
                continue
            _assign(worker, lane, pool, placed)
            next_key = lane.head()
            if next_key is None:
                break
            key = next_key
            if limit is not None and key > limit:
                heads.append((key, capability))
                break


def _assign(worker: int, lane: Lane, pool: Pool, placed: dict[int, list[int]]) -> None:
    job = lane.pop()
    assert job is not None, "a lane that has a head has a job"
    placed.setdefault(worker, []).append(job)
    pool.use(worker, pool.seats[worker].used + 1)
