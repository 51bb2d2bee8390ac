"""Messages about services. See docs/protocol.md."""

from __future__ import annotations

import msgspec

from titan.protocol.base import Message
from titan.protocol.ranges import Column, Count, Lease, Measured, Moment, Name, Port, Row, Text


class ListServices(Message, frozen=True):
    """List at most `limit` services that are not over, of one run or of all runs."""

    run: Name = ""
    limit: Count = 1000


class ServiceRow(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Service as users see it. `state`: READY, or the state of its job.

    `since`: time since which the service is in this state (seconds since the epoch). `address`: the
    current or last HOST:PORT, "" if the service was never READY. `restarts`: number of restarts in
    all attempts. `reason`: the reason why the service is not READY, or the reason of its last
    restart.
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
    """Stop a service; the service is then COMPLETED. `job` "" means all services of the run."""

    run: Name
    job: Name = ""


class ServicesStopped(Message, frozen=True):
    """Number of services that were stopped; 0: they were over already."""

    jobs: Count


class ReplaceService(Message, frozen=True):
    """Restart a service, unchanged or with another `file`, `command` or `argv`.

    The content of `file` must be on the master (staged) under `file_hash`. `args` nil keeps the
    arguments.
    """

    run: Name
    job: Name
    file: Text = ""
    file_hash: Name = ""
    command: Text = ""
    argv: Row[Text] = ()
    args: Row[Text] | None = None


class ServiceReplaced(Message, frozen=True):
    """A service was replaced. `rolling`: the old process runs until the new process is READY.

    Otherwise the old process is stopped first.
    """

    rolling: bool


class ServiceStates(Message, frozen=True):
    """Services that a worker runs, in columns. The worker repeats them with each heartbeat.

    `started`: start of the attempt. `ready_ats`: time since which the service is READY, 0 if it is
    not. `restarts`: number of restarts of the process; `reasons` has the reason of the last
    restart. `next_starts`: start of the next process, 0 if a process is running. `serials` number
    the states of each attempt; the master ignores a state that is not newer than the last one
    received.
    """

    leases: Column[Lease]
    serials: Column[Count]
    started: Column[Moment]
    ready_ats: Column[Moment]
    ports: Column[Port]
    restarts: Column[Count]
    reasons: Column[Text]
    next_starts: Column[Moment]
