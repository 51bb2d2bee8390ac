"""Events about reports of running jobs. See `events` for the rules of all events."""

from __future__ import annotations

from titan.core.events.base import Fact


class ProgressReported(Fact, frozen=True, tag="progress_reported"):
    """Attempts of `jobs` reported their progress; -1 if not known. Not durable: workers report the
    progress again to the next master."""

    jobs: list[int]
    fractions: list[float]
    messages: list[str]
    at: float


class StatusReported(Fact, frozen=True, tag="status_reported"):
    """Attempts of `jobs` reported these status lines."""

    jobs: list[int]
    texts: list[str]
    at: float


class SlotsLent(Fact, frozen=True, tag="slots_lent"):
    """A worker reported the complete list of its calls that wait for other calls and use no slot.
    Not durable: workers report the list again to the next master."""

    worker: int
    leases: list[int]
    at: float
