"""Simulated machines, whose CPUs are shared by the running attempts, and their workers.

An attempt ends after `seconds` of progress. While the running attempts need no more CPUs than the
machine has, one second of progress takes one second. Otherwise the CPU-bound share of that second
takes longer, in proportion to the overload. Attempts that need about the same share of a CPU form a
class and progress at the same pace. Each class has one progress clock and one heap. An attempt
therefore costs O(log n), however often the load changes.
"""

from __future__ import annotations

from collections import deque
from heapq import heappop, heappush
from typing import NamedTuple

ROUNDING_S = 1e-6
"""Tolerance for the times of ends. A float of seconds since the epoch is exact to a quarter of this
tolerance."""
CLASSES = 10
"""Number of classes of CPU shares: tenths of a CPU."""


class Attempt(NamedTuple):
    lease: int
    job: int
    """Position in the pipeline."""
    seconds: float
    cpu: float
    """CPUs that the attempt uses at full pace."""
    outcome: int
    is_service: bool
    needs: tuple[int, int, int]


class Machine:
    """A machine; `cpus` 0 means that its CPUs always suffice."""

    __slots__ = ("_at", "_clock", "_ends", "_gone", "cpus", "full_s", "load", "version")

    def __init__(self, cpus: float, now: float) -> None:
        self.cpus = cpus
        self.load = 0.0
        self.full_s = 0.0
        """Seconds in which all CPUs were in use."""
        self.version = 0
        """Number of changes. A result of `next_end` is void after a change."""
        self._at = now
        self._clock: dict[int, float] = {}
        """Class with running attempts -> reading of its progress clock, in seconds."""
        self._ends: dict[int, list[tuple[float, int, SimulatedWorker, Attempt]]] = {}
        self._gone: dict[int, None] = {}
        """Leases of stopped attempts that are still in a heap."""

    def begin(self, now: float, worker: SimulatedWorker, attempt: Attempt) -> None:
        self._advance(now)
        kind = _class_of(attempt.cpu)
        if kind not in self._ends:
            self._ends[kind], self._clock[kind] = [], 0.0
        heappush(self._ends[kind], (self._clock[kind] + attempt.seconds, attempt.lease, worker, attempt))
        self._load(attempt.cpu)

    def stop(self, now: float, attempt: Attempt) -> None:
        self._advance(now)
        self._gone[attempt.lease] = None
        self._load(-attempt.cpu)

    def next_end(self) -> float | None:
        """Return the time at which the next attempt ends if no other begins; None if none runs."""
        soonest = None
        for kind in list(self._ends):
            if self._prune(kind):
                end = self._at + (self._ends[kind][0][0] - self._clock[kind]) / self._pace(kind)
                soonest = end if soonest is None or end < soonest else soonest
        return soonest

    def take_ended(self, now: float) -> list[tuple[SimulatedWorker, Attempt]]:
        self._advance(now)
        ended = []
        for kind in list(self._ends):
            heap, clock = self._ends[kind], self._clock[kind] + ROUNDING_S
            while self._prune(kind) and heap[0][0] <= clock:
                _, _, worker, attempt = heappop(heap)
                ended.append((worker, attempt))
                self._load(-attempt.cpu)
        return ended

    def _prune(self, kind: int) -> bool:
        """Remove stopped attempts from the head of a class; return whether attempts are left.

        An empty class is deleted.
        """
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
        """Return the progress of a class per second of simulated time."""
        if not self.cpus or self.load <= self.cpus:
            return 1.0
        share = kind / CLASSES
        return 1.0 / (1.0 - share + share * self.load / self.cpus)


def _class_of(cpu: float) -> int:
    return min(CLASSES, round(cpu * CLASSES))


class SimulatedWorker:
    """Simulated worker. Attempts wait in its queue and begin when a slot and their resources are
    free."""

    __slots__ = ("busy_s", "free", "last", "machine", "number", "running", "slots", "waiting")

    def __init__(self, number: int, slots: int, machine: Machine, total: tuple[int, int, int]) -> None:
        self.number = number
        self.slots = slots
        self.machine = machine
        self.free = total
        self.running: dict[int, Attempt] = {}
        """Attempts by lease, including those that are about to begin."""
        self.waiting: deque[Attempt] = deque()
        self.last = -1
        """Position of the job that ended last on this worker, -1 for none."""
        self.busy_s = 0.0

    def next_waiting(self) -> Attempt | None:
        """Remove the first waiting attempt that can begin now, give it a slot and return it.

        Return None if no attempt can begin.
        """
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
        """Remove the waiting attempts with these leases, and return them."""
        dropped = [attempt for attempt in self.waiting if attempt.lease in leases]
        for attempt in dropped:
            self.waiting.remove(attempt)
        return dropped


def _minus(have: tuple[int, int, int], less: tuple[int, int, int]) -> tuple[int, int, int]:
    return have[0] - less[0], have[1] - less[1], have[2] - less[2]
