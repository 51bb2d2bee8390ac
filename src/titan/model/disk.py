"""Free space on the disk of a worker's home, and the changes that a worker reports.

A worker reports its free space when it registers. A heartbeat repeats it only when the disk becomes
full, when it is no longer full, and when the free space has halved or doubled.
"""

from __future__ import annotations

from collections.abc import Mapping

FREE_DISK = "disk_free_bytes"
"""The name of the fact."""
FULL_DISK_BYTES = 64 << 20
"""A disk with less free space counts as full."""
_LEAST_BYTES = 1 << 20
"""Changes below this amount are not reported."""

Facts = Mapping[str, str | int | float]


def free_disk(facts: Facts) -> int | None:
    """Return the reported free bytes; None if the worker, such as an older one, reports none."""
    value = facts.get(FREE_DISK)
    return int(value) if isinstance(value, (int, float)) and value >= 0 else None


def has_full_disk(facts: Facts) -> bool:
    free = free_disk(facts)
    return free is not None and free < FULL_DISK_BYTES


def is_news(free: int, reported: int) -> bool:
    """Return whether `free` bytes must be reported when the last report was `reported` bytes."""
    if (free < FULL_DISK_BYTES) != (reported < FULL_DISK_BYTES):
        return True
    now, then = max(free, _LEAST_BYTES), max(reported, _LEAST_BYTES)
    return not then <= 2 * now <= 4 * then


def news_of(facts: Facts, known: Facts) -> dict[str, str | int | float]:
    """Return the facts that changed enough since `known` to be reported while connected."""
    free, reported = free_disk(facts), free_disk(known)
    return {FREE_DISK: free} if free is not None and (reported is None or is_news(free, reported)) else {}
