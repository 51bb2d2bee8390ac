"""The queue of one capability: by priority, then age."""

from __future__ import annotations

from titan.scheduling.lane import Lane, sort_key


def drain(lane: Lane) -> list[int]:
    taken = []
    while (job := lane.pop()) is not None:
        taken.append(job)
    return taken


def test_priority_goes_before_age() -> None:
    lane = Lane(lambda _: True)
    for priority, job in ((1, 1), (5, 2), (1, 3), (5, 4), (-3, 5)):
        lane.push(priority, job)
    assert lane.jobs() == [2, 4, 1, 3, 5]
    assert drain(lane) == [2, 4, 1, 3, 5]


def test_a_job_that_returns_has_its_old_place_in_the_lane() -> None:
    lane = Lane(lambda _: True)
    for job in range(1, 5):
        lane.push(1, job)
    assert lane.pop() == 1
    lane.push(1, 1)
    assert drain(lane) == [1, 2, 3, 4]


def test_a_job_that_is_no_longer_ready_is_dropped_at_its_turn() -> None:
    gone = {1, 3}
    lane = Lane(lambda job: job not in gone)
    for job in (2, 3, 1):
        lane.push(1, job)
    assert lane.head() == sort_key(1, 2)
    assert lane.jobs() == [2]
    assert drain(lane) == [2]


def test_a_job_that_was_pushed_twice_is_taken_once() -> None:
    """The job left the lane, went elsewhere, and came back before its first entry had reached the
    front."""
    lane = Lane(lambda _: True)
    for job in (7, 8, 7, 7, 8):
        lane.push(1, job)
    assert lane.jobs() == [7, 8]
    assert drain(lane) == [7, 8]


def test_a_lane_without_ready_jobs_is_empty() -> None:
    lane = Lane(lambda _: False)
    lane.push(1, 1)
    assert (lane.head(), lane.pop(), lane.jobs()) == (None, None, [])


def test_numbers_of_a_later_term_are_younger_whatever_their_size() -> None:
    assert sort_key(1, (1 << 32) + 5) < sort_key(1, 2 << 32) < sort_key(1, (1 << 63) - 1) < sort_key(0, 1)
    assert sort_key(1_000_000, 1) < sort_key(1, 1) < sort_key(-1_000_000, 1)
