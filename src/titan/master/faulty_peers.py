"""Whose inputs made a handler raise, and who is set aside for it until the master is restarted.

The first line of defence is that nothing that arrives can make a handler raise
(`titan.protocol.ranges`, `admission`). This is the second, for bugs: the state can no longer be
trusted, so the master reopens itself from its journal, and the input is refused. A peer whose
inputs raised twice would keep it at that, so it is not heard any more: a worker by its name, a
client by its address and the kind of what it asks. What nobody sent (a timer) can be refused to
nobody: at the second time the master stops.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from titan.core.inputs import Input
from titan.core.state.state import State

PATIENCE = 2
"""So many inputs that raise, and their peer is set aside."""


class Watched(Iterable[Input]):
    """Inputs of a turn; `current` is the one that is being handled, None before the first and after
    the last."""

    def __init__(self, inputs: list[Input]) -> None:
        self._inputs = inputs
        self.current: Input | None = None

    def __iter__(self) -> Iterator[Input]:
        for one in self._inputs:
            self.current = one
            yield one
        # what follows from one alone is its doing
        self.current = None if len(self._inputs) != 1 else self._inputs[0]


class Raised(Exception):
    """A turn raised. `seen`: the input, if it is known which; `who` sent it ("" for nobody), on
    connection `origin` (0: none)."""

    def __init__(self, cause: Exception, received: Input | None, who: str, origin: int) -> None:
        super().__init__(str(cause))
        self.cause = cause
        self.seen = received
        self.who = who
        self.origin = origin

    @property
    def what(self) -> str:
        return type(self.seen).__name__ if self.seen is not None else "a turn"


class FaultyPeers:
    """Lives as long as the process, over all its reopenings. `host_of`: where a connection comes
    from."""

    def __init__(self, host_of: Callable[[int], str]) -> None:
        self._host_of = host_of
        self._raised: dict[str, int] = {}
        self.any = False
        """Whether somebody is set aside."""

    def who(self, state: State, received: Input) -> str:
        """Whose input it is; "" if nobody's."""
        it: Any = received
        name = getattr(it, "name", "") if type(it).__name__ == "WorkerRegistered" else ""
        number = getattr(it, "worker", 0)
        if not name and isinstance(number, int) and number and number in state.workers:
            name = state.workers[number].name
        if name:
            return f"worker {name}"
        origin = getattr(it, "origin", 0)
        return f"client at {self._host_of(origin)} with {type(it).__name__}" if origin else ""

    def note(self, raised: Raised) -> bool:
        """Whether the master may reopen itself: no if nobody can be refused what raised again."""
        if raised.seen is None:
            return self._count("a turn of several inputs") <= 2 * PATIENCE
        count = self._count(raised.who or raised.what)
        self.any = self.any or (bool(raised.who) and count >= PATIENCE)
        return bool(raised.who) or count < PATIENCE

    def is_set_aside(self, who: str) -> bool:
        return bool(who) and self._raised.get(who, 0) >= PATIENCE

    def _count(self, key: str) -> int:
        self._raised[key] = self._raised.get(key, 0) + 1
        return self._raised[key]
