"""The workers by load: which one that can run a job has the most room for it.

Workers with equal capabilities form a group; a group keeps its members in a heap by load (attempts
held per slot). A worker whose load changed gets a new entry and the old one dies where it lies: an
entry is good if it is its worker's newest. Beyond its slots a worker may be given a few attempts to
hold ready (`depth`): it is then loaded by more than 1, so they go there only when no slot is free.
A change costs O(log workers) and so does a choice, whatever the number of capabilities or jobs.

Jobs that ask for resources get a free slot or nothing: what waits on a worker would keep from
others what it does not use yet. Which workers can take them is kept by demand, see `view`. One that
comes before others and fits nowhere has a worker *hold* room for it: at first nothing that comes
after it may wait there beyond the slots, then it counts for those as if it were there already.
Holds are made in the order of the jobs, for those that come after, and end with the next placement,
which makes them anew.
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
"""So many workers that changed are looked at one by one."""
MAX_RESERVATIONS = 8
"""At once. Each costs some room, and the work of making it anew in each placement."""


class Reservation(msgspec.Struct, frozen=True, gc=False):
    """Room on a worker for a job."""

    key: int
    """Where the job stands in the order; later ones have greater keys."""
    amounts: Amounts
    firm: bool
    """It counts as if it were there; else nothing may wait there beyond the slots."""


class Seat(msgspec.Struct):
    """What the pool knows of one worker."""

    group: Group
    slots: int
    depth: int
    """Attempts that it may hold beyond its slots."""
    used: int
    open: bool
    """Whether it takes new work: connected and not draining."""
    stamp: int = 0
    total: Amounts = NOTHING
    taken: Amounts = NOTHING
    hold: Reservation | None = None

    @property
    def room(self) -> int:
        """For jobs that ask for no resources and come after whatever the worker holds room for."""
        if not self.open:
            return 0
        return self.slots + self.depth - self.used if self.hold is None else self.slots - self.used - self.hold.firm

    @property
    def unheld(self) -> int:
        """The same for jobs that come before."""
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
        """Workers that changed, for the views."""
        self._read = 0
        """How many entries the log has lost at its beginning."""
        self.stuck: dict[Demand, None] = {}
        """Demands that were found to fit nowhere: only a worker that changed since can meet them.
        """
        self._changed: dict[int, None] = {}
        """Workers that changed since this placement began, as long as anything is stuck."""
        self._fresh: dict[int, None] = {}
        """Those that had when it began."""
        self._most: Amounts | None = None
        """The most that any of these has free of each thing; None: not looked at yet."""
        self._hopeless: dict[Demand, None] = {}
        """Demands that no worker has enough for in all. Forgotten when a worker comes or changes
        its ways."""
        self.holds: dict[int, None] = {}
        """Workers that hold room for a job."""
        self.idle: dict[int, None] = {}
        """Workers that take work and have a free slot."""
        self.surplus: dict[int, None] = {}
        """Workers that hold more than they have slots."""

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
        """Adds a worker, or says anew all that is known of it."""
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
        """A worker holds `used` attempts now, which take up `taken`; None: as much as before."""
        seat = self.seats[worker]
        seat.used = used
        if taken is not None:
            seat.taken = taken
        self._enter(worker, seat)

    def deepen(self, worker: int, depth: int) -> None:
        """Sets how many attempts a worker may hold beyond its slots. `use` follows, and makes it
        count."""
        self.seats[worker].depth = depth

    def best(self, demand: LaneKey) -> int | None:
        """The least loaded worker that meets a demand and has room; among equals the one that
        joined first."""
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
        """Whether a job that stands at `key` in the order may go to a worker now. That it has the
        capabilities is not asked."""
        seat = self.seats.get(worker)
        if seat is None:
            return False
        hold = seat.hold if seat.hold is not None and seat.hold.key < key else None
        if isinstance(demand, str) or not demand.scarce:
            return (seat.unheld if hold is None else seat.room) > 0
        return _has_free(seat, demand.amounts, hold)

    def able(self, demand: Demand) -> dict[int, None]:
        """Workers that take work and have enough in all for a demand for resources."""
        return self._view(demand).able

    # -- holds -------------------------------------------------------------------------------------
    def keep_room(self, worker: int, demand: LaneKey, key: int, *, firm: bool) -> bool:
        """Holds room on a worker for a job that stands at `key`. False if it holds room for another
        already, or too many do."""
        seat = self.seats.get(worker)
        if seat is None or seat.hold is not None or not seat.open or len(self.holds) >= MAX_RESERVATIONS:
            return False
        seat.hold = Reservation(key, amounts_in(demand), firm)
        self.holds[worker] = None
        self._enter(worker, seat)
        return True

    def may_hold(self, demand: LaneKey) -> bool:
        """Whether a worker might hold room for a demand: it asks for resources, and not too many
        hold some already."""
        return not isinstance(demand, str) and demand.scarce and len(self.holds) < MAX_RESERVATIONS and demand not in self._hopeless

    def begin(self) -> None:
        """A placement begins: in it room is held anew, and workers that changed since the last one
        are looked at anew."""
        for worker in self.holds:
            seat = self.seats[worker]
            seat.hold = None
            self._enter(worker, seat)
        self.holds.clear()
        if self.stuck:
            self._fresh, self._changed, self._most = self._changed, {}, None

    def nearest(self, demand: Demand, preferred: int) -> int | None:
        """Of the workers that hold no room yet the one where the least has to become free; the
        preferred one if it is such."""
        seat = self.seats.get(preferred)
        if seat is not None and seat.hold is None and _is_able(seat, demand):
            return preferred
        able = self.able(demand)
        if not able:
            self._hopeless[demand] = None
        free = [(*_shortage(self.seats[w], demand.amounts), w) for w in able if w not in self.holds]
        return min(free)[-1] if free else None

    def forget(self, demand: Demand) -> None:
        """No job has this demand any more."""
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
        """For the views. One that is so far behind that reading on is no less work than looking
        anew goes."""
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
        """The same of a demand for resources."""
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
        """The least loaded where it fits, if the first few workers by load show it: no view is
        needed then."""
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
        """Of the workers that changed, which are few."""
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
    """Whether a worker takes work and has enough in all, free or not."""
    return seat.open and within(demand.amounts, seat.total) and _offers(seat.group.capabilities, demand)


def _has_free(seat: Seat, amounts: Amounts, hold: Reservation | None) -> bool:
    """A slot, and enough of what is asked for, beside what the worker holds room for."""
    used, taken = seat.used, seat.taken
    if hold is not None and hold.firm:
        used, taken = used + 1, plus(taken, hold.amounts)
    return seat.open and used < seat.slots and fits_beside(amounts, taken, seat.total)


def _shortage(seat: Seat, amounts: Amounts) -> tuple[float, float]:
    """(what has to become free, as a share of all there is; load)"""
    lacking = [
        max(0, have + want - total) / total for want, have, total in zip(amounts, seat.taken, seat.total, strict=True) if want
    ]
    return max([*lacking, max(0, seat.used + 1 - seat.slots) / seat.slots]), seat.used / seat.slots
