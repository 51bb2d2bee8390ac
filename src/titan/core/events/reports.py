"""Events about reports of running jobs. See `events` for the rules of all events."""

from __future__ import annotations

from titan.core.events.base import Fact


class ProgressReported(Fact, frozen=True, tag="progress_reported"):
    """Progress of attempts, by job; -1 if not known. Not durable: workers report it again to the
    next master."""

    jobs: list[int]
    fractions: list[float]
    messages: list[str]
    at: float


class StatusReported(Fact, frozen=True, tag="status_reported"):
    """Status lines of attempts, by job."""

    jobs: list[int]
    texts: list[str]
    at: float


class SlotsLent(Fact, frozen=True, tag="slots_lent"):
    """The complete list of the worker's calls that wait for other calls and use no slot. Not
    durable: workers report it again."""

    worker: int
    leases: list[int]
    at: float
