"""Free space on the disk of a worker's home, and the changes that a worker reports.

A worker reports its free space when it registers. A heartbeat reports it again only when the disk
became full, is no longer full, or has less than half or more than twice the free space of the last
report.
"""

from __future__ import annotations

from collections.abc import Mapping

FREE_DISK = "disk_free_bytes"
"""Name of the fact, in a worker's report, that holds the free bytes."""
SHARED_FOLDERS = "shared folders"
"""Sort of files, in a report of disk space, that several workers of one machine may share."""
FULL_DISK_BYTES = 64 << 20
"""A disk with less free space counts as full."""
_LEAST_BYTES = 1 << 20
"""A smaller amount of free space counts as this amount, so changes below this amount are not
reported."""

Facts = Mapping[str, str | int | float]


def free_disk(facts: Facts) -> int | None:
    """Return the reported free bytes; None if the worker reports none, as older workers do."""
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
    """Return the facts that changed so much since `known` that a heartbeat must report them."""
    free, reported = free_disk(facts), free_disk(known)
    return {FREE_DISK: free} if free is not None and (reported is None or is_news(free, reported)) else {}
