"""Input of a prediction: the workers, the duration of each job, and the overheads between jobs."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from titan.model.dag import JobTemplate


class Group(msgspec.Struct, frozen=True):
    """Identical workers. `memory` is in bytes. `cpus` 0: each worker has a machine of its own, with
    enough CPUs."""

    count: int
    slots: int = 1
    capabilities: tuple[str, ...] = ("GENERAL",)
    cpus: float = 0.0
    memory: int = 0
    gpus: int = 0


class Overheads(msgspec.Struct, frozen=True):
    """Overheads in seconds. The defaults are those of a local cluster."""

    begin_s: float = 0.01
    """Time from the submission to the first start."""
    link_s: float = 0.004
    """Time from the end of a job's last parent to the job's start on an idle worker: a report, a
    decision and a dispatch."""
    turn_s: float = 0.001
    """Time from the end of an attempt to the start of the next attempt that waits on the same
    worker."""


class JobDuration(msgspec.Struct, frozen=True, gc=False):
    """The duration of each attempt of a job, in seconds. All attempts but the last fail."""

    attempts: tuple[float, ...]
    cpu_s: float = 0.0
    """CPU seconds of the last attempt."""


class Pipeline(msgspec.Struct):
    """A DAG in columns: entry i of each column is job i. Every parent comes before its children."""

    name: str
    templates: list[JobTemplate]
    ids: list[str]
    template_of: list[int]
    parents: Sequence[tuple[int, ...]]
    deadline_s: float = 0.0


class Plan(msgspec.Struct):
    pipeline: Pipeline
    durations: Sequence[JobDuration]
    """One entry per job. Equal entries should be one object, to save memory."""
    groups: list[Group]
    overheads: Overheads = Overheads()
    shared_cpus: float = 0.0
    """CPUs of the machine that all workers share. 0: each worker has a machine of its own, with the
    CPUs of its group."""
    gate_wait_s: float = 0.0
    """Time until a gate is approved."""
    begin: float = 1_700_000_000.0
    """Time of the submission, in seconds since the epoch. `run_at` is relative to it."""

    @property
    def slots(self) -> int:
        return sum(group.count * group.slots for group in self.groups)
