"""Faulty peers: peers whose inputs made a handler raise an exception twice.

The first line of defence is validation, so that no message can make a handler raise
(`titan.protocol.ranges`, `titan.gateway.admission`). This module is the second line, against bugs.
After an exception the state can no longer be trusted. The master then rejects the input and
recovers from its journal.

A peer whose inputs raise again and again would cause one recovery after the other. After the second
exception the master therefore rejects all inputs of that peer until it is restarted. It recognises
a worker by its name, and a client by its address and the kind of its request. A timer is an input
without a sender, and the master cannot reject it. After its second exception the master stops.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from titan.core.inputs import Input
from titan.core.state.state import State

PATIENCE = 2
"""Number of exceptions after which a peer is set aside."""


class TrackedInputs(Iterable[Input]):
    """Inputs of a turn. `current` is the input that is being handled.

    `current` is None before the first input. After the last input it is None too, unless the turn
    has only one input.
    """

    def __init__(self, inputs: list[Input]) -> None:
        self._inputs = inputs
        self.current: Input | None = None

    def __iter__(self) -> Iterator[Input]:
        for current in self._inputs:
            self.current = current
            yield current
        # work at the end of the turn belongs to the input if the turn has only one
        self.current = None if len(self._inputs) != 1 else self._inputs[0]


class Raised(Exception):
    """Exception of a turn.

    `input` is the input that raised, if it is known. `sender` is the sender of this input, or "".
    `origin` is the sender's connection, or 0.
    """

    def __init__(self, cause: Exception, received: Input | None, sender: str, origin: int) -> None:
        super().__init__(str(cause))
        self.cause = cause
        self.input = received
        self.sender = sender
        self.origin = origin

    @property
    def input_name(self) -> str:
        return type(self.input).__name__ if self.input is not None else "a turn"


class FaultyPeers:
    """Number of exceptions by sender. The count is kept when the master recovers.

    `host_of` returns the host of a connection.
    """

    def __init__(self, host_of: Callable[[int], str]) -> None:
        self._host_of = host_of
        self._raised: dict[str, int] = {}
        self.any = False
        """True if a peer is set aside."""

    def sender_of(self, state: State, received: Input) -> str:
        """Return the sender of an input, or "" if the input has none."""
        kind = type(received).__name__
        name = getattr(received, "name", "") if kind == "WorkerRegistered" else ""
        number = getattr(received, "worker", 0)
        if not name and isinstance(number, int) and number and number in state.workers:
            name = state.workers[number].name
        if name:
            return f"worker {name}"
        origin = getattr(received, "origin", 0)
        return f"client at {self._host_of(origin)} with {kind}" if origin else ""

    def note(self, raised: Raised) -> bool:
        """Count an exception. Return whether the master may recover, or must stop.

        The master must stop if an input without a sender raised twice.
        """
        if raised.input is None:
            return self._count("a turn of several inputs") <= 2 * PATIENCE
        count = self._count(raised.sender or raised.input_name)
        self.any = self.any or (bool(raised.sender) and count >= PATIENCE)
        return bool(raised.sender) or count < PATIENCE

    def is_set_aside(self, sender: str) -> bool:
        return bool(sender) and self._raised.get(sender, 0) >= PATIENCE

    def _count(self, key: str) -> int:
        self._raised[key] = self._raised.get(key, 0) + 1
        return self._raised[key]
