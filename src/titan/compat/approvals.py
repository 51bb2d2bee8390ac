"""Gates as keys of the store, as programs of the Titan SDK read and decide them.

    titan:hitl:queue            set of the gates that wait
    titan:hitl:status:GATE      CLEARED before the gate opens, WAITING, APPROVED or REJECTED. Set
                                APPROVED or REJECTED to decide
    titan:hitl:message:GATE     the question

GATE is ``hitl-gate-JOB``. The keys show gates of runs. Titan decides each gate once, so a decision
that comes too early or too late is refused.
"""

from __future__ import annotations

from titan.compat.job import GATE_PREFIX, gate_id
from titan.model.causes import Cause
from titan.sdk.client import Client
from titan.sdk.failure_fields import GATE_SUFFIX
from titan.sdk.status import JobStatus

QUEUE = "titan:hitl:queue"
STATUS = "titan:hitl:status:"
MESSAGE = "titan:hitl:message:"
APPROVED, REJECTED, WAITING, CLEARED = "APPROVED", "REJECTED", "WAITING", "CLEARED"
_STATES = {"PAUSED": WAITING, "COMPLETED": APPROVED}


def gate_of(key: str, prefix: str = STATUS) -> str:
    """Return the gate that a key is about; "" for another key."""
    gate = key.removeprefix(prefix)
    return gate if key.startswith(prefix) and gate.startswith(GATE_PREFIX) else ""


def status_of(job: JobStatus) -> str:
    """Return the status of a gate. A gate that will never open stays CLEARED."""
    if is_rejected(job):
        return REJECTED
    return _STATES.get(job.state, CLEARED)


def is_rejected(job: JobStatus) -> bool:
    return job.state == "CANCELLED" and job.cause == Cause.REJECTED.name


def decide(client: Client, target: str, value: str) -> None:
    """Approve or reject the gate RUN/JOB. Raises Conflict."""
    if value == APPROVED:
        client.approve(target)
    else:
        client.reject(target)


def message_of(client: Client, target: str) -> str | None:
    """Return the question of the open gate RUN/JOB, else None."""
    run, _, job = target.partition("/")
    return next((gate.message for gate in client.gates(run) if gate.job == job), None)


def waiting(client: Client) -> list[str]:
    """Return the names of all open gates."""
    return [name_of(gate.job) for gate in client.gates()]


def name_of(gate: str) -> str:
    """Return the name of a gate for programs of the Titan SDK.

    >>> name_of("hitl-gate-train"), name_of("train.gate"), name_of("ship")
    ('hitl-gate-train', 'hitl-gate-train', 'ship')
    """
    return gate_id(gate.removesuffix(GATE_SUFFIX)) if gate.endswith(GATE_SUFFIX) else gate
