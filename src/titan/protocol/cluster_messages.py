"""Messages about the cluster as a whole: its workers, and changes of runs, workers and queues."""

from __future__ import annotations

import msgspec

from titan.protocol.base import Message
from titan.protocol.ranges import Column, Count, Facts, Measured, Moment, Name, Row, Text
from titan.protocol.run_messages import RunRow


class ListWorkers(Message, frozen=True):
    pass


class WorkerRow(msgspec.Struct, frozen=True, array_like=True, gc=False):
    name: Name
    state: Name
    capabilities: Row[Name]
    slots: Count
    held: Count
    heard_at: Measured
    joined_at: Measured
    facts: Facts
    taken: tuple[Count, Count, Count] = (0, 0, 0)
    """Resources that the worker's attempts take: thousandths of a CPU, bytes of memory, GPUs. The
    totals are `cpus`, `memory_bytes`, `gpus` of `facts`."""
    told_by: Name = ""
    """User who told the worker to leave."""


class Workers(Message, frozen=True):
    """All workers. `notices`: (time, text) of messages for operators about this home."""

    workers: Column[WorkerRow]
    notices: Column[tuple[Moment, Text]] = []


class QueueRow(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Jobs that are queued for one demand, a text such as "GPU, 2 cpus".

    `first_at`: time at which the first job of the queue was queued. `worker`: the only worker that
    may take these jobs, "" for any.
    """

    demand: Name
    jobs: Count
    first_at: Measured
    worker: Name = ""


class WatchCluster(Message, frozen=True):
    """Subscribe to the cluster until Unwatch: its present state, then all changes. The master sends
    them as ClusterChanges with this request id, at most four times a second.

    A subscriber that has not read the last changes gets the newest state later, not each change.
    """


class ClusterChanges(Message, frozen=True):
    """Changes of a watched cluster. `at`: time of the master.

    `first`: this is the present state; `runs` has the newest 500 runs, and the newest 500 that are
    not over. `runs`: runs that changed. `workers`: workers that changed, `gone`: names of workers
    that were forgotten. `queues`: the largest 100 of all `queue_count` queues. `queued`: number of
    jobs in all queues. `running`: number of runs that are not over. `gates`, `dead`: number of open
    gates, and of jobs in the dead letter queue. `notices`: as in Workers.
    """

    at: Moment
    first: bool
    runs: Column[RunRow]
    workers: Column[WorkerRow]
    gone: Column[Name]
    queues: Column[QueueRow]
    queue_count: Count = 0
    queued: Count = 0
    running: Count = 0
    gates: Count = 0
    dead: Count = 0
    notices: Column[tuple[Moment, Text]] = []
