"""Demand of a job on its worker: capabilities, and resources in whole units so that sums are exact.

Jobs with equal demands are alike to the scheduler and share a lane. Nearly all jobs demand one
capability and nothing else; their demand is that capability's name. This module must not know which
job has a demand, or which resources are free.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from titan.model.dag import MAX_CPUS, MAX_MEMORY, JobTemplate, Needs
from titan.model.sizes import size_text

Amounts = tuple[int, int, int]
"""Thousandths of a CPU, bytes of memory, GPUs."""

NOTHING: Amounts = (0, 0, 0)
MILLI = 1000
MAX_GPUS = 1024
MAX_CAPABILITIES = 16


class Demand(msgspec.Struct, frozen=True, gc=False):
    """Several capabilities, or capabilities and resources, or jobs of an array with a limit.
    `capabilities` are sorted."""

    capabilities: tuple[str, ...]
    amounts: Amounts = NOTHING
    array: str = ""
    """RUN/ARRAY of jobs of which at most `most` may be on workers at a time. "": no such limit."""
    most: int = 0

    @property
    def scarce(self) -> bool:
        """True if the demand takes resources besides a slot."""
        return self.amounts != NOTHING


LaneKey = str | Demand


def demand_of(template: JobTemplate) -> LaneKey:
    """Return the demand of a template's jobs.

    >>> demand_of(JobTemplate(command="true"))
    'GENERAL'
    >>> demand_of(JobTemplate(command="true", requirement="GPU", needs=Needs(cpus=0.5, gpus=1)))
    Demand(capabilities=('GPU',), amounts=(500, 0, 1))
    """
    needs = template.needs
    if needs is None:
        return template.requirement
    amounts = amounts_of(needs)
    capabilities = tuple(sorted(dict.fromkeys((template.requirement, *needs.capabilities))))
    return capabilities[0] if len(capabilities) == 1 and amounts == NOTHING else Demand(capabilities, amounts)


def demand_in_run(run: str, template: JobTemplate) -> LaneKey:
    """Return the demand of a template's jobs in a run. Jobs that share a limit have a demand of
    their own.

    >>> demand_in_run("r1", JobTemplate(command="true", parallel=Parallel("part", 2)))
    Demand(capabilities=('GENERAL',), amounts=(0, 0, 0), array='r1/part', most=2)
    """
    demand = template.requirement if template.needs is None else demand_of(template)
    if template.parallel is None:
        return demand
    array = f"{run}/{template.parallel.array}"
    return Demand(capabilities_of(demand), amounts_in(demand), array, template.parallel.most)


def amounts_of(needs: Needs) -> Amounts:
    return round(needs.cpus * MILLI), needs.memory, needs.gpus


def capabilities_of(key: LaneKey) -> tuple[str, ...]:
    return (key,) if isinstance(key, str) else key.capabilities


def amounts_in(key: LaneKey) -> Amounts:
    return NOTHING if isinstance(key, str) else key.amounts


def totals_of(facts: Mapping[str, str | int | float]) -> Amounts:
    """Return the resources that a worker reported; missing or invalid facts count as 0."""
    cpus, memory, gpus = (_number(facts.get(name)) for name in ("cpus", "memory_bytes", "gpus"))
    return round(min(cpus, MAX_CPUS) * MILLI), int(min(memory, MAX_MEMORY)), int(min(gpus, MAX_GPUS))


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return 0.0
    return value if value > 0 else 0.0  # also for NaN


def plus(a: Amounts, b: Amounts) -> Amounts:
    return a[0] + b[0], a[1] + b[1], a[2] + b[2]


def minus(a: Amounts, b: Amounts) -> Amounts:
    return a[0] - b[0], a[1] - b[1], a[2] - b[2]


def within(a: Amounts, b: Amounts) -> bool:
    """Return whether no amount in `a` exceeds the same amount in `b`."""
    return a[0] <= b[0] and a[1] <= b[1] and a[2] <= b[2]


def fits_beside(asked: Amounts, taken: Amounts, total: Amounts) -> bool:
    """Return whether `total` minus `taken` covers each amount in `asked` that is not 0."""
    return all(not want or have + want <= all_ for want, have, all_ in zip(asked, taken, total, strict=True))


# -- for people ------------------------------------------------------------------------------------
def amount_text(kind: int, amount: int) -> str:
    """Return an amount as text. `kind`: the position in Amounts."""
    if kind == 1:
        return size_text(amount)
    return f"{amount / MILLI:g}" if kind == 0 else str(amount)


KINDS = ("cpus", "memory", "gpus")


def demand_text(key: LaneKey) -> str:
    """Return a demand as text.

    >>> demand_text("GPU"), demand_text(Demand(("GPU", "HIGH_MEM"), (2000, 4 << 30, 1)))
    ('GPU', 'GPU and HIGH_MEM, cpus 2, memory 4 GiB, gpus 1')
    """
    parts = [f"{KINDS[i]} {amount_text(i, n)}" for i, n in enumerate(amounts_in(key)) if n]
    if isinstance(key, Demand) and key.most:
        parts.append(f"max_parallel {key.most} of {key.array}")
    return ", ".join([" and ".join(capabilities_of(key)), *parts])
