"""The number of wardens that attempts share, and the choice of the warden for an attempt."""

from __future__ import annotations

from typing import cast

from titan.worker.processes.warden_link import WardenLink
from titan.worker.processes.warden_pool import MOST, PACE, Wardens


class Link:
    def __init__(self) -> None:
        self.load = 0
        self.ready = True


def wardens(most: int) -> tuple[Wardens, list[Link]]:
    made: list[Link] = []

    def launch() -> WardenLink:
        made.append(Link())
        return cast(WardenLink, made[-1])

    return Wardens(launch, most=most), made


def chosen(it: Wardens, now: float) -> Link:
    return cast(Link, it.choose(now))


def test_a_worker_at_its_usual_pace_has_one_warden() -> None:
    it, made = wardens(8)
    for n in range(10 * PACE):
        chosen(it, n * 0.01)
    assert len(made) == 1


def test_the_number_of_wardens_depends_on_starts_slots_and_cores() -> None:
    for most, expected in ((1, 1), (2, 2), (64, MOST)):
        it, made = wardens(most)
        counts = []
        for n in range(4 * PACE * MOST):
            chosen(it, n * 0.0001)
            counts.append(len(made))
        assert counts[PACE - 2] == 1 and counts[-1] == expected
        assert counts == sorted(counts)


def test_a_further_warden_starts_only_when_the_existing_ones_cannot_keep_up() -> None:
    it, made = wardens(4)
    for n in range(20 * PACE):
        chosen(it, n * 0.005)  # 200 attempts a second: more than one warden starts, and less than two start
    assert len(made) == 2


def test_an_attempt_goes_to_the_ready_warden_with_the_fewest_jobs() -> None:
    it, made = wardens(2)
    for _ in range(PACE):
        chosen(it, 1.0).load += 1
    first, second = made
    assert second.load == 1
    second.ready, first.load = False, 5
    assert chosen(it, 2.0) is first, "the second is still starting"
    second.ready = True
    assert chosen(it, 2.0) is second
    second.load = 6
    assert chosen(it, 2.0) is first
    first.ready = second.ready = False
    assert chosen(it, 2.0) is first


def test_an_attempt_behind_another_uses_the_same_warden_unless_that_is_crowded() -> None:
    it, made = wardens(2)
    assert not it.is_crowded(it.links[0])
    for _ in range(PACE):
        assert it.choose(1.0, it.links[0]) is it.links[0]
    first, second = it.links
    made[0].load, made[1].load = 4, 2
    assert not it.is_crowded(first) and it.choose(2.0, first) is first
    made[1].load = 1
    assert it.is_crowded(first) and not it.is_crowded(second)
    made[1].ready = False
    assert not it.is_crowded(first), "the second is still starting"


def test_there_is_always_a_warden() -> None:
    it, made = wardens(2)
    for _ in range(PACE):
        chosen(it, 1.0)
    assert len(it.links) == 2
    it.replace(it.links[0])
    assert [id(link) for link in it.links] == [id(made[1])]
    it.replace(it.links[0])
    assert [id(link) for link in it.links] == [id(made[2])]
