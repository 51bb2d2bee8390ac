"""What a prediction is made of: workers, what each job takes, and what it costs to get from one to
the next."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from titan.model.dag import JobTemplate


class Group(msgspec.Struct, frozen=True):
    """Workers that are alike. `cpus` 0: of its own machine, and enough; memory in bytes."""

    count: int
    slots: int = 1
    capabilities: tuple[str, ...] = ("GENERAL",)
    cpus: float = 0.0
    memory: int = 0
    gpus: int = 0


class Overheads(msgspec.Struct, frozen=True):
    """Seconds. The defaults are of a local cluster."""

    begin_s: float = 0.01
    """From the submission to the first start."""
    link_s: float = 0.004
    """From the end of what a job waits for to its start, on a worker that has nothing to do: a
    report, a decision, a dispatch."""
    turn_s: float = 0.001
    """From the end of an attempt to the start of one that waits behind it on the same worker."""


class Takes(msgspec.Struct, frozen=True, gc=False):
    """One job: its attempts in order, of which all but the last fail. `cpu_s`: of CPU, in the last."""

    attempts: tuple[float, ...]
    cpu_s: float = 0.0


class Pipeline(msgspec.Struct):
    """A DAG in columns, every parent before its children; entry i of each is job i."""

    name: str
    templates: list[JobTemplate]
    ids: list[str]
    template_of: list[int]
    parents: Sequence[tuple[int, ...]]
    deadline_s: float = 0.0


class Plan(msgspec.Struct):
    pipeline: Pipeline
    takes: Sequence[Takes]
    """By job. Equal ones are best one object."""
    groups: list[Group]
    overheads: Overheads = Overheads()
    shared_cpus: float = 0.0
    """All workers are on one machine of so many CPUs; 0: each has one of its own, with the CPUs of
    its group."""
    gate_wait_s: float = 0.0
    """After which every gate is approved."""
    begin: float = 1_700_000_000.0
    """When it is submitted, in seconds since the epoch: `run_at` is measured against it."""

    @property
    def slots(self) -> int:
        return sum(group.count * group.slots for group in self.groups)
