"""Events about services, and about jobs that wait for them. See `events` for the rules of all
events."""

from __future__ import annotations

from titan.core.events.base import Fact
from titan.model.dag import JobTemplate


class ServicesReported(Fact, frozen=True, tag="services_reported"):
    """A worker's report of its services.

    - `serials` number the reports of each service.
    - `ready_ats` is 0 for a service that is not READY.
    - `next_starts` is when the next process starts; 0 if a process runs.
    """

    worker: int
    jobs: list[int]
    serials: list[int]
    ready_ats: list[float]
    addresses: list[str]
    restarts: list[int]
    reasons: list[str]
    at: float
    next_starts: list[float] = []


class ServicesStopped(Fact, frozen=True, tag="services_stopped"):
    """Services were stopped and are COMPLETED. Workers are told to stop their processes.

    `by_user`: a user asked for it; otherwise all jobs that needed them are over. Always False in
    journals of older Titan versions.
    """

    jobs: list[int]
    reason: str
    at: float
    actor: str = ""
    by_user: bool = False


class ServiceReplaced(Fact, frozen=True, tag="service_replaced"):
    """A service was replaced and now has this template and these arguments.

    `rolling`: the old process goes on until the new one is READY; otherwise it is told to stop.
    `pin` as in JobsQueued.
    """

    job: int
    template: JobTemplate
    args: tuple[str, ...]
    rolling: bool
    reason: str
    at: float
    pin: int = -1
    actor: str = ""


class ServicesRetired(Fact, frozen=True, tag="services_retired"):
    """Old attempts of services under replacement ended before their replacements were READY."""

    worker: int
    leases: list[int]
    at: float


class JobsHeld(Fact, frozen=True, tag="jobs_held"):
    """Jobs are WAITING again because a service that they depend on is no longer READY."""

    jobs: list[int]
    at: float
