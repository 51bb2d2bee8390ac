"""Facts about workers that are set aside: see `events` and `sickness`."""

from __future__ import annotations

from titan.core.events.base import Fact


class WorkerSetAside(Fact, frozen=True, tag="worker_set_aside"):
    """It gets nothing until then, as it broke what it was given."""

    worker: int
    reason: str
    until: float
    at: float


class WorkerProbed(Fact, frozen=True, tag="worker_probed"):
    """It gets one attempt on trial."""

    worker: int
    at: float


class WorkerTakenBack(Fact, frozen=True, tag="worker_taken_back"):
    """An attempt ran to its end there: it takes work as before."""

    worker: int
    at: float
