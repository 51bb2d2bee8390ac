"""The pool of workers by load: finds the least loaded worker that can run a job.

Workers with equal capabilities form a group. A group keeps its members in a heap by load (attempts
per slot). A worker whose load changes gets a new entry, and only a worker's newest entry is valid.
Beyond its slots a worker may prefetch `depth` attempts. Its load is then above 1, so the pool
prefetches only when no slot is free. To change a load or to choose a worker costs O(log workers),
whatever the number of capabilities or jobs.

A job that asks for resources is only placed on a free slot. If it waited on a worker, it would
block resources that it does not use yet. The module `view` keeps the workers that can take such
jobs, by demand.

If such a job is the first of its lane and fits nowhere, the pool makes a *reservation* for it on
one worker. At first, the reservation only keeps that worker from prefetching later jobs. When the
reservation is firm, later jobs see the worker as if the reserved job were running there. Each
placement makes the reservations anew, in the order of the jobs.
"""

from __future__ import annotations

from collections.abc import Iterable
from heapq import heapify, heappop, heappush

import msgspec

from titan.model.demand import NOTHING, Amounts, Demand, LaneKey, amounts_in, fits_beside, minus, plus, within
from titan.scheduling.view import View

MAX_VIEWS = 256
FIRST = 4
FRESH = 64
"""Maximum number of changed workers that the pool checks one by one for a demand."""
MAX_RESERVATIONS = 8
"""Maximum number of reservations at a time. Each reservation leaves capacity unused and adds work
to each placement."""


class Reservation(msgspec.Struct, frozen=True, gc=False):
    """Room that a worker keeps free for one job."""

    key: int
    """Sort key of the job; later jobs have greater keys."""
    amounts: Amounts
    firm: bool
    """True: later jobs see the worker as if the reserved job were running there. False: the
    worker only prefetches no later jobs."""


class Seat(msgspec.Struct):
    """The pool's record of one worker."""

    group: Group
    slots: int
    depth: int
    """Attempts that the worker may hold beyond its slots."""
    used: int
    open: bool
    """True if the worker takes new work: connected and not draining."""
    stamp: int = 0
    total: Amounts = NOTHING
    taken: Amounts = NOTHING
    hold: Reservation | None = None

    @property
    def room(self) -> int:
        """Number of further jobs that the worker can take if they ask for no resources and come
        after the job of the reservation."""
        if not self.open:
            return 0
        return self.slots + self.depth - self.used if self.hold is None else self.slots - self.used - self.hold.firm

    @property
    def unheld(self) -> int:
        """Number of further jobs that the worker can take if they ask for no resources and come
        before the job of the reservation."""
        return self.slots + self.depth - self.used if self.open else 0


class Group:
    """Workers of equal capabilities."""

    __slots__ = ("capabilities", "heap", "size")

    def __init__(self, capabilities: tuple[str, ...]) -> None:
        self.capabilities = capabilities
        self.heap: list[tuple[float, int, int]] = []  # (load, worker, stamp)
        self.size = 0


