"""Placement of jobs that ask for resources, over many turns with random changes, compared with the
rules of placement."""

from __future__ import annotations

from random import Random

import pytest

from titan.model.demand import NOTHING, Amounts, Demand, LaneKey, amounts_in, capabilities_of, fits_beside, minus, plus, within
from titan.scheduling.lane import Lane, sort_key
from titan.scheduling.place import Terms, place
from titan.scheduling.pool import MAX_RESERVATIONS, Pool

CAPABILITIES = (("A",), ("A", "B"), ("B",), ("B", "A", "C"))


class Walk:
    """A pool and its queues. The walk keeps its own record of the jobs that run on each worker."""

    def __init__(self, seed: int) -> None:
        self.rng = Random(seed)
        self.pool = Pool()
        self.total: dict[int, Amounts] = {}
        self.slots: dict[int, int] = {}
        self.offers: dict[int, tuple[str, ...]] = {}
        self.open: dict[int, bool] = {}
        self.running: dict[int, dict[int, LaneKey]] = {}
        self.lanes: dict[LaneKey, Lane] = {}
        self.pinned: dict[int, Lane] = {}
        self.waiting: dict[int, tuple[LaneKey, int, int]] = {}
        """Job -> (demand, priority, pin or 0)."""
        self.jobs = 0
        self.now = 0.0

    # -- changes -----------------------------------------------------------------------------------
    def worker(self, number: int) -> None:
        """Add a worker, or change an existing worker. Its running jobs continue. Jobs that are
        pinned to it leave if it cannot run them any more."""
        rng = self.rng
        self.total[number] = (rng.randrange(0, 5) * 500, rng.randrange(0, 9), rng.randrange(0, 3))
        self.slots[number] = rng.randint(1, 4)
        self.offers[number] = rng.choice(CAPABILITIES)
        self.open[number] = rng.random() < 0.85
        self.running.setdefault(number, {})
        self.put(number)
        for job, (demand, _, pin) in list(self.waiting.items()):
            if pin == number and not self.meets(number, demand):
                self.leave(job)

    def meets(self, worker: int, demand: LaneKey) -> bool:
        return set(capabilities_of(demand)) <= set(self.offers[worker]) and within(amounts_in(demand), self.total[worker])

    def put(self, number: int) -> None:
        self.pool.put(
            number,
            self.offers[number],
            self.slots[number],
            len(self.running[number]),
            open_=self.open[number],
            depth=number % 3,
            total=self.total[number],
            taken=self.taken(number),
        )

    def taken(self, number: int) -> Amounts:
        taken = NOTHING
        for demand in self.running[number].values():
            taken = plus(taken, amounts_in(demand))
        return taken

    def submit(self) -> None:
        rng = self.rng
        demand: LaneKey = rng.choice(("A", "B"))
        if rng.random() < 0.7:
            amounts = rng.choice(((0, 0, 0), (500, 0, 0), (1500, 0, 0), (0, rng.randrange(1, 9), 0), (0, 0, 1), (500, 3, 2)))
            demand = Demand(rng.choice((("A",), ("A", "B"), ("B",))), amounts)
            demand = demand.capabilities[0] if amounts == NOTHING and len(demand.capabilities) == 1 else demand
        pin = rng.choice(list(self.total)) if self.total and rng.random() < 0.2 else 0
        if pin and not self.meets(pin, demand):
            pin = 0
        self.jobs += 1
        priority = rng.choice((1, 1, 1, 5))
        self.waiting[self.jobs] = demand, priority, pin
        lane = self.pinned.get(pin) if pin else self.lanes.get(demand)
        if lane is None:
            lane = Lane(self.waiting.__contains__)
            if pin:
                self.pinned[pin] = lane
            else:
                self.lanes[demand] = lane
        lane.count += 1
        lane.push(priority, self.jobs)

    def cancel(self) -> None:
        if self.waiting:
            self.leave(self.rng.choice(list(self.waiting)))

    def leave(self, job: int) -> None:
        demand, _, pin = self.waiting.pop(job)
        lane = self.pinned[pin] if pin else self.lanes[demand]
        lane.count -= 1
        if not lane.count and not pin and not isinstance(demand, str):
            del self.lanes[demand]
            self.pool.forget(demand)

    def end(self) -> None:
        busy = [worker for worker, jobs in self.running.items() if jobs]
        if busy:
            worker = self.rng.choice(busy)
            demand = self.running[worker].pop(self.rng.choice(list(self.running[worker])))
            seat = self.pool.seats[worker]
            self.pool.use(worker, seat.used - 1, minus(seat.taken, amounts_in(demand)))

    # -- placement ---------------------------------------------------------------------------------
    def place(self) -> None:
        self.now += self.rng.choice((0.1, 1.0, 4.0))
        before = {worker: (len(jobs), self.taken(worker)) for worker, jobs in self.running.items()}
        terms = Terms(lambda job: self.waiting[job][0], self.now, 3.0)
        placed = place(self.lanes, self.pinned, list(self.total), self.pool, terms)
        for worker, jobs in placed.items():
            count, taken = before[worker]
            assert self.open[worker]
            for job in jobs:
                demand, _, pin = self.waiting[job]
                assert pin in (0, worker)
                assert set(capabilities_of(demand)) <= set(self.offers[worker])
                limit = self.slots[worker] + (0 if amounts_in(demand) != NOTHING else worker % 3)
                assert count < limit, "no room"
                assert fits_beside(amounts_in(demand), taken, self.total[worker]), "more than there is"
                count, taken = count + 1, plus(taken, amounts_in(demand))
                self.running[worker][job] = demand
                self.leave(job)
            assert (self.pool.seats[worker].used, self.pool.seats[worker].taken) == (len(self.running[worker]), self.taken(worker))
        self.judge()

    def judge(self) -> None:
        """Check that each waiting job has to wait: no worker has room for it, or the room is
        reserved for an earlier job."""
        holds = {w: seat.hold for w, seat in self.pool.seats.items() if seat.hold is not None}
        assert len(holds) <= MAX_RESERVATIONS
        heads: dict[tuple[LaneKey, int], int] = {}
        for job, (demand, priority, pin) in self.waiting.items():
            lane = (demand, 0) if not pin else ("", pin)
            heads[lane] = min(heads.get(lane, 1 << 200), sort_key(priority, job))
        for (_, lane_pin), key in heads.items():
            demand, _, _ = self.waiting[key & (1 << 64) - 1]
            for worker in [lane_pin] if lane_pin else self.total:
                hold = holds.get(worker)
                if hold is not None and hold.key < key:
                    continue
                used, asked = len(self.running[worker]), amounts_in(demand)
                room = self.slots[worker] + (0 if asked != NOTHING else worker % 3) - used
                fits = fits_beside(asked, self.taken(worker), self.total[worker])
                capable = set(capabilities_of(demand)) <= set(self.offers[worker])
                assert not (self.open[worker] and capable and room > 0 and fits), f"{demand} waits though {worker} has room"


