"""Trace of a simulation, line by line. A seed gives the same lines for every PYTHONHASHSEED."""

from __future__ import annotations

import hashlib

from titan.sim.clock import Clock


class Trace:
    def __init__(self, clock: Clock) -> None:
        self.lines: list[str] = []
        self.counts: dict[str, int] = {}
        """Kind of event -> count. Tests use the counts to check that the faults that they need have
        occurred."""
        self._clock = clock

    def note(self, source: str, text: str) -> None:
        self.lines.append(f"{self._clock.elapsed:11.6f} {source}: {text}")

    def count(self, kind: str) -> None:
        self.counts[kind] = self.counts.get(kind, 0) + 1

    def digest(self) -> str:
        return hashlib.sha256("\n".join(self.lines).encode()).hexdigest()


def short(number: int) -> str:
    """Return a lease or job number as `term.counter`."""
    return f"{number >> 32}.{number & 0xFFFFFFFF}"


def shorts(numbers: list[int]) -> str:
    return "[" + " ".join([f"{n >> 32}.{n & 0xFFFFFFFF}" for n in numbers]) + "]"
