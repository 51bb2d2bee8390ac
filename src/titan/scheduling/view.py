"""View of the workers for one demand for resources: those that can meet it, and a heap by load of
those that can meet it now.

The pool makes a view when it first needs one for a demand. On each later query the view reads the
pool's log of changed workers. A cluster without such jobs thus pays nothing; otherwise
each waiting demand costs O(changes) per turn.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush

from titan.model.demand import Demand


class View:
    __slots__ = ("able", "cursor", "demand", "heap")

    def __init__(self, demand: Demand) -> None:
        self.demand = demand
        self.able: dict[int, None] = {}
        """Workers that take work and whose total resources, free or not, meet the demand."""
        self.heap: list[tuple[float, int, int]] = []
        """(load, worker, stamp) of the workers that can meet the demand now. An entry is valid
        while its stamp is the worker's newest."""
        self.cursor = -1
        """Position in the pool's log up to which the view has read; -1 if it must be built."""

    def note(self, worker: int, *, able: bool, load: float, stamp: int) -> None:
        """Record a changed worker. A `load` below 0 means that the worker cannot meet the demand
        now."""
        if able:
            self.able[worker] = None
        else:
            self.able.pop(worker, None)
        if load >= 0.0:
            heappush(self.heap, (load, worker, stamp))

    def compact(self, stamps: dict[int, int]) -> None:
        if len(self.heap) > 4 * len(self.able) + 64:
            self.heap[:] = [entry for entry in self.heap if stamps.get(entry[1]) == entry[2]]
            heapify(self.heap)

    def drop_top(self) -> None:
        heappop(self.heap)
