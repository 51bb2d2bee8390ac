"""Placement of jobs on workers in small cases. tests/property/scheduling has the large ones."""

from __future__ import annotations

from titan.model.demand import Demand, LaneKey
from titan.scheduling.lane import Lane
from titan.scheduling.place import Terms, place
from titan.scheduling.pool import Pool


def lane_of(*jobs: tuple[int, int]) -> Lane:
    """Return a lane with these jobs, given as (priority, job)."""
    lane = Lane(lambda _: True)
    for priority, job in jobs:
        lane.count += 1
        lane.push(priority, job)
    return lane


def pool_of(*workers: tuple[tuple[str, ...], int]) -> Pool:
    """Return a pool with the workers 1, 2, ..., given as (capabilities, slots)."""
    pool = Pool()
    for number, (capabilities, slots) in enumerate(workers, 1):
        pool.put(number, capabilities, slots, 0, open_=True)
    return pool


def test_jobs_are_spread_by_load() -> None:
    pool = pool_of((("A",), 4), (("A",), 2))
    assert place({"A": lane_of(*[(1, j) for j in range(6)])}, {}, [], pool) == {1: [0, 2, 3, 5], 2: [1, 4]}


def test_lanes_that_share_a_worker_take_turns_by_priority_and_age() -> None:
    lanes: dict[LaneKey, Lane] = {"A": lane_of((1, 1), (9, 4), (1, 5)), "B": lane_of((5, 2), (1, 3))}
    assert place(lanes, {}, [], pool_of((("A", "B"), 4))) == {1: [4, 2, 1, 3]}


def test_lanes_of_an_array_share_its_limit_and_leave_the_rest_to_others() -> None:
    some, more = Demand(("A",), array="r/p", most=3), Demand(("A", "B"), array="r/p", most=3)
    lanes: dict[LaneKey, Lane] = {some: lane_of((9, 1), (9, 2), (9, 3)), more: lane_of((5, 4)), "A": lane_of((1, 5), (1, 6))}
    terms = Terms(lambda job: some, active_in={"r/p": 1}.__getitem__)
    assert place(lanes, {}, [], pool_of((("A", "B"), 8)), terms) == {1: [1, 2, 5, 6]}
    assert lanes[some].head() is not None and lanes[more].head() is not None


def test_a_lane_without_a_capable_worker_blocks_no_other_lane() -> None:
    assert place({"C": lane_of((9, 1)), "A": lane_of((1, 2))}, {}, [], pool_of((("A",), 1))) == {1: [2]}


def test_a_pinned_job_keeps_its_place_between_other_jobs() -> None:
    lanes: dict[LaneKey, Lane] = {"A": lane_of((9, 3), (1, 4))}
    assert place(lanes, {1: lane_of((5, 2))}, [1], pool_of((("A",), 2))) == {1: [3, 2]}
    lanes = {"A": lane_of((1, 4), (1, 5))}
    assert place(lanes, {1: lane_of((1, 2))}, [1], pool_of((("A",), 2))) == {1: [2, 4]}


def test_a_pinned_job_precedes_a_lower_job_although_a_higher_job_goes_to_another_worker() -> None:
    lanes: dict[LaneKey, Lane] = {"A": lane_of((9, 3), (1, 4))}
    assert place(lanes, {2: lane_of((5, 2))}, [2], pool_of((("A",), 1), (("A",), 1))) == {1: [3], 2: [2]}


def test_a_pinned_job_waits_only_for_its_worker_and_blocks_no_other_job() -> None:
    pool = pool_of((("A",), 1), (("A",), 1))
    pool.use(1, 1)
    assert place({"A": lane_of((1, 4))}, {1: lane_of((9, 2))}, [1, 2], pool) == {2: [4]}


def test_a_pinned_job_of_an_unknown_worker_is_not_placed() -> None:
    assert place({}, {7: lane_of((1, 1))}, [7], Pool()) == {}
