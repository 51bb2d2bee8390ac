"""The workers that can meet one demand for resources, those by load that can meet it now.

A view is made when the first job of its demand is looked for a place, and follows the pool's log of
changed workers when it is asked again. So a cluster without such jobs pays nothing, and one with
them O(changes) a turn for each demand that waits.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush

from titan.model.demand import Demand


class View:
    __slots__ = ("able", "cursor", "demand", "heap")

    def __init__(self, demand: Demand) -> None:
        self.demand = demand
        self.able: dict[int, None] = {}
        """Workers that take work and have enough in all, whether or not it is free."""
        self.heap: list[tuple[float, int, int]] = []
        """(load, worker, stamp) of those where it is free; good while the stamp is the worker's
        newest."""
        self.cursor = -1
        """How much of the pool's log was read; -1: everything has to be looked at."""

    def note(self, worker: int, *, able: bool, load: float, stamp: int) -> None:
        """A worker changed. `load` is below 0 if the demand cannot be met there now."""
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
