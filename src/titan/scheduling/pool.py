"""The workers by load: which one that can run a job has the most room for it.

Workers with equal capabilities form a group; a group keeps its members in a heap by load (attempts held per slot). A
worker whose load changed gets a new entry and the old one dies where it lies: an entry is good if it is its worker's
newest. Beyond its slots a worker may be given a few attempts to hold ready (`depth`): it is then loaded by more than 1, so they go
there only when no slot is free. A change costs O(log workers) and so does a choice, whatever the number of capabilities or jobs.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush

import msgspec


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

    @property
    def room(self) -> int:
        return self.slots + self.depth - self.used if self.open else 0


class Group:
    """Workers of equal capabilities."""

    __slots__ = ("capabilities", "heap", "size")

    def __init__(self, capabilities: tuple[str, ...]) -> None:
        self.capabilities = capabilities
        self.heap: list[tuple[float, int, int]] = []  # (load, worker, stamp)
        self.size = 0


class Pool:
    __slots__ = ("_groups", "_serving", "_stamp", "idle", "seats", "surplus")

    def __init__(self) -> None:
        self.seats: dict[int, Seat] = {}
        self._groups: dict[tuple[str, ...], Group] = {}
        self._serving: dict[str, list[Group]] = {}
        self._stamp = 0
        self.idle: dict[int, None] = {}
        """Workers that take work and have a free slot."""
        self.surplus: dict[int, None] = {}
        """Workers that hold more than they have slots."""

    def put(self, worker: int, capabilities: tuple[str, ...], slots: int, used: int, *, open_: bool, depth: int = 0) -> None:
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
            group.size += 1
            seat = self.seats[worker] = Seat(group, slots, depth, used, open_)
        seat.slots, seat.depth, seat.used, seat.open = slots, depth, used, open_
        self._enter(worker, seat)

    def drop(self, worker: int) -> None:
        seat = self.seats.pop(worker, None)
        if seat is not None:
            seat.group.size -= 1
            self.idle.pop(worker, None)
            self.surplus.pop(worker, None)

    def use(self, worker: int, used: int) -> None:
        """A worker holds `used` attempts now."""
        seat = self.seats[worker]
        seat.used = used
        self._enter(worker, seat)

    def deepen(self, worker: int, depth: int) -> None:
        """Sets how many attempts a worker may hold beyond its slots. `use` follows, and makes it count."""
        self.seats[worker].depth = depth

    def best(self, capability: str) -> int | None:
        """The least loaded worker with that capability and room; among equals the one that joined first."""
        chosen, least = None, float("inf")
        for group in self._serving.get(capability, ()):
            top = self._top(group)
            if top is not None and (top[0], top[1]) < (least, -1 if chosen is None else chosen):
                least, chosen = top[0], top[1]
        return chosen

    def room(self, worker: int) -> int:
        seat = self.seats.get(worker)
        return 0 if seat is None else seat.room

    def _enter(self, worker: int, seat: Seat) -> None:
        self._stamp += 1
        seat.stamp = self._stamp
        if seat.open and seat.used < seat.slots:
            self.idle[worker] = None
        else:
            self.idle.pop(worker, None)
        if seat.used > seat.slots:
            self.surplus[worker] = None
        else:
            self.surplus.pop(worker, None)
        if seat.room <= 0:
            return
        heap = seat.group.heap
        heappush(heap, (seat.used / seat.slots, worker, seat.stamp))
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
