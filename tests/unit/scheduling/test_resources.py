"""Jobs that ask for resources or for several capabilities, and the room that is reserved for
earlier jobs."""

from __future__ import annotations

from titan.model.demand import Amounts, Demand, LaneKey, amounts_in
from titan.scheduling.lane import Lane, sort_key
from titan.scheduling.place import Terms, place
from titan.scheduling.pool import MAX_RESERVATIONS, Pool

GENERAL = ("GENERAL",)
PLAIN = "GENERAL"


def wants(cpus: int = 0, memory: int = 0, gpus: int = 0, *, capabilities: tuple[str, ...] = GENERAL) -> Demand:
    """Return a demand. `cpus` counts whole CPUs."""
    return Demand(capabilities, (cpus * 1000, memory, gpus))


def pool_of(*workers: tuple[int, Amounts], depth: int = 0) -> Pool:
    """Return a pool with the workers 1, 2, ..., given as (slots, resources). CPUs are whole
    CPUs."""
    pool = Pool()
    for number, (slots, (cpus, memory, gpus)) in enumerate(workers, 1):
        pool.put(number, GENERAL, slots, 0, open_=True, depth=depth, total=(cpus * 1000, memory, gpus))
    return pool


class Queue:
    """Lanes by demand. Jobs are numbered in the order in which they are added."""

    def __init__(self, pool: Pool, patience_s: float = 5.0) -> None:
        self.pool = pool
        self.lanes: dict[LaneKey, Lane] = {}
        self.pinned: dict[int, Lane] = {}
        self.demands: dict[int, LaneKey] = {}
        self.where: dict[int, int] = {}
        self._patience_s = patience_s

    def add(self, demand: LaneKey, *, count: int = 1, priority: int = 1, pin: int = 0) -> None:
        lane = self.pinned.setdefault(pin, Lane(lambda _: True)) if pin else self.lanes.setdefault(demand, Lane(lambda _: True))
        for _ in range(count):
            job = len(self.demands) + 1
            self.demands[job] = demand
            lane.count += 1
            lane.push(priority, job)

    def place(self, now: float = 0.0, *, touched: list[int] | None = None) -> dict[int, list[int]]:
        terms = Terms(lambda job: self.demands[job], now, self._patience_s)
        placed = place(self.lanes, self.pinned, list(self.pool.seats) if touched is None else touched, self.pool, terms)
        self.where.update({job: worker for worker, jobs in placed.items() for job in jobs})
        return placed

    def end(self, *jobs: int) -> None:
        for job in jobs:
            seat = self.pool.seats[worker := self.where.pop(job)]
            a, b = seat.taken, amounts_in(self.demands[job])
            self.pool.use(worker, seat.used - 1, (a[0] - b[0], a[1] - b[1], a[2] - b[2]))


def test_a_worker_takes_as_many_as_its_resources_are_enough_for() -> None:
    queue = Queue(pool_of((8, (4, 100, 2))))
    queue.add(wants(cpus=1, memory=30), count=5)
    assert queue.place() == {1: [1, 2, 3]}
    queue.end(2)
    assert queue.place() == {1: [4]}


def test_jobs_with_resources_are_never_prefetched() -> None:
    queue = Queue(pool_of((1, (9, 9, 9)), depth=4))
    queue.add(wants(cpus=1), count=3)
    queue.add(PLAIN, count=3)
    assert queue.place() == {1: [1]}, "no later job overtakes them"


def test_a_job_goes_to_the_least_loaded_worker_that_has_room() -> None:
    queue = Queue(pool_of((4, (1, 9, 0)), (4, (8, 9, 0)), (4, (8, 9, 0))))
    queue.add(wants(cpus=2), count=4)
    assert queue.place() == {2: [1, 3], 3: [2, 4]}


