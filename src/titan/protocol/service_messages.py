"""Messages about services. See docs/protocol.md."""

from __future__ import annotations

import msgspec

from titan.protocol.base import Message
from titan.protocol.ranges import Column, Count, Lease, Measured, Moment, Name, Port, Row, Text


class ListServices(Message, frozen=True):
    """The services that are not over, of one run or of all; at most `limit`."""

    run: Name = ""
    limit: Count = 1000


class ServiceRow(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A service as users see it. `state`: READY, or what its job is. `since` (seconds since the
    epoch): when that began.

    `address`, HOST:PORT, is where it is, or was last; "" if it never was READY. `restarts`: of all
    its attempts; `reason`: why it is not READY, or was restarted last.
    """

    run: Name
    dag: Name
    job: Name
    state: Name
    worker: Name
    address: Name
    restarts: Count
    since: Measured
    attempt: Count
    reason: Text


class Services(Message, frozen=True):
    services: Column[ServiceRow]


class StopService(Message, frozen=True):
    """Ends a service, which is COMPLETED by that; `job` "" means every service of the run."""

    run: Name
    job: Name = ""


class ServicesStopped(Message, frozen=True):
    """How many services that stopped; 0: all were over."""

    jobs: Count


class ReplaceService(Message, frozen=True):
    """Run a service anew: with another `file` (staged as `file_hash`), `command` or `argv`, or as
    it is; `args` nil keeps those."""

    run: Name
    job: Name
    file: Text = ""
    file_hash: Name = ""
    command: Text = ""
    argv: Row[Text] = ()
    args: Row[Text] | None = None


class ServiceReplaced(Message, frozen=True):
    """`rolling`: the old process goes on until the new one is READY; else it is stopped first."""

    rolling: bool


class ServiceStates(Message, frozen=True):
    """From a worker: the services that it runs, in columns: when it started the attempt, since when
    it is READY (0: it is not), its port, how often its process was restarted, why it was the last
    time, and when the next one starts (0: it has one). `serials` number the states of each attempt:
    what is not newer than what was heard is ignored. All are repeated with each heartbeat."""

    leases: Column[Lease]
    serials: Column[Count]
    started: Column[Moment]
    ready_ats: Column[Moment]
    ports: Column[Port]
    restarts: Column[Count]
    reasons: Column[Text]
    next_starts: Column[Moment]
