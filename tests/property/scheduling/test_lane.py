"""A lane gives the jobs in the defined order, in whatever order they are pushed, leave and come
back."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from titan.scheduling.lane import Lane

ORDERS = st.lists(st.tuples(st.sampled_from(["push", "push", "pop", "leave"]), st.integers(0, 15)), max_size=60)
PRIORITIES = [1, 5, 1, -2, 5, 1, 0, 1_000_000, 1, 5, 1, 1, -1_000_000, 2, 1, 1]


@settings(max_examples=200, deadline=None)
@given(ORDERS)
def test_a_lane_is_the_sorted_set_of_the_queued_jobs(orders: list[tuple[str, int]]) -> None:
    queued: dict[int, None] = {}
    lane = Lane(queued.__contains__)

    def in_order() -> list[int]:
        return sorted(queued, key=lambda job: (-PRIORITIES[job], job))

    for order, job in orders:
        if order == "push" and job not in queued:
            queued[job] = None
            lane.push(PRIORITIES[job], job)
        elif order == "leave":
            queued.pop(job, None)
        elif order == "pop":
            first = next(iter(in_order()), None)
            assert lane.pop() == first
            if first is not None:
                del queued[first]
        assert lane.jobs() == in_order()
