"""Order of a master's work: decide, then persist, then act.

The sequencer collects inputs, so that the core decides about them together. The calls that follow
from a decision wait in the sequencer until all records up to that decision are durable. The
sequencer then releases the calls in the order of the decisions. The real and the simulated master
share this code. The sequencer owns the record sequence, the durable sequence and the held calls.
The shell writes records, reports when they are durable, and runs the released calls.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence

from titan.core.inputs import Input, TimePassed
from titan.core.state.state import State
from titan.core.step import next_due

Call = Callable[[], None]


class Sequencer:
    def __init__(self, seq: int = 0) -> None:
        """`seq`: sequence of the last record in the journal, which is durable."""
        self.begin(seq)
        self._inbox: list[Input] = []
        self._held: deque[tuple[int, Sequence[Call]]] = deque()

    def begin(self, seq: int) -> None:
        self.seq = self.durable = seq

    @property
    def is_idle(self) -> bool:
        return not (self._inbox or self._held)

    @property
    def has_inputs(self) -> bool:
        return bool(self._inbox)

    # -- in ----------------------------------------------------------------------------------------
    def see(self, received: Input) -> None:
        self._inbox.append(received)

    def take(self, state: State, now: float, *, only_oldest: bool = False) -> list[Input]:
        """Return the inputs of a turn, and TimePassed after them if a timer is due.

        `only_oldest`: if there are several inputs, return only the oldest one.
        """
        if only_oldest and len(self._inbox) > 1:
            return [self._inbox.pop(0)]
        taken, self._inbox = self._inbox, []
        due = next_due(state)
        if due is not None and due <= now:
            taken.append(TimePassed())
        return taken

    # -- out ---------------------------------------------------------------------------------------
    def wrote(self, seq: int, *, durable: bool = False) -> None:
        """Record that the last written record is `seq`."""
        self.seq = seq
        if durable:
            self.durable = seq

    def hold(self, calls: Sequence[Call]) -> None:
        """Hold calls back until all decisions so far are durable."""
        if calls:
            self._held.append((self.seq, calls))

    def synced(self, seq: int) -> None:
        """Mark records up to `seq` as durable. A late or smaller `seq` is harmless."""
        self.durable = max(self.durable, seq)

    def release(self) -> Iterator[Call]:
        """Yield the calls that may run now, in order. A call may hold further calls."""
        while self._held and self._held[0][0] <= self.durable:
            yield from self._held.popleft()[1]

    def drop(self) -> None:
        """Drop all inputs and held calls, because the state to which they refer is gone."""
        self._inbox.clear()
        self._held.clear()