def test_several_capabilities_must_be_on_one_worker() -> None:
    pool = Pool()
    both = Demand(("A", "B"))
    for number, capabilities in enumerate((("A",), ("B",), ("B", "C", "A")), 1):
        pool.put(number, capabilities, 1, 0, open_=True, depth=1)
    assert pool.best(both) == 3
    pool.put(4, ("A", "B"), 2, 1, open_=True)
    pool.use(3, 1)
    assert pool.best(both) == 4, "the pool also knows a group of workers that joined later"
    pool.use(4, 2)
    assert pool.best(both) == 3, "a job without resources may be prefetched there"
    pool.use(3, 2)
    assert pool.best(both) is None


def test_a_job_that_fits_on_no_worker_blocks_no_other_job() -> None:
    queue = Queue(pool_of((2, (4, 0, 0)), (2, (4, 0, 0))))
    queue.add(wants(gpus=1), priority=9)
    queue.add(PLAIN, count=2)
    queue.add(wants(cpus=4), count=2)
    assert queue.place() == {1: [2, 4], 2: [3, 5]}
    assert not queue.pool.holds, "there is no reservation, because no worker has a GPU"


# -- reservations ----------------------------------------------------------------------------------
def test_a_large_job_is_not_overtaken_for_ever_by_small_jobs() -> None:
    """Four small jobs run. Each that ends is followed by another small job, until the large job has
    waited long enough."""
    queue = Queue(pool_of((8, (4, 0, 0))))
    queue.add(wants(cpus=1), count=4)
    queue.place()
    queue.add(wants(cpus=4))
    queue.add(wants(cpus=1), count=9)
    assert queue.place(now=10.0) == {}
    queue.end(1)
    assert queue.place(now=14.0) == {1: [6]}, "it may be passed for a while"
    queue.end(2)
    assert queue.place(now=15.0) == {}
    queue.end(3, 4)
    assert queue.place(now=16.0) == {}
    queue.end(6)
    assert queue.place(now=17.0) == {1: [5]}
    queue.end(5)
    assert queue.place(now=18.0) == {1: [7, 8, 9, 10]}


def test_jobs_that_need_no_held_resource_continue_to_run() -> None:
    """While a GPU is busy for long, jobs without a GPU lose one slot, and no more."""
    queue = Queue(pool_of((4, (4, 0, 1))))
    queue.add(wants(gpus=1), count=2)
    queue.place()
    queue.add(PLAIN, count=9)
    queue.place(now=1.0)
    assert sorted(queue.where) == [1, 3, 4, 5], "all slots are used at first"
    queue.end(3, 4, 5)
    assert queue.place(now=9.0) == {1: [6, 7]}, "then one is kept"
    queue.end(1)
    assert queue.place(now=10.0) == {1: [2, 8]}


def test_no_job_is_prefetched_where_room_is_held() -> None:
    queue = Queue(pool_of((1, (4, 0, 0)), (1, (0, 0, 0)), depth=3))
    queue.add(PLAIN, count=2)
    queue.place()
    queue.add(wants(cpus=1))
    queue.add(PLAIN, count=9)
    assert queue.place(now=1.0) == {2: [4, 5, 6]}
    queue.end(1)
    assert queue.place(now=1.1) == {1: [3, 7, 8, 9]}, "the reservation ends when the job has room"


def test_a_job_of_higher_priority_takes_the_room_held_for_a_lower_one() -> None:
    queue = Queue(pool_of((2, (4, 0, 0))), patience_s=0.0)
    queue.add(wants(cpus=3))
    queue.place()
    queue.add(wants(cpus=2))
    assert queue.place(now=1.0) == {}
    assert list(queue.pool.holds) == [1]
    queue.add(PLAIN)
    assert queue.place(now=2.0) == {}, "the free slot is reserved for the second job"
    queue.add(wants(cpus=1), priority=9)
    assert queue.place(now=3.0) == {1: [4]}


