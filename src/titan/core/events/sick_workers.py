"""Events about workers that are set aside. See `events` for the rules of all events."""

from __future__ import annotations

from titan.core.events.base import Fact


class WorkerSetAside(Fact, frozen=True, tag="worker_set_aside"):
    """A worker was set aside until the time `until` because it broke its attempts."""

    worker: int
    reason: str
    until: float
    at: float


class WorkerProbed(Fact, frozen=True, tag="worker_probed"):
    """The back-off of a worker that was set aside is over. The worker gets one attempt on trial."""

    worker: int
    at: float


class WorkerTakenBack(Fact, frozen=True, tag="worker_taken_back"):
    """A worker on trial ran an attempt to its end. The worker takes work again as before."""

    worker: int
    at: float
