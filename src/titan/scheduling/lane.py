"""The ActiveJobQueue of one demand: ready jobs by priority, then age.

A job's age is its number, which grows with submission, so a retry or a job whose worker was lost
comes back to where it stood. Most jobs arrive in order (a submission, a layer that is unlocked), so
the lane keeps one sorted run of keys that grows at its end, and a heap for those that arrive out of
order: O(1) and O(log n).

Leaving is lazy: a job that is cancelled stays until it comes to the front, where `alive` tells that
it is gone. The owner therefore keeps the count of those that are really queued.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from heapq import heappop, heappush, merge, nsmallest
from itertools import islice

EXACT = 10_000
"""Up to so many jobs are counted one by one."""
# above every priority; a key is (how far below the highest priority, job number) in one integer
_BIAS = 1 << 21
_JOB_BITS = 64
_JOB_MASK = (1 << _JOB_BITS) - 1


def sort_key(priority: int, job: int) -> int:
    """Lower comes first."""
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
        """How many jobs are really queued here; kept by the owner."""
        self.blocked_at = -1.0
        """Since when its first job finds no place, though some worker has enough in all; -1: it
        does not. Kept by `place`."""
        self.home = -1
        """The worker that holds room for that job."""

    def push(self, priority: int, job: int) -> None:
        key = sort_key(priority, job)
        if not self._run or key > self._run[-1]:
            self._run.append(key)
        else:
            heappush(self._heap, key)

    def head(self) -> int | None:
        """The key of the first job that is alive; drops those before it that are not."""
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
        """Takes the first job that is alive, and returns its number."""
        if self.head() is None:
            return None
        run, heap = self._run, self._heap
        key = run.popleft() if run and (not heap or run[0] <= heap[0]) else heappop(heap)
        # A job that left, and came back before its first entry reached the front, stands here
        # twice.
        while run and run[0] == key:
            run.popleft()
        while heap and heap[0] == key:
            heappop(heap)
        return key & _JOB_MASK

    def ahead(self, key: int) -> int:
        """How many jobs come before `key`. Counts some that have left, if there are many."""
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
        """The first that are alive, in order. Looks at little more than it returns."""
        keys = merge(self._run, nsmallest(limit, self._heap))
        jobs = (key & _JOB_MASK for key in keys)
        return list(islice(dict.fromkeys(islice((job for job in jobs if self.alive(job)), 2 * limit)), limit))

    def jobs(self) -> list[int]:
        """All that are alive, in order."""
        keys = sorted([*self._run, *self._heap])
        return [job for job in dict.fromkeys(key & _JOB_MASK for key in keys) if self.alive(job)]
