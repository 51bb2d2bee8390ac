"""The active job queue of one demand: ready jobs by priority, then age.

A job's age is its number; jobs that were submitted later have higher numbers. A retried job, or a
job whose worker was lost, thus returns to its old place. Most jobs arrive in order. The lane
appends their keys to a sorted deque, O(1), and puts the keys of the others into a heap, O(log n).

Removal is lazy. The entry of a cancelled job stays until it reaches the front, where the callback
`alive` returns False for it. The owner of the lane therefore maintains `count`, the number of jobs
that are really queued.
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
        """Number of jobs that are really queued here; maintained by the owner of the lane."""
        self.blocked_at = -1.0
        """Time since which the first job has fitted on no worker although some worker has enough
        resources in total; -1 otherwise. Maintained by `place`."""
        self.home = -1
        """Worker that last had a reservation for the first job; -1 if none had."""

    def push(self, priority: int, job: int) -> None:
        key = sort_key(priority, job)
        if not self._run or key > self._run[-1]:
            self._run.append(key)
        else:
            heappush(self._heap, key)

    def head(self) -> int | None:
        """Return the key of the first job that is alive, or None. Entries before it are dropped."""
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
        # A job that left the lane and was queued again, before its first entry reached the front,
        # has two entries.
        while run and run[0] == key:
            run.popleft()
        while heap and heap[0] == key:
            heappop(heap)
        return key & _JOB_MASK

    def ahead(self, key: int) -> int:
        """Return the number of jobs before `key`. Beyond EXACT entries, the number may include jobs
        that have left the lane."""
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
        """Return the first `limit` jobs that are alive, in order, without sorting the lane."""
        keys = merge(self._run, nsmallest(limit, self._heap))
        jobs = (key & _JOB_MASK for key in keys)
        return list(islice(dict.fromkeys(islice((job for job in jobs if self.alive(job)), 2 * limit)), limit))

    def jobs(self) -> list[int]:
        """Return all jobs that are alive, in order."""
        keys = sorted([*self._run, *self._heap])
        return [job for job in dict.fromkeys(key & _JOB_MASK for key in keys) if self.alive(job)]