@pytest.mark.parametrize("seed", range(150))
def test_placement_stays_within_resources_whatever_changes(seed: int) -> None:
    walk = Walk(seed)
    for number in range(1, walk.rng.randint(2, 7)):
        walk.worker(number)
    for _ in range(80):
        for _ in range(walk.rng.randint(1, 6)):
            change = walk.rng.choices(("submit", "end", "cancel", "worker"), (10, 10, 1, 1))[0]
            if change == "worker":
                walk.worker(walk.rng.randint(1, 7))
            else:
                getattr(walk, change)()
        walk.place()


@pytest.mark.parametrize("seed", range(20))
def test_a_large_job_is_placed_although_small_jobs_keep_arriving(seed: int) -> None:
    """The worker that has a reservation for the large job frees the resources within the longest of
    its running jobs, whatever the load."""
    rng = Random(seed)
    walk = Walk(seed)
    for number in range(1, rng.randint(2, 5)):
        walk.total[number], walk.slots[number], walk.offers[number], walk.open[number] = (4000, 8, 2), 6, ("A",), True
        walk.running[number] = {}
        walk.put(number)

    def add(demand: LaneKey) -> int:
        walk.jobs += 1
        walk.waiting[walk.jobs] = demand, 1, 0
        lane = walk.lanes.get(demand)
        if lane is None:
            lane = walk.lanes[demand] = Lane(walk.waiting.__contains__)
        lane.count += 1
        lane.push(1, walk.jobs)
        return walk.jobs

    small: list[LaneKey] = ["A", Demand(("A",), (1000, 0, 0)), Demand(("A",), (0, 3, 0)), Demand(("A",), (500, 0, 1))]
    for _ in range(60):
        add(rng.choice(small))
    walk.place()
    large = add(Demand(("A",), (4000, 8, 2)))
    for _ in range(400):
        for _ in range(3):
            add(rng.choice(small))
        oldest = [(min(jobs), worker) for worker, jobs in walk.running.items() if jobs]
        for job, worker in sorted(oldest)[:2]:
            demand = walk.running[worker].pop(job)
            seat = walk.pool.seats[worker]
            walk.pool.use(worker, seat.used - 1, minus(seat.taken, amounts_in(demand)))
        walk.place()
        if large not in walk.waiting:
            return
    pytest.fail("it waits for ever")
