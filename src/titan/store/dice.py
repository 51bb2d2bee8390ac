"""Seeded random numbers for SPOP, RANDOMKEY and similar commands. They are predictable, so they
must not be used for secrets."""

from __future__ import annotations

_MASK = (1 << 64) - 1


class Dice:
    """Splitmix64 generator: the same seed gives the same numbers."""

    __slots__ = ("_state",)

    def __init__(self, seed: int) -> None:
        self._state = seed & _MASK

    def below(self, limit: int) -> int:
        """Return a random number in `0..limit-1`. `limit` is at least 1. The distribution is
        uniform for a limit of at most 2**32."""
        self._state = (self._state + 0x9E3779B97F4A7C15) & _MASK
        mixed = self._state
        mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _MASK
        return ((mixed ^ (mixed >> 31)) * limit) >> 64

    def sample(self, size: int, count: int) -> list[int]:
        """Return `count` different numbers in `0..size-1`, in random order. `count` is at most
        `size`."""
        moved: dict[int, int] = {}
        chosen = []
        for i in range(count):
            j = i + self.below(size - i)
            chosen.append(moved.get(j, j))
            moved[j] = moved.get(i, i)
        return chosen
