"""Placement over random clusters and queues, compared with the rules of placement."""

from __future__ import annotations

from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from titan.model.demand import LaneKey
from titan.scheduling.lane import Lane, sort_key
from titan.scheduling.place import place
from titan.scheduling.pool import Pool

CAPABILITIES = ("GENERAL", "GPU", "HIGH_MEM")


class Node(NamedTuple):
    capabilities: tuple[str, ...]
    slots: int
    used: int
    open: bool
    depth: int
    """Number of attempts that the worker may hold beyond its slots."""


class Wish(NamedTuple):
    capability: str
    priority: int
    pin: int
    """Worker to which the job is pinned, or -1."""


NODES = st.builds(
    Node,
    st.lists(st.sampled_from(CAPABILITIES), min_size=1, unique=True).map(tuple),
    st.integers(1, 4),
    st.integers(0, 4),
    st.booleans(),
    st.integers(0, 2),
)
WISHES = st.builds(Wish, st.sampled_from(CAPABILITIES), st.integers(-1, 2), st.integers(-1, 4))


def run(nodes: list[Node], wishes: list[Wish]) -> tuple[dict[int, list[int]], Pool]:
    """Place the jobs. Worker i is nodes[i], job i is wishes[i]. A pin is ignored if its worker does
    not exist or cannot run the job."""
    pool = Pool()
    for worker, node in enumerate(nodes):
        pool.put(worker, node.capabilities, node.slots, min(node.used, node.slots), open_=node.open, depth=node.depth)
    lanes: dict[LaneKey, Lane] = {c: Lane(lambda _: True) for c in CAPABILITIES}
    pinned: dict[int, Lane] = {}
    for job, wish in enumerate(wishes):
        pin = pin_of(nodes, wish)
        lane = lanes[wish.capability] if pin < 0 else pinned.setdefault(pin, Lane(lambda _: True))
        lane.count += 1
        lane.push(wish.priority, job)
    return place(lanes, pinned, range(len(nodes)), pool), pool


def pin_of(nodes: list[Node], wish: Wish) -> int:
    return wish.pin if 0 <= wish.pin < len(nodes) and wish.capability in nodes[wish.pin].capabilities else -1


@settings(max_examples=300, deadline=None)
@given(st.lists(NODES, max_size=5), st.lists(WISHES, max_size=25))
def test_placement_keeps_its_promises(nodes: list[Node], wishes: list[Wish]) -> None:
    placed, pool = run(nodes, wishes)
    jobs = [job for taken in placed.values() for job in taken]
    assert len(set(jobs)) == len(jobs), "a job was placed twice"
    where = {job: worker for worker, taken in placed.items() for job in taken}
    for worker, taken in placed.items():
        node = nodes[worker]
        assert node.open
        assert min(node.used, node.slots) + len(taken) <= node.slots + node.depth, "over capacity"
        assert pool.seats[worker].used == min(node.used, node.slots) + len(taken)
    for job, wish in enumerate(wishes):
        pin = pin_of(nodes, wish)
        if job in where:
            assert wish.capability in nodes[where[job]].capabilities
            assert pin in (-1, where[job]), "a pinned job went elsewhere"
        elif pin >= 0:
            assert pool.room(pin) <= 0, "a pinned job waits for a worker that has room"
            lesser = [other for other in placed.get(pin, ()) if wishes[other].priority < wish.priority]
            assert not lesser, "a later job took the room of a pinned job"
        else:
            assert pool.best(wish.capability) is None, "a job waits while a capable worker has room"
    for capability in CAPABILITIES:
        keys = {
            job: sort_key(w.priority, job) for job, w in enumerate(wishes) if w.capability == capability and pin_of(nodes, w) < 0
        }
        waiting = min((key for job, key in keys.items() if job not in where), default=None)
        assert waiting is None or all(keys[job] < waiting for job in keys if job in where), "out of order"
