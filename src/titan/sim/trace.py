"""What happened, line by line: the same seed gives the same lines, whatever PYTHONHASHSEED is."""

from __future__ import annotations

import hashlib

from titan.sim.clock import Clock


class Trace:
    def __init__(self, clock: Clock) -> None:
        self.lines: list[str] = []
        self.counts: dict[str, int] = {}
        """How often each kind of thing happened: says whether the faults that a test relies on
        really came."""
        self._clock = clock

    def note(self, who: str, what: str) -> None:
        self.lines.append(f"{self._clock.elapsed:11.6f} {who}: {what}")

    def count(self, kind: str) -> None:
        self.counts[kind] = self.counts.get(kind, 0) + 1

    def digest(self) -> str:
        return hashlib.sha256("\n".join(self.lines).encode()).hexdigest()


def short(number: int) -> str:
    """A lease or job number: `term.counter`."""
    return f"{number >> 32}.{number & 0xFFFFFFFF}"


def shorts(numbers: list[int]) -> str:
    return "[" + " ".join([f"{n >> 32}.{n & 0xFFFFFFFF}" for n in numbers]) + "]"