def test_room_is_held_on_the_same_worker_as_long_as_possible() -> None:
    queue = Queue(pool_of((2, (4, 0, 0)), (2, (4, 0, 0))), patience_s=0.0)
    queue.add(wants(cpus=3), count=2)
    queue.place()
    queue.add(wants(cpus=4))
    queue.place(now=1.0)
    (home,) = queue.pool.holds
    queue.pool.put(3 - home, GENERAL, 2, 1, open_=True, total=(4000, 0, 0), taken=(1000, 0, 0))
    queue.place(now=2.0)
    assert list(queue.pool.holds) == [home], "the reservation stays, although the other worker would have room earlier"
    queue.pool.put(home, GENERAL, 2, 1, open_=False, total=(4000, 0, 0), taken=(3000, 0, 0))
    queue.place(now=3.0)
    assert list(queue.pool.holds) == [3 - home]


def test_room_is_held_for_a_pinned_job() -> None:
    queue = Queue(pool_of((2, (4, 0, 0)), (2, (4, 0, 0))), patience_s=0.0)
    queue.add(wants(cpus=3), count=2)
    queue.place()
    queue.add(wants(cpus=2), pin=1)
    queue.add(PLAIN, count=4)
    assert queue.place(now=1.0) == {2: [4]}
    queue.end(1)
    assert queue.place(now=2.0) == {1: [3, 5]}


def test_jobs_pinned_to_one_worker_run_in_their_order() -> None:
    queue = Queue(pool_of((4, (4, 0, 0))))
    queue.add(wants(cpus=3))
    queue.place()
    queue.add(wants(cpus=2), pin=1)
    queue.add(PLAIN, pin=1)
    assert queue.place() == {}
    queue.end(1)
    assert queue.place() == {1: [2, 3]}


def test_demands_that_reserve_workers_are_bounded() -> None:
    queue = Queue(pool_of(*[(1, (1, 0, 0))] * 40))
    queue.add(wants(cpus=1), count=40)
    queue.place()
    for milli in range(1, 31):
        queue.add(Demand(GENERAL, (milli, 0, 0)))
    assert queue.place() == {}
    assert len(queue.pool.holds) == MAX_RESERVATIONS


# -- views -----------------------------------------------------------------------------------------
def test_an_outdated_view_of_the_pool_is_rebuilt() -> None:
    pool = pool_of((1, (4, 0, 0)), (1, (8, 0, 0)))
    assert pool.best(wants(cpus=6)) == 2
    for i in range(5000):
        pool.use(1, (i + 1) % 2)
    assert len(pool._log) < 1100
    assert (pool.best(wants(cpus=6)), pool.best(wants(cpus=3))) == (2, 1)
    pool.drop(2)
    assert (pool.best(wants(cpus=6)), list(pool.able(wants(cpus=6)))) == (None, [])


def test_without_demands_for_resources_nothing_is_logged() -> None:
    pool = pool_of((4, (4, 0, 0)))
    for i in range(100):
        pool.use(1, i % 4)
    assert pool._log == []


def test_the_number_of_jobs_before_a_job_is_counted() -> None:
    lane = Lane(lambda job: job % 2 == 0)
    for job in (2, 4, 5, 6, 8, 3, 7):
        lane.push(1, job)
    assert [lane.ahead(sort_key(1, job)) for job in (2, 3, 6, 9)] == [0, 1, 2, 4]


def test_a_pinned_job_behind_a_hold_gets_the_room_before_a_later_job() -> None:
    queue = Queue(pool_of((1, (4, 9, 9)), depth=1), patience_s=0.0)
    queue.add(PLAIN)
    queue.place()  # the slot is taken, and one attempt may wait behind it
    queue.add(wants(cpus=4))
    queue.add(PLAIN, pin=1)
    queue.add(wants(cpus=3))
    assert queue.place(1.0) == {} and queue.pool.holds, "the room is reserved for the job before the pinned job"
    queue.lanes[wants(cpus=4)].pop()
    queue.lanes[wants(cpus=4)].count -= 1  # the job was cancelled, and nothing changed on the worker
    assert queue.place(2.0, touched=[]) == {1: [3]}
