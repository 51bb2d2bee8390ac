"""Events about services, and about jobs that wait for them. See `events` for the rules of all
events."""

from __future__ import annotations

from titan.core.events.base import Fact
from titan.model.dag import JobTemplate


class ServicesReported(Fact, frozen=True, tag="services_reported"):
    """A worker reported the states of its services.

    - `serials` number the reports of each attempt of a service.
    - `ready_ats` is the time since which a service is READY; 0 if it is not READY.
    - `next_starts` is the time at which the next process starts; 0 if a process runs.
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
    """Services were stopped and are COMPLETED. The master tells their workers to stop the
    processes.

    `by_user`: a user requested the stop; otherwise all jobs that needed the services are over. The
    field is always False in journals of older Titan versions.
    """

    jobs: list[int]
    reason: str
    at: float
    actor: str = ""
    by_user: bool = False


class ServiceReplaced(Fact, frozen=True, tag="service_replaced"):
    """A service was replaced and now has this template and these arguments.

    `rolling`: the old process continues until the new one is READY; otherwise the master tells the
    worker to stop the old process first. `pin` is as in JobsQueued.
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