class Pool:
    __slots__ = (
        "_changed", "_fresh", "_groups", "_hopeless", "_log", "_most", "_read", "_serving", "_stamp", "_views", "holds",
        "idle", "seats", "stuck", "surplus",
    )  # fmt: skip

    def __init__(self) -> None:
        self.seats: dict[int, Seat] = {}
        self._groups: dict[tuple[str, ...], Group] = {}
        self._serving: dict[LaneKey, list[Group]] = {}
        self._stamp = 0
        self._views: dict[Demand, View] = {}
        self._log: list[int] = []
        """Workers that changed. Each view reads the log from its own position."""
        self._read = 0
        """Number of entries dropped from the start of the log."""
        self.stuck: dict[Demand, None] = {}
        """Demands that fit nowhere. Only a worker that has changed since then can meet them."""
        self._changed: dict[int, None] = {}
        """Workers that changed since this placement began; recorded while any demand is stuck."""
        self._fresh: dict[int, None] = {}
        """Workers that changed between the start of the last placement and that of this one."""
        self._most: Amounts | None = None
        """Greatest free amount of each resource on any worker in `_fresh`; None: not computed."""
        self._hopeless: dict[Demand, None] = {}
        """Demands for which no worker has enough in total. Cleared when a worker joins or
        changes."""
        self.holds: dict[int, None] = {}
        """Workers with a reservation."""
        self.idle: dict[int, None] = {}
        """Workers that take work and have a free slot."""
        self.surplus: dict[int, None] = {}
        """Workers that hold more attempts than slots."""

    def put(
        self,
        worker: int,
        capabilities: tuple[str, ...],
        slots: int,
        used: int,
        *,
        open_: bool,
        depth: int = 0,
        total: Amounts = NOTHING,
        taken: Amounts = NOTHING,
    ) -> None:
        """Add a worker, or replace the record of it."""
        seat = self.seats.get(worker)
        if seat is not None and seat.group.capabilities != capabilities:
            self.drop(worker)
            seat = None
        if seat is None:
            group = self._groups.get(capabilities)
            if group is None:
                group = self._groups[capabilities] = Group(capabilities)
                for capability in capabilities:
                    self._serving.setdefault(capability, []).append(group)
                for key, groups in self._serving.items():
                    if not isinstance(key, str) and _offers(capabilities, key):
                        groups.append(group)
            group.size += 1
            seat = self.seats[worker] = Seat(group, slots, depth, used, open_)
        seat.slots, seat.depth, seat.used, seat.open = slots, depth, used, open_
        seat.total, seat.taken = total, taken
        self._hopeless.clear()
        self._enter(worker, seat)

    def drop(self, worker: int) -> None:
        seat = self.seats.pop(worker, None)
        if seat is not None:
            seat.group.size -= 1
            self.idle.pop(worker, None)
            self.surplus.pop(worker, None)
            self.holds.pop(worker, None)
            if self._views:
                self._note_change(worker)

    def use(self, worker: int, used: int, taken: Amounts | None = None) -> None:
        """Set the number of attempts that a worker holds, and its resources in use. If `taken` is
        None, the resources stay as they are."""
        seat = self.seats[worker]
        seat.used = used
        if taken is not None:
            seat.taken = taken
        self._enter(worker, seat)

    def deepen(self, worker: int, depth: int) -> None:
        """Set how many attempts a worker may hold beyond its slots. The caller must then call
        `use`, which enters the worker into its group's heap again."""
        self.seats[worker].depth = depth

    def best(self, demand: LaneKey) -> int | None:
        """Return the least loaded worker that meets a demand and has room, or None. Among equals
        the lowest number wins."""
        groups = self._serving.get(demand)
        if groups is None:
            if isinstance(demand, str):
                return None
            if demand.scarce:
                return self._best_for(demand)
            groups = self._serving[demand] = [g for g in self._groups.values() if _offers(g.capabilities, demand)]
        chosen, least = None, float("inf")
        for group in groups:
            top = self._top(group)
            if top is not None and (top[0], top[1]) < (least, -1 if chosen is None else chosen):
                least, chosen = top[0], top[1]
        return chosen

    def room(self, worker: int) -> int:
        seat = self.seats.get(worker)
        return 0 if seat is None else seat.room

    def fits(self, worker: int, demand: LaneKey, key: int) -> bool:
        """Return True if the job with sort key `key` may go to a worker now. Capabilities are not
        checked."""
        seat = self.seats.get(worker)
        if seat is None:
            return False
        hold = seat.hold if seat.hold is not None and seat.hold.key < key else None
        if isinstance(demand, str) or not demand.scarce:
            return (seat.unheld if hold is None else seat.room) > 0
        return _has_free(seat, demand.amounts, hold)

    def able(self, demand: Demand) -> dict[int, None]:
        """Return the workers that take work and whose total resources meet a demand."""
        return self._view(demand).able

    # -- reservations ------------------------------------------------------------------------------
    def keep_room(self, worker: int, demand: LaneKey, key: int, *, firm: bool) -> bool:
        """Reserve room on a worker for the job with sort key `key`. Return False if the worker has
        a reservation already, or the limit is reached."""
        seat = self.seats.get(worker)
        if seat is None or seat.hold is not None or not seat.open or len(self.holds) >= MAX_RESERVATIONS:
            return False
        seat.hold = Reservation(key, amounts_in(demand), firm)
        self.holds[worker] = None
        self._enter(worker, seat)
        return True

    def may_hold(self, demand: LaneKey) -> bool:
        """Return True if a reservation is possible for a demand: it asks for resources, and the
        limit is not reached."""
        return not isinstance(demand, str) and demand.scarce and len(self.holds) < MAX_RESERVATIONS and demand not in self._hopeless

    def begin(self) -> None:
        """Begin a placement: clear the reservations, and set `_fresh` to the workers that changed
        since the last placement began."""
        for worker in self.holds:
            seat = self.seats[worker]
            seat.hold = None
            self._enter(worker, seat)
        self.holds.clear()
        if self.stuck:
            self._fresh, self._changed, self._most = self._changed, {}, None

    def nearest(self, demand: Demand, preferred: int) -> int | None:
        """Return the worker on which the smallest share of resources has to become free for a
        demand, or None.

        Workers with a reservation do not count. `preferred` is chosen if its total resources meet
        the demand.
        """
        seat = self.seats.get(preferred)
        if seat is not None and seat.hold is None and _is_able(seat, demand):
            return preferred
        able = self.able(demand)
        if not able:
            self._hopeless[demand] = None
        free = [(*_shortage(self.seats[w], demand.amounts), w) for w in able if w not in self.holds]
        return min(free)[-1] if free else None

    def forget(self, demand: Demand) -> None:
        """Drop all records of a demand that no job has any more."""
        self._serving.pop(demand, None)
        self.stuck.pop(demand, None)
        self._hopeless.pop(demand, None)

    # -- views -------------------------------------------------------------------------------------
    def _view(self, demand: Demand) -> View:
        view = self._views.get(demand)
        if view is None:
            while len(self._views) >= MAX_VIEWS:
                del self._views[next(iter(self._views))]
            view = self._views[demand] = View(demand)
        if view.cursor < self._read:
            view.able.clear()
            view.heap.clear()
            self._show(view, self.seats)
        elif view.cursor < self._read + len(self._log):
            self._show(view, dict.fromkeys(self._log[view.cursor - self._read :]))
        view.cursor = self._read + len(self._log)
        return view

    def _note_change(self, worker: int) -> None:
        """Log a changed worker for the views. Drop views that lag so far behind the log that a
        rebuild costs no more than catching up."""
        self._log.append(worker)
        if len(self._log) > 2 * len(self.seats) + 1024:
            gone = len(self._log) // 2
            self._read += gone
            del self._log[:gone]
            for demand in [demand for demand, view in self._views.items() if view.cursor < self._read]:
                del self._views[demand]

    def _show(self, view: View, workers: Iterable[int]) -> None:
        amounts = view.demand.amounts
        for worker in workers:
            seat = self.seats.get(worker)
            if seat is None:
                view.note(worker, able=False, load=-1.0, stamp=0)
                continue
            able = _is_able(seat, view.demand)
            load = seat.used / seat.slots if able and _has_free(seat, amounts, seat.hold) else -1.0
            view.note(worker, able=able, load=load, stamp=seat.stamp)
        if len(view.heap) > 4 * len(view.able) + 64:
            view.compact({worker: seat.stamp for worker, seat in self.seats.items()})

    def _best_for(self, demand: Demand) -> int | None:
        """Return the result of `best` for a demand that includes resources."""
        if demand in self.stuck:
            if len(self._fresh) <= FRESH:
                return self._best_fresh(demand)
            del self.stuck[demand]
        worker = self._first_fit(demand)
        if worker is None:
            worker = self._fitting(self._view(demand))
        if worker is None:
            self.stuck[demand] = None
        return worker

    def _first_fit(self, demand: Demand) -> int | None:
        """Return the least loaded worker where the demand fits, if it is among the FIRST workers of
        each group by load; otherwise None. This search needs no view."""
        chosen: tuple[float, int] | None = None
        for group in self._groups.values():
            if not _offers(group.capabilities, demand):
                continue
            heap = group.heap
            passed: list[tuple[float, int, int]] = []
            fit = None
            while len(passed) < FIRST and (top := self._top(group)) is not None:
                seat = self.seats[top[1]]
                if _is_able(seat, demand) and _has_free(seat, demand.amounts, seat.hold):
                    fit = top[0], top[1]
                    break
                passed.append(heappop(heap))
            for entry in passed:
                heappush(heap, entry)
            if fit is None and len(passed) == FIRST:
                return None
            if fit is not None and (chosen is None or fit < chosen):
                chosen = fit
        return chosen[1] if chosen is not None else None

    def _best_fresh(self, demand: Demand) -> int | None:
        """Return the least loaded worker in `_fresh` where the demand fits, or None."""
        if self._most is None:
            self._most = NOTHING
            for worker in self._fresh:
                seat = self.seats.get(worker)
                if seat is not None and seat.open and seat.used < seat.slots:
                    self._most = _greatest(self._most, minus(seat.total, seat.taken))
        if not within(demand.amounts, self._most):
            return None
        found = [
            (seat.used / seat.slots, worker)
            for worker in self._fresh
            if (seat := self.seats.get(worker)) is not None
            and _has_free(seat, demand.amounts, seat.hold)
            and _offers(seat.group.capabilities, demand)
        ]
        return min(found)[1] if found else None

    def _fitting(self, view: View) -> int | None:
        heap = view.heap
        while heap:
            if self._good(heap[0]):
                return heap[0][1]
            view.drop_top()
        return None

    def _enter(self, worker: int, seat: Seat) -> None:
        self._stamp += 1
        seat.stamp = self._stamp
        if self._views:
            self._note_change(worker)
        if self.stuck:
            self._changed[worker] = None
        used, slots = seat.used, seat.slots
        if used < slots and seat.open:
            self.idle[worker] = None
        else:
            self.idle.pop(worker, None)
        if used > slots:
            self.surplus[worker] = None
        else:
            self.surplus.pop(worker, None)
        if not seat.open or (slots + seat.depth <= used if seat.hold is None else seat.room <= 0):
            return
        heap = seat.group.heap
        heappush(heap, (used / slots, worker, self._stamp))
        if len(heap) > 4 * seat.group.size + 64:
            heap[:] = [entry for entry in heap if self._good(entry)]
            heapify(heap)

    def _good(self, entry: tuple[float, int, int]) -> bool:
        seat = self.seats.get(entry[1])
        return seat is not None and seat.stamp == entry[2]

    def _top(self, group: Group) -> tuple[float, int, int] | None:
        heap = group.heap
        while heap:
            if self._good(heap[0]):
                return heap[0]
            heappop(heap)
        return None


