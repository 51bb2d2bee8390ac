"""Messages about services. See docs/protocol.md."""

from __future__ import annotations

import msgspec

from titan.protocol.base import Message


class ListServices(Message, frozen=True):
    """The services that are not over, of one run or of all; at most `limit`."""

    run: str = ""
    limit: int = 1000


class ServiceRow(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A service as users see it. `state`: READY, or what its job is. `since` (seconds since the epoch): when that began.

    `address`, HOST:PORT, is where it is, or was last; "" if it never was READY. `restarts`: of all its attempts; `reason`: why it
    is not READY, or was restarted last.
    """

    run: str
    dag: str
    job: str
    state: str
    worker: str
    address: str
    restarts: int
    since: float
    attempt: int
    reason: str


class Services(Message, frozen=True):
    services: list[ServiceRow]


class StopService(Message, frozen=True):
    """Ends a service, which is COMPLETED by that; `job` "" means every service of the run."""

    run: str
    job: str = ""


class ServicesStopped(Message, frozen=True):
    """How many services that stopped; 0: all were over."""

    jobs: int


class ReplaceService(Message, frozen=True):
    """Run a service anew: with another `file` (staged as `file_hash`), `command` or `argv`, or as it is; `args` nil keeps those."""

    run: str
    job: str
    file: str = ""
    file_hash: str = ""
    command: str = ""
    argv: tuple[str, ...] = ()
    args: tuple[str, ...] | None = None


class ServiceReplaced(Message, frozen=True):
    """`rolling`: the old process goes on until the new one is READY; else it is stopped first."""

    rolling: bool


class ServiceStates(Message, frozen=True):
    """From a worker: the services that it runs, in columns: when it started the attempt, since when it is READY (0: it is not), its
    port, how often its process was restarted, why it was the last time, and when the next one starts (0: it has one). `serials`
    number the states of each attempt: what is not newer than what was heard is ignored. All are repeated with each heartbeat."""

    leases: list[int]
    serials: list[int]
    started: list[float]
    ready_ats: list[float]
    ports: list[int]
    restarts: list[int]
    reasons: list[str]
    next_starts: list[float]
