"""Disk space that the master, the workers and runs take."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from titan.model.disk import FULL_DISK_BYTES
from titan.protocol import messages as msg
from titan.sdk.connection import Connection


@dataclass(frozen=True, slots=True)
class NodeDisk:
    """Disk space, in bytes, of the master or a worker.

    - `places`: sort of files ("job folders", "journal") -> bytes.
    - `free`, `total`: of the file system of its home.
    - `complete`: False if the sizes are too small, because the measurement took too long.
    - `problem`: why it was not measured, for example because the worker is away; "" if it was.
    """

    name: str
    home: str
    places: dict[str, int]
    free: int
    total: int
    complete: bool
    problem: str

    @property
    def bytes(self) -> int:
        return sum(self.places.values())

    @property
    def is_full(self) -> bool:
        """Return whether its disk has less than 64 MiB free."""
        return bool(self.total) and self.free < FULL_DISK_BYTES


@dataclass(frozen=True, slots=True)
class RunDisk:
    """Disk space of a run: its folders and logs on `workers`, and its logs on the master.

    `dag` is "" if the master does not know the run any more.
    """

    run: str
    dag: str
    bytes: int
    workers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DiskStatus:
    """Disk space of a cluster. `runs` are the largest 1000, the largest first."""

    master: NodeDisk
    workers: tuple[NodeDisk, ...]
    runs: tuple[RunDisk, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the status as data that can be written as JSON."""
        nodes = [{**asdict(node), "bytes": node.bytes} for node in (self.master, *self.workers)]
        return {"master": nodes[0], "workers": nodes[1:], "runs": [asdict(run) for run in self.runs]}


async def disk(connection: Connection) -> DiskStatus:
    answer = await connection.call(msg.GetDisk)
    assert isinstance(answer, msg.DiskUsage)
    master, *workers = [_node(row) for row in answer.nodes]
    return DiskStatus(
        master, tuple(workers), tuple(RunDisk(row.run, row.dag, row.bytes, tuple(row.workers)) for row in answer.runs)
    )


def _node(row: msg.NodeDiskRow) -> NodeDisk:
    places = {place.place: place.bytes for place in row.places}
    return NodeDisk(row.worker or "master", row.home, places, row.free, row.total, row.complete, row.problem)
