"""Changes of the cluster, as immutable values: runs, workers and queues.

Times are in seconds since the epoch.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import msgspec

from titan.errors import ConnectionLost
from titan.protocol import messages as msg
from titan.sdk.connection import Connection
from titan.sdk.status import RunSummary, WorkerStatus, run_summary, worker_status


@dataclass(frozen=True, slots=True)
class Queue:
    """Jobs that are queued for one demand.

    - `demand`: text such as "GPU, cpus 2"; "" for the jobs that only `worker` may take.
    - `first_at`: time at which its first job was queued; None if not known.
    """

    demand: str
    jobs: int
    first_at: float | None
    worker: str | None


@dataclass(frozen=True, slots=True)
class ClusterChange:
    """Changes of a cluster since the last value.

    - `first`: this is the present state. It comes first, and after each reconnection.
    - `at`: time of the master.
    - `runs`: runs that changed; at first, the newest 500, and the newest 500 that are not over.
    - `workers`: workers that changed. `gone`: names of workers that were forgotten.
    - `queues`: the largest 100 of all `queue_count` queues. `queued`: jobs in all queues.
    - `running`: number of runs that are not over.
    - `gates`, `dead`: number of open gates, and of jobs in the dead letter queue.
    - `notices`: (time, text) of messages for operators.
    """

    first: bool
    at: float
    runs: list[RunSummary]
    workers: list[WorkerStatus]
    gone: list[str]
    queues: list[Queue]
    queue_count: int
    queued: int
    running: int
    gates: int
    dead: int
    notices: list[tuple[float, str]]


class _Pending(asyncio.Queue[Any]):
    """Queue in which newer changes replace pending ones, so that a slow reader gets the newest."""

    def _init(self, maxsize: int) -> None:
        self._queue: deque[Any] = deque()

    def _put(self, item: Any) -> None:
        pending = self._queue
        if pending and _is_change(item) and _is_change(pending[-1]):
            pending[-1] = (merged(pending[-1][0], item[0]), item[1])
        else:
            pending.append(item)


def _is_change(item: Any) -> bool:
    return isinstance(item, tuple) and isinstance(item[0], msg.ClusterChanges)


def merged(older: msg.ClusterChanges, newer: msg.ClusterChanges) -> msg.ClusterChanges:
    """Return one message with the effect of two."""
    if newer.first:
        return newer
    runs = {row.run: row for row in (*older.runs, *newer.runs)}
    workers = {row.name: row for row in (*older.workers, *newer.workers) if row in newer.workers or row.name not in newer.gone}
    gone = [name for name in dict.fromkeys((*older.gone, *newer.gone)) if name not in workers]
    return msgspec.structs.replace(newer, first=older.first, runs=list(runs.values()), workers=list(workers.values()), gone=gone)


async def cluster_changes(connection: Connection) -> AsyncIterator[ClusterChange]:
    while True:
        try:
            async for message, _ in connection.stream(msg.WatchCluster, _Pending):
                assert isinstance(message, msg.ClusterChanges)
                yield _change(message)
        except ConnectionLost:
            await connection.reopen()


def _change(m: msg.ClusterChanges) -> ClusterChange:
    queues = [Queue(row.demand, row.jobs, row.first_at or None, row.worker or None) for row in m.queues]
    runs, workers = [run_summary(row) for row in m.runs], [worker_status(row) for row in m.workers]
    return ClusterChange(
        m.first, m.at, runs, workers, m.gone, queues, m.queue_count, m.queued, m.running, m.gates, m.dead, m.notices
    )  # fmt: skip
