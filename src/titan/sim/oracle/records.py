"""What the log_oracle keeps of jobs, leases and workers, read from the log by rules of its own."""

from __future__ import annotations

import msgspec

from titan.core.events import events as ev
from titan.model.dag import JobTemplate, Kind
from titan.model.demand import KINDS, NOTHING, Amounts
from titan.model.states import JobState, Outcome

ACTOR = "user@sim"
"""Who the one user is."""


class JobFacts(msgspec.Struct):
    number: int
    name: str
    run: str
    template: JobTemplate
    parents: tuple[int, ...]
    children: list[int]
    ready_at: float
    """When its last parent was recorded, or it was submitted."""
    state: JobState = JobState.WAITING
    value: bytes = b""
    """What it came to, once it is COMPLETED."""
    lease: int = 0
    attempts: int = 0
    failures: list[Outcome] = msgspec.field(default_factory=list)
    breaks: int = 0
    """Attempts that its workers broke."""
    due: float = 0.0
    ran_on: int = 0
    """The worker of its newest attempt."""
    released_from: int = 0
    blamed: dict[tuple[int, str], None] = msgspec.field(default_factory=dict)
    """(worker, incarnation) of the losses that count against it."""
    ready: bool = False
    """Of a service."""
    serial: tuple[int, int] = (0, 0)
    """(lease, number) of the newest report of a service."""
    address: str = ""
    stopped_by_user: bool = False
    old_lease: int = 0
    """Of a service: the attempt that is READY while the newest is to replace it."""
    doubted: dict[tuple[int, str], None] = msgspec.field(default_factory=dict)
    """The same of those that count half."""
    final: bool = False
    """It ended with a code that is not tried again."""
    revived: bool = False
    """It was taken off the dead letter queue, or came back with such a job."""
    revived_at: float = 0.0
    why: str = ""
    """It is CANCELLED."""
    cause: int = 0

    @property
    def is_service(self) -> bool:
        return self.template.kind == Kind.SERVICE

    @property
    def is_done(self) -> bool:
        """As far as its children are concerned."""
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
    there: bool = True
    draining: bool = False
    aside: bool = False
    """It is set aside, or on trial after that."""


def asked_of(template: JobTemplate) -> Amounts:
    needs = template.needs
    return (round(needs.cpus * 1000), needs.memory, needs.gpus) if needs is not None else NOTHING


def lacking_of(template: JobTemplate, worker: WorkerFacts) -> str:
    """What a worker does not have of what such jobs ask for, however idle it is."""
    wanted = [template.requirement, *(template.needs.capabilities if template.needs is not None else ())]
    lacks = [word for word in wanted if word not in worker.capabilities]
    lacks += [KINDS[i] for i, asked in enumerate(asked_of(template)) if asked > worker.total[i]]
    return " ".join(lacks)


def total_of(e: ev.WorkerJoined) -> Amounts:
    facts = e.facts
    return round(float(facts["cpus"]) * 1000), int(facts["memory_bytes"]), int(facts["gpus"])
