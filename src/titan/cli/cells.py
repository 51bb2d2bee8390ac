"""Texts of table cells: times, durations, and values that may be missing."""

from __future__ import annotations

import time

from titan.sdk.status import JobStatus


def value_text(value: object) -> str:
    return "" if value is None else str(value)


def took_text(job: JobStatus, now: float | None = None) -> str:
    """Return how long the newest attempt took, or has taken so far."""
    if not job.started_at:
        return ""
    return f"{(job.finished_at or now or time.time()) - job.started_at:.2f} s"


def clock_text(at: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(at)) + f".{int(at * 1000) % 1000:03d}"


def ago_text(at: float, now: float | None = None) -> str:
    if not at:
        return "never"
    seconds = max(0.0, (now or time.time()) - at)
    for limit, unit in ((60, "s"), (3600, "min"), (86_400, "h")):
        if seconds < limit:
            return f"{seconds / (limit / 60 if unit != 'h' else 3600):.0f} {unit} ago"
    return f"{seconds / 86_400:.0f} days ago"
