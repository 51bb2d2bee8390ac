"""Peers whose inputs made a handler raise. They are set aside until the master is restarted.

The first line of defence is validation, so that no message can make a handler raise
(`titan.protocol.ranges`, `titan.gateway.admission`). This module is the second line, against bugs.
After an exception the state can no longer be trusted, so the master rejects the input and reopens
itself from its journal.

A peer whose inputs raise again and again would keep the master reopening. After the second
exception the master rejects the inputs of that peer. It recognises a worker by its name, and a
client by its address and the kind of its request. The master cannot reject an input without a
sender (a timer), so it stops after the second exception.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from titan.core.inputs import Input
from titan.core.state.state import State

PATIENCE = 2
"""Number of raising inputs after which a peer is set aside."""


class TrackedInputs(Iterable[Input]):
    """Inputs of a turn. `current` is the input being handled, None before the first and after the
    last."""

    def __init__(self, inputs: list[Input]) -> None:
        self._inputs = inputs
        self.current: Input | None = None

    def __iter__(self) -> Iterator[Input]:
        for current in self._inputs:
            self.current = current
            yield current
        # a single input is also responsible for the work that follows it in the turn
        self.current = None if len(self._inputs) != 1 else self._inputs[0]


class Raised(Exception):
    """Exception of a turn.

    `input`: the input that raised, if known. `sender`: the sender of this input, "" for none.
    `origin`: the sender's connection, 0 for none.
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
    """Count of raising inputs by sender, kept when the master reopens itself.

    `host_of` returns the host of a connection.
    """

    def __init__(self, host_of: Callable[[int], str]) -> None:
        self._host_of = host_of
        self._raised: dict[str, int] = {}
        self.any = False
        """True if a peer is set aside."""

    def sender_of(self, state: State, received: Input) -> str:
        """Return the sender of an input; "" if it has none."""
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
        """Count a raising input; return whether the master may reopen itself.

        The master must stop if an input without a sender has raised twice.
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
