"""Events about burst workers and forgotten workers. See `events` for the rules of all events."""

from __future__ import annotations

from titan.core.events.base import Fact


class BurstRequested(Fact, frozen=True, tag="burst_requested"):
    """Burst workers of a rule were requested. Their processes have yet to register."""

    names: list[str]
    rule: str
    capabilities: tuple[str, ...]
    slots: int
    reason: str
    at: float


class BurstRetired(Fact, frozen=True, tag="burst_retired"):
    """Burst workers were told to leave. They count towards the maximum of their rule until they
    have ended."""

    names: list[str]
    reason: str
    at: float


class BurstEnded(Fact, frozen=True, tag="burst_ended"):
    """Burst workers ended. Their names are never used again."""

    names: list[str]
    reason: str
    at: float


class WorkersForgotten(Fact, frozen=True, tag="workers_forgotten"):
    """Workers that left or were lost some time ago were removed from the state. Old jobs may still
    refer to them."""

    workers: list[int]
    at: float


class ScaleReviewed(Fact, frozen=True, tag="scale_reviewed"):
    """Each scaling rule was reviewed: the reason for the decision, whether it changed the number of
    workers, and whether jobs wait. Not durable."""

    rules: list[str]
    reasons: list[str]
    changed: list[bool]
    waiting: list[bool]
    at: float
