"""How much is free on the disk of a worker's home, and what of that is worth saying.

A worker tells it when it registers, and in a heartbeat only when it is news: when the disk becomes
full or is so no longer, and when what is free has halved or doubled.
"""

from __future__ import annotations

from collections.abc import Mapping

FREE_DISK = "disk_free_bytes"
"""The name of the fact."""
FULL_DISK_BYTES = 64 << 20
"""With less free, a disk counts as full."""
_LEAST_BYTES = 1 << 20
"""Less is all the same."""

Facts = Mapping[str, str | int | float]


def free_disk(facts: Facts) -> int | None:
    """None: the worker does not say, as older ones do not."""
    value = facts.get(FREE_DISK)
    return int(value) if isinstance(value, (int, float)) and value >= 0 else None


def has_full_disk(facts: Facts) -> bool:
    free = free_disk(facts)
    return free is not None and free < FULL_DISK_BYTES


def is_news(free: int, told: int) -> bool:
    """Whether `free` bytes are to be told to somebody who was told `told`."""
    if (free < FULL_DISK_BYTES) != (told < FULL_DISK_BYTES):
        return True
    now, then = max(free, _LEAST_BYTES), max(told, _LEAST_BYTES)
    return not then <= 2 * now <= 4 * then


def news_of(facts: Facts, known: Facts) -> dict[str, str | int | float]:
    """The facts that may change while a worker is connected and are news to whoever knows `known`."""
    free, told = free_disk(facts), free_disk(known)
    return {FREE_DISK: free} if free is not None and (told is None or is_news(free, told)) else {}
