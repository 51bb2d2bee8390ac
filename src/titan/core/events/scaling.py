"""Facts about burst workers and workers that are forgotten: see `events`."""

from __future__ import annotations

from titan.core.events.base import Fact


class BurstRequested(Fact, frozen=True, tag="burst_requested"):
    """Burst workers of a rule are started, each a process that has still to register."""

    names: list[str]
    rule: str
    capabilities: tuple[str, ...]
    slots: int
    reason: str
    at: float


class BurstRetired(Fact, frozen=True, tag="burst_retired"):
    """They are to leave, and count against the maximum until they have ended."""

    names: list[str]
    reason: str
    at: float


class BurstEnded(Fact, frozen=True, tag="burst_ended"):
    """They are no more. Their names are never used again."""

    names: list[str]
    reason: str
    at: float


class WorkersForgotten(Fact, frozen=True, tag="workers_forgotten"):
    """They left or were lost some time ago, and nothing but jobs of old refers to them."""

    workers: list[int]
    at: float


class ScaleReviewed(Fact, frozen=True, tag="scale_reviewed"):
    """What was decided of each rule, in words; whether that changed something, and whether jobs
    wait. Not durable."""

    rules: list[str]
    reasons: list[str]
    changed: list[bool]
    waiting: list[bool]
    at: float
