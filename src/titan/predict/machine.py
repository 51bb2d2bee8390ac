"""Machines whose CPUs are shared by what runs on them, and the workers there.

An attempt is `seconds` of progress. As long as all that runs asks for no more CPUs than there are,
a second of it takes a second; else the part of it that needs a CPU takes as much longer as there
are too few. Attempts that need about the same share of a CPU go at the same pace, so each such
class has one clock of progress and a heap: O(log n) an attempt, whatever the load does.
"""

from __future__ import annotations

from collections import deque
from heapq import heappop, heappush
from typing import NamedTuple

ROUNDING_S = 1e-6
"""Seconds since the epoch are exact to a quarter of this."""
CLASSES = 10
"""Shares of a CPU that are told apart: tenths."""


class Attempt(NamedTuple):
    lease: int
    job: int
    """Its position in the pipeline."""
    seconds: float
    cpu: float
    """CPUs that it keeps busy while it makes full progress."""
    outcome: int
    is_service: bool
    needs: tuple[int, int, int]


class Machine:
    """`cpus` 0: always enough."""

    __slots__ = ("_at", "_clock", "_ends", "_gone", "cpus", "full_s", "load", "version")

    def __init__(self, cpus: float, now: float) -> None:
        self.cpus = cpus
        self.load = 0.0
        self.full_s = 0.0
        """How long all CPUs were in use."""
        self.version = 0
        """Counts changes: what `next_end` said before one is void."""
        self._at = now
        self._clock: dict[int, float] = {}
        """Of each class that something runs in: its progress, in seconds."""
        self._ends: dict[int, list[tuple[float, int, Seat, Attempt]]] = {}
        self._gone: dict[int, None] = {}
        """Leases of attempts that were stopped and are still in a heap."""

    def begin(self, now: float, seat: Seat, attempt: Attempt) -> None:
        self._advance(now)
        kind = _class_of(attempt.cpu)
        if kind not in self._ends:
            self._ends[kind], self._clock[kind] = [], 0.0
        heappush(self._ends[kind], (self._clock[kind] + attempt.seconds, attempt.lease, seat, attempt))
        self._load(attempt.cpu)

    def stop(self, now: float, attempt: Attempt) -> None:
        self._advance(now)
        self._gone[attempt.lease] = None
        self._load(-attempt.cpu)

    def next_end(self) -> float | None:
        """When the next attempt ends if nothing else begins."""
        soonest = None
        for kind in list(self._ends):
            if self._prune(kind):
                end = self._at + (self._ends[kind][0][0] - self._clock[kind]) / self._pace(kind)
                soonest = end if soonest is None or end < soonest else soonest
        return soonest

    def take_ended(self, now: float) -> list[tuple[Seat, Attempt]]:
        self._advance(now)
        ended = []
        for kind in list(self._ends):
            heap, clock = self._ends[kind], self._clock[kind] + ROUNDING_S
            while self._prune(kind) and heap[0][0] <= clock:
                _, _, seat, attempt = heappop(heap)
                ended.append((seat, attempt))
                self._load(-attempt.cpu)
        return ended

    def _prune(self, kind: int) -> bool:
        """Takes out what was stopped; whether anything is left. A class of which nothing is left is
        no more."""
        heap = self._ends[kind]
        while heap and heap[0][1] in self._gone:
            del self._gone[heap[0][1]]
            heappop(heap)
        if not heap:
            del self._ends[kind], self._clock[kind]
        return bool(heap)

    def _load(self, change: float) -> None:
        self.load = max(0.0, self.load + change)
        self.version += 1

    def _advance(self, now: float) -> None:
        passed = now - self._at
        if passed > 0.0:
            if self.cpus and self.load >= 0.95 * self.cpus:
                self.full_s += passed
            for kind in self._clock:
                self._clock[kind] += passed * self._pace(kind)
            self._at = now

    def _pace(self, kind: int) -> float:
        """Progress a second."""
        if not self.cpus or self.load <= self.cpus:
            return 1.0
        share = kind / CLASSES
        return 1.0 / (1.0 - share + share * self.load / self.cpus)


def _class_of(cpu: float) -> int:
    return min(CLASSES, round(cpu * CLASSES))


class Seat:
    """A worker: attempts wait in the order in which they came, and begin as slots and what they ask
    for are free."""

    __slots__ = ("busy_s", "free", "last", "machine", "number", "running", "slots", "waiting")

    def __init__(self, number: int, slots: int, machine: Machine, total: tuple[int, int, int]) -> None:
        self.number = number
        self.slots = slots
        self.machine = machine
        self.free = total
        self.running: dict[int, Attempt] = {}
        """By lease, those that are about to begin included."""
        self.waiting: deque[Attempt] = deque()
        self.last = -1
        """The job that ended here last."""
        self.busy_s = 0.0

    def next_waiting(self) -> Attempt | None:
        """Takes the first attempt that can begin now, with its slot."""
        if len(self.running) >= self.slots:
            return None
        for attempt in self.waiting:
            if all(want <= have for want, have in zip(attempt.needs, self.free, strict=True)):
                self.waiting.remove(attempt)
                self.running[attempt.lease] = attempt
                self.free = _minus(self.free, attempt.needs)
                return attempt
        return None

    def release(self, attempt: Attempt) -> None:
        del self.running[attempt.lease]
        self.free = _minus(self.free, (-attempt.needs[0], -attempt.needs[1], -attempt.needs[2]))

    def drop_waiting(self, leases: dict[int, None]) -> list[Attempt]:
        """Those of these attempts that have not begun; they are gone from here."""
        found = [attempt for attempt in self.waiting if attempt.lease in leases]
        for attempt in found:
            self.waiting.remove(attempt)
        return found


def _minus(have: tuple[int, int, int], less: tuple[int, int, int]) -> tuple[int, int, int]:
    return have[0] - less[0], have[1] - less[1], have[2] - less[2]
