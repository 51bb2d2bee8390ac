"""The active job queue of one demand: ready jobs by priority, then age.

A job's age is its number, which grows with submission. A retried job, or one whose worker was lost,
thus returns to its old place. Most jobs arrive in order. The lane keeps those in a sorted run of
keys that grows at its end, O(1), and the others in a heap, O(log n).

Removal is lazy. A cancelled job stays until it reaches the front, where `alive` tells that it is
gone. The owner therefore keeps the count of jobs that are really queued.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from heapq import heappop, heappush, merge, nsmallest
from itertools import islice

EXACT = 10_000
"""Maximum number of jobs that `ahead` counts exactly."""
# Above every priority. A key packs (_BIAS - priority, job number) into one integer.
_BIAS = 1 << 21
_JOB_BITS = 64
_JOB_MASK = (1 << _JOB_BITS) - 1


def sort_key(priority: int, job: int) -> int:
    """Return the sort key of a job; lower keys come first."""
    return (_BIAS - priority) << _JOB_BITS | job


def job_of(key: int) -> int:
    return key & _JOB_MASK


class Lane:
    __slots__ = ("_heap", "_run", "alive", "blocked_at", "count", "home")

    def __init__(self, alive: Callable[[int], bool]) -> None:
        self._run: deque[int] = deque()
        self._heap: list[int] = []
        self.alive = alive
        self.count = 0
        """Number of jobs that are really queued here; kept by the owner."""
        self.blocked_at = -1.0
        """Time since which the first job fits nowhere although some worker has enough in total; -1
        if it is not so. Kept by `place`."""
        self.home = -1
        """Worker that holds a reservation for that job."""

    def push(self, priority: int, job: int) -> None:
        key = sort_key(priority, job)
        if not self._run or key > self._run[-1]:
            self._run.append(key)
        else:
            heappush(self._heap, key)

    def head(self) -> int | None:
        """Return the key of the first job that is alive, or None. Drops dead entries before it."""
        run, heap = self._run, self._heap
        while True:
            if run and (not heap or run[0] <= heap[0]):
                if self.alive(run[0] & _JOB_MASK):
                    return run[0]
                run.popleft()
            elif heap:
                if self.alive(heap[0] & _JOB_MASK):
                    return heap[0]
                heappop(heap)
            else:
                return None

    def pop(self) -> int | None:
        """Remove the first job that is alive and return its number, or None."""
        if self.head() is None:
            return None
        run, heap = self._run, self._heap
        key = run.popleft() if run and (not heap or run[0] <= heap[0]) else heappop(heap)
        # A job that left and returned before its first entry reached the front has two entries.
        while run and run[0] == key:
            run.popleft()
        while heap and heap[0] == key:
            heappop(heap)
        return key & _JOB_MASK

    def ahead(self, key: int) -> int:
        """Return the number of jobs before `key`. Beyond EXACT entries, jobs that have left may be
        counted."""
        run, heap = self._run, self._heap
        low, high = 0, len(run)
        while low < high:
            middle = (low + high) // 2
            if run[middle] < key:
                low = middle + 1
            else:
                high = middle
        before = [k for k in heap if k < key]
        if low + len(before) > EXACT:
            return min(low + len(before), self.count)
        found = dict.fromkeys([*islice(run, low), *before])
        return sum(self.alive(k & _JOB_MASK) for k in found)

    def first(self, limit: int) -> list[int]:
        """Return the first `limit` jobs that are alive, in order. Reads little more than it
        returns."""
        keys = merge(self._run, nsmallest(limit, self._heap))
        jobs = (key & _JOB_MASK for key in keys)
        return list(islice(dict.fromkeys(islice((job for job in jobs if self.alive(job)), 2 * limit)), limit))

    def jobs(self) -> list[int]:
        """Return all jobs that are alive, in order."""
        keys = sorted([*self._run, *self._heap])
        return [job for job in dict.fromkeys(key & _JOB_MASK for key in keys) if self.alive(job)]
