"""What a job asks of its worker, as users write it: one capability or several, `cpus`, `memory` and `gpus`.

Owns what may be written, what it becomes in a template, and the sentence about what no worker that is there can give.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from titan.model.dag import MAX_CPUS, MAX_MEMORY, JobTemplate, Needs
from titan.model.demand import (
    KINDS,
    MAX_CAPABILITIES,
    NOTHING,
    LaneKey,
    amount_text,
    amounts_in,
    capabilities_of,
    demand_of,
    totals_of,
)
from titan.model.names import CAPABILITY_RULE, is_capability
from titan.model.sizes import size_of, size_text
from titan.sdk.field_table import BadField
from titan.sdk.status import WorkerStatus

if TYPE_CHECKING:
    from titan.sdk.job import DAG, Job

Requirement = str | tuple[str, ...]


def main_capability(requirement: Requirement) -> str:
    return requirement if isinstance(requirement, str) else requirement[0]


def needs_of(requirement: Requirement, cpus: float = 0.0, memory: int = 0, gpus: int = 0) -> Needs | None:
    """What a template says beside its first capability, None for nothing."""
    more = () if isinstance(requirement, str) else requirement[1:]
    return Needs(cpus, memory, gpus, more) if more or cpus or memory or gpus else None


# -- what may be given, made into what is kept ---------------------------------------------------------------------------
def requirement_of(value: object) -> Requirement:
    """One capability by itself, several without repeats. Raises BadField."""
    if not isinstance(value, str) and (isinstance(value, (bytes, Mapping)) or not isinstance(value, Iterable)):
        raise BadField(f"must be a capability or a list of them, not {_kind(value)}")
    words = (value,) if isinstance(value, str) else tuple(value)
    if not words:
        raise BadField("must not be empty: leave it out for GENERAL")
    if len(words) > MAX_CAPABILITIES:
        raise BadField(f"at most {MAX_CAPABILITIES} capabilities")
    for word in words:
        if not isinstance(word, str):
            raise BadField(f"each capability must be a string, not {_kind(word)}")
        if not is_capability(word):
            raise BadField(f"{word[:80]!r} is malformed: a capability is {CAPABILITY_RULE}")
    found = tuple(dict.fromkeys(words))
    return found[0] if len(found) == 1 else found


def cpus_of(value: object) -> float:
    """Raises BadField."""
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise BadField(f"must be a number of CPUs, not {_kind(value)}")
    if not 0 <= value <= MAX_CPUS:  # also for NaN
        raise BadField(f"must be 0 to {MAX_CPUS:,.0f}")
    if 0 < value < 0.001:
        raise BadField("must be 0 or at least 0.001")
    return float(value)


def memory_of(value: object) -> int:
    """Bytes. Raises BadField."""
    if isinstance(value, str):
        try:
            return size_of(value)
        except ValueError as error:
            raise BadField(str(error)) from None
    if not isinstance(value, int) or isinstance(value, bool):
        raise BadField(f"must be a number of bytes or a size as '4GiB', not {_kind(value)}")
    if not 0 <= value <= MAX_MEMORY:
        raise BadField(f"must be 0 to {size_text(MAX_MEMORY)}")
    return value


def _kind(value: object) -> str:
    if value is None:
        return "nothing (null)"
    text = repr(value)
    text = text if len(text) <= 80 else text[:77] + "..."
    if isinstance(value, str):
        return f"the string {text}"
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return f"the number {text}"
    return f"a {type(value).__name__}"


def taken_text(worker: WorkerStatus) -> str:
    """What its attempts asked for, and of how much."""
    total = totals_of(worker.facts)
    shown = [(i, n) for i, n in enumerate(worker.taken) if n]
    return ", ".join(f"{KINDS[i]} {amount_text(i, n)} of {amount_text(i, total[i])}" for i, n in shown)


# -- at submission --------------------------------------------------------------------------------------------------------
def describe_unmet(dag: DAG, workers: Sequence[WorkerStatus], address: str) -> list[str]:
    """A line for each demand of the DAG's jobs that no worker that is there could ever meet; with how to start one that can."""
    there = [w for w in workers if w.state == "ALIVE"]
    demands = dict.fromkeys(_demand(job) for job in dag.jobs)
    return [problem for demand in demands if (problem := _unmet(demand, there, address))]


def asks_for_resources(dag: DAG) -> bool:
    return any(job.cpus or job.memory or job.gpus for job in dag.jobs)


def _demand(job: Job) -> LaneKey:
    needs = needs_of(job.requirement, job.cpus, job.memory, job.gpus)
    return demand_of(JobTemplate(requirement=main_capability(job.requirement), needs=needs))


def _unmet(demand: LaneKey, there: list[WorkerStatus], address: str) -> str:
    wanted, amounts = capabilities_of(demand), amounts_in(demand)
    capable = [w for w in there if all(c in w.capabilities for c in wanted)]
    totals = [totals_of(w.facts) for w in capable]
    if any(all(have >= want for want, have in zip(amounts, total, strict=True)) for total in totals):
        return ""
    options = [f"--capability {c}" for c in wanted] if wanted != ("GENERAL",) else []
    options += [f"--{kind} {amounts[i] if i else f'{amounts[0] / 1000:g}'}" for i, kind in enumerate(KINDS) if amounts[i]]
    how = " ".join([f"titan worker --master {address}", *options])
    names = " and ".join(wanted)
    if not capable:
        return f"no worker with {names} is there; jobs that require it wait until one is: {how}"
    assert amounts != NOTHING
    short = ", ".join(
        f"{KINDS[i]} {amount_text(i, amounts[i])} (the most is {amount_text(i, max(total[i] for total in totals))})"
        for i in range(3)
        if amounts[i]
    )
    return f"no worker with {names} has enough for jobs that ask for {short}; they wait until one has: {how}"
