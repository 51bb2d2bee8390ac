"""Messages about the disk space that the master, the workers and runs take."""

from __future__ import annotations

import msgspec

from titan.protocol.base import Message
from titan.protocol.ranges import Column, Count, Name, Seconds, Text


class PlaceRow(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Disk space of one sort of files: "job folders", "journal"."""

    place: Name
    bytes: Count


class NodeDiskRow(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Disk space of the master (`worker` "") or a worker.

    `free`, `total`: of the file system of its home. `complete` is false if the sizes are too small,
    because the measurement took too long. `problem`: why a worker was not measured.
    """

    worker: Name
    home: Text
    places: Column[PlaceRow]
    free: Count
    total: Count
    complete: bool = True
    problem: Text = ""


class RunDiskRow(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Disk space of a run: its folders and logs on `workers`, and its logs on the master.

    `dag` is "" if the master does not know the run any more.
    """

    run: Name
    dag: Name
    bytes: Count
    workers: Column[Name]


class WorkerRunRow(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Disk space of a run on one worker: job folders with logs, and the shared folder."""

    run: Name
    bytes: Count
    shared: Count


# -- clients ---------------------------------------------------------------------------------------
class GetDisk(Message, frozen=True):
    """Ask for the disk space of the cluster. Answered by DiskUsage when all have measured it."""


class DiskUsage(Message, frozen=True):
    """Disk space of the cluster: the master first, then the workers, and the largest runs."""

    nodes: Column[NodeDiskRow]
    runs: Column[RunDiskRow]


# -- workers ---------------------------------------------------------------------------------------
class MeasureDisk(Message, frozen=True):
    """Measure the disk space of the home, for at most `seconds`. Answered by DiskMeasured.

    Request ids of this message are above those that a worker draws.
    """

    seconds: Seconds


class DiskMeasured(Message, frozen=True):
    """Disk space of a worker's home; `runs`: the largest. See NodeDiskRow.

    `shared` names the folder of shared files on this machine. Workers of the same folder send the
    same name, and the space of the folder counts once.
    """

    home: Text
    places: Column[PlaceRow]
    runs: Column[WorkerRunRow]
    free: Count
    total: Count
    complete: bool
    shared: Name
