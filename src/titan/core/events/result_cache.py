"""Events about reused results; see `events`. A key is that of `titan.model.caching`."""

from __future__ import annotations

from titan.core.events.base import Fact


class CacheMissed(Fact, frozen=True, tag="cache_missed"):
    """Queued jobs have these keys, and there is no result to reuse."""

    jobs: list[int]
    keys: list[str]
    at: float


class JobsReused(Fact, frozen=True, tag="jobs_reused"):
    """Queued jobs reuse the results of their keys and are COMPLETED. `sources` are the jobs, as
    RUN/JOB, that left the results."""

    jobs: list[int]
    keys: list[str]
    sources: list[str]
    at: float


class ResultsCached(Fact, frozen=True, tag="results_cached"):
    """The results of these COMPLETED jobs are kept under their keys. A result replaces an earlier
    one."""

    jobs: list[int]
    keys: list[str]
    at: float


class CacheDropped(Fact, frozen=True, tag="cache_dropped"):
    """The results of these keys were dropped: because of the limits, or by a user."""

    keys: list[str]
    at: float
    actor: str = ""
