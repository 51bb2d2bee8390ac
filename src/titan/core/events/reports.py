"""Events about what running jobs say of themselves. See `events` for the rules that hold for all."""

from __future__ import annotations

from titan.core.events.base import Fact


class ProgressReported(Fact, frozen=True, tag="progress_reported"):
    """How far attempts are, by their jobs; -1 for not known. Not durable: workers say it again to
    the next master."""

    jobs: list[int]
    fractions: list[float]
    messages: list[str]
    at: float


class StatusReported(Fact, frozen=True, tag="status_reported"):
    """What attempts say of themselves, by their jobs."""

    jobs: list[int]
    texts: list[str]
    at: float


class SlotsLent(Fact, frozen=True, tag="slots_lent"):
    """These calls of the worker wait for other calls and use no slot; no others do. Not durable:
    workers say it again."""

    worker: int
    leases: list[int]
    at: float
