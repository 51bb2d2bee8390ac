"""Virtual time: a heap of timers. The clock jumps from one timer to the next."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush

START = 1_700_000_000.0


class Timer:
    """An action that the clock calls at a given time, unless it is cancelled."""

    __slots__ = ("action",)

    def __init__(self, action: Callable[[], None]) -> None:
        self.action: Callable[[], None] | None = action

    def cancel(self) -> None:
        self.action = None


class Clock:
    def __init__(self) -> None:
        self.now = START
        self._heap: list[tuple[float, int, Timer]] = []
        self._counter = 0

    @property
    def elapsed(self) -> float:
        return self.now - START

    def at(self, when: float, action: Callable[[], None]) -> Timer:
        """Call `action` at a time; a past time means now.

        If actions have equal times, the clock calls them in the order in which they were added.
        """
        timer = Timer(action)
        self._counter += 1
        heappush(self._heap, (max(when, self.now), self._counter, timer))
        return timer

    def after(self, delay: float, action: Callable[[], None]) -> Timer:
        return self.at(self.now + delay, action)

    def run_until(self, end: float) -> None:
        """Call all actions that are due up to `end`, and advance the time to `end`."""
        heap = self._heap
        while heap and heap[0][0] <= end:
            when, _, timer = heappop(heap)
            if timer.action is not None:
                self.now = when
                timer.action()
        self.now = end