def _offers(capabilities: tuple[str, ...], demand: Demand) -> bool:
    return all(capability in capabilities for capability in demand.capabilities)


def _greatest(a: Amounts, b: Amounts) -> Amounts:
    return max(a[0], b[0]), max(a[1], b[1]), max(a[2], b[2])


def _is_able(seat: Seat, demand: Demand) -> bool:
    """Return True if a worker takes work and its total resources, free or not, meet a demand."""
    return seat.open and within(demand.amounts, seat.total) and _offers(seat.group.capabilities, demand)


def _has_free(seat: Seat, amounts: Amounts, hold: Reservation | None) -> bool:
    """Return True if a worker has a free slot and enough free resources beside its reservation."""
    used, taken = seat.used, seat.taken
    if hold is not None and hold.firm:
        used, taken = used + 1, plus(taken, hold.amounts)
    return seat.open and used < seat.slots and fits_beside(amounts, taken, seat.total)


def _shortage(seat: Seat, amounts: Amounts) -> tuple[float, float]:
    """Return the greatest share of a resource or of the slots that has to become free, and the
    load."""
    lacking = [
        max(0, have + want - total) / total for want, have, total in zip(amounts, seat.taken, seat.total, strict=True) if want
    ]
    return max([*lacking, max(0, seat.used + 1 - seat.slots) / seat.slots]), seat.used / seat.slots
