"""Decide, then persist, then tell: the order of a master's work, for the one that ships and the one
that is simulated.

Inputs are gathered and decided together. What follows from a decision is held until every record up
to then is durable, and is let go in the order in which it was decided. Owns the sequence of
records, what of it is durable, and what is held; the shell writes records, says when they are
durable, and does what is let go.
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
        """`seq`: of the last record that there is, which is durable."""
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

    def take(self, state: State, now: float, *, one: bool = False) -> list[Input]:
        """The inputs of a turn: all, and behind them the passing of time if something is due; with
        `one` the oldest alone."""
        if one and len(self._inbox) > 1:
            return [self._inbox.pop(0)]
        taken, self._inbox = self._inbox, []
        due = next_due(state)
        if due is not None and due <= now:
            taken.append(TimePassed())
        return taken

    # -- out ---------------------------------------------------------------------------------------
    def wrote(self, seq: int, *, durable: bool = False) -> None:
        """The last record is `seq` now."""
        self.seq = seq
        if durable:
            self.durable = seq

    def hold(self, calls: Sequence[Call]) -> None:
        """Until all that was decided so far is durable."""
        if calls:
            self._held.append((self.seq, calls))

    def synced(self, seq: int) -> None:
        """Records up to `seq` are durable; it may be told late, and of less than is known."""
        self.durable = max(self.durable, seq)

    def let_go(self) -> Iterator[Call]:
        """What may be done now, in order. What it does may add to that."""
        while self._held and self._held[0][0] <= self.durable:
            yield from self._held.popleft()[1]

    def drop(self) -> None:
        """Inputs and what is held: what they rest on is gone."""
        self._inbox.clear()
        self._held.clear()
