"""The oracle's own records of jobs, leases and workers. `LogOracle` reads them from the log."""

from __future__ import annotations

import msgspec

from titan.core.events import events as ev
from titan.model.dag import JobTemplate, Kind
from titan.model.demand import KINDS, NOTHING, Amounts
from titan.model.states import JobState, Outcome

ACTOR = "user@sim"
"""Name of the only user."""


class JobFacts(msgspec.Struct):
    number: int
    name: str
    run: str
    template: JobTemplate
    parents: tuple[int, ...]
    children: list[int]
    ready_at: float
    """Time at which the log recorded the end of the last parent, or the submission."""
    state: JobState = JobState.WAITING
    value: bytes = b""
    """Result of a COMPLETED job."""
    lease: int = 0
    attempts: int = 0
    failures: list[Outcome] = msgspec.field(default_factory=list)
    breaks: int = 0
    """Number of attempts that workers broke."""
    due: float = 0.0
    ran_on: int = 0
    """Worker of the newest attempt."""
    released_from: int = 0
    blamed: dict[tuple[int, str], None] = msgspec.field(default_factory=dict)
    """(worker, incarnation) of the losses that count against the job."""
    ready: bool = False
    """True if the job is a READY service."""
    serial: tuple[int, int] = (0, 0)
    """(lease, number) of the newest report of a service."""
    address: str = ""
    stopped_by_user: bool = False
    old_lease: int = 0
    """In a rolling replacement of a service: the lease of the old attempt, which keeps the service
    READY until the new attempt is READY. 0 if there is none."""
    doubted: dict[tuple[int, str], None] = msgspec.field(default_factory=dict)
    """(worker, incarnation) of the losses that count half."""
    final: bool = False
    """True if the job ended with an exit code that is not retried."""
    revived: bool = False
    """True if the job was retried from the dead letter queue, or revived with such a job."""
    revived_at: float = 0.0
    why: str = ""
    """Reason for which the job is CANCELLED."""
    cause: int = 0
    args: tuple[str, ...] = ()

    @property
    def is_service(self) -> bool:
        return self.template.kind == Kind.SERVICE

    @property
    def awaits_ends(self) -> bool:
        """Return whether the job waits for the end of its parents, whatever it is."""
        return self.template.kind == Kind.HANDLER or self.template.when != ""

    @property
    def is_done(self) -> bool:
        """Return whether the children of the job no longer wait for it."""
        return self.state is JobState.COMPLETED or self.ready

    @property
    def where(self) -> str:
        return f"{self.run}/{self.name}"


class LeaseFacts(msgspec.Struct, frozen=True):
    job: int
    worker: int
    incarnation: str
    attempt: int
    services: tuple[tuple[str, str], ...]


class WorkerFacts(msgspec.Struct):
    name: str
    incarnation: str
    capabilities: tuple[str, ...]
    total: Amounts
    slots: int = 0
    alive: bool = True
    draining: bool = False
    aside: bool = False
    """True if the worker is set aside, or on trial after that."""


def asked_of(template: JobTemplate) -> Amounts:
    needs = template.needs
    return (round(needs.cpus * 1000), needs.memory, needs.gpus) if needs is not None else NOTHING


def lacking_of(template: JobTemplate, worker: WorkerFacts) -> str:
    """Return the capabilities and resources that jobs of the template need, but the worker lacks
    even if it is idle."""
    wanted = [template.requirement, *(template.needs.capabilities if template.needs is not None else ())]
    lacks = [capability for capability in wanted if capability not in worker.capabilities]
    lacks += [KINDS[i] for i, asked in enumerate(asked_of(template)) if asked > worker.total[i]]
    return " ".join(lacks)


def total_of(e: ev.WorkerJoined) -> Amounts:
    facts = e.facts
    return round(float(facts["cpus"]) * 1000), int(facts["memory_bytes"]), int(facts["gpus"])
