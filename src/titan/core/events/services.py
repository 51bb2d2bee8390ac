"""Events about services, and about jobs that wait for them. See `events` for the rules that hold
for all."""

from __future__ import annotations

from titan.core.events.base import Fact
from titan.model.dag import JobTemplate


class ServicesReported(Fact, frozen=True, tag="services_reported"):
    """What a worker says of services that it runs. `ready_ats` 0: it is not READY; `serials` number
    the reports of each; `next_starts`: when its next process starts, 0 if it has one.
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
    """They are COMPLETED because they were asked to end. What a worker still has of them it is told
    to stop.

    `by_user`: somebody asked for it; else all jobs that needed them are over. False in what an
    older Titan journaled.
    """

    jobs: list[int]
    reason: str
    at: float
    actor: str = ""
    by_user: bool = False


class ServiceReplaced(Fact, frozen=True, tag="service_replaced"):
    """A service is run anew, by this template and these arguments.

    `rolling`: what runs goes on until the new one is READY; else it is told to stop. `pin` as in
    JobsQueued.
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
    """Attempts that were READY until others would replace them are gone before that."""

    worker: int
    leases: list[int]
    at: float


class JobsHeld(Fact, frozen=True, tag="jobs_held"):
    """They wait again: a service that they depend on is no longer READY."""

    jobs: list[int]
    at: float
