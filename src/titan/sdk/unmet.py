"""Resources of workers: the reserved ones, and demands of jobs that no worker can meet."""

from __future__ import annotations

from collections.abc import Sequence

from titan.model.dag import JobTemplate
from titan.model.demand import (
    KINDS,
    NOTHING,
    LaneKey,
    amount_text,
    amounts_in,
    capabilities_of,
    demand_of,
    totals_of,
)
from titan.sdk.job import DAG, Job
from titan.sdk.needs import main_capability, needs_of
from titan.sdk.status import WorkerStatus


def taken_text(worker: WorkerStatus) -> str:
    """Return a text with the resources that the worker's attempts reserve, and their totals."""
    total = totals_of(worker.facts)
    shown = [(i, n) for i, n in enumerate(worker.taken) if n]
    return ", ".join(f"{KINDS[i]} {amount_text(i, n)} of {amount_text(i, total[i])}" for i, n in shown)


def describe_unmet(dag: DAG, workers: Sequence[WorkerStatus], address: str) -> list[str]:
    """Return a line for each demand of the DAG's jobs that no present worker can ever meet.

    The line shows how to start a worker that can.
    """
    alive = [w for w in workers if w.state == "ALIVE"]
    demands = dict.fromkeys(_demand(job) for job in dag.jobs)
    return [problem for demand in demands if (problem := _unmet(demand, alive, address))]


def asks_for_resources(dag: DAG) -> bool:
    return any(job.cpus or job.memory or job.gpus for job in dag.jobs)


def _demand(job: Job) -> LaneKey:
    needs = needs_of(job.requirement, job.cpus, job.memory, job.gpus)
    return demand_of(JobTemplate(requirement=main_capability(job.requirement), needs=needs))


def _unmet(demand: LaneKey, alive: list[WorkerStatus], address: str) -> str:
    wanted, amounts = capabilities_of(demand), amounts_in(demand)
    capable = [w for w in alive if all(c in w.capabilities for c in wanted)]
    totals = [totals_of(w.facts) for w in capable]
    if any(all(have >= want for want, have in zip(amounts, total, strict=True)) for total in totals):
        return ""
    options = [f"--capability {c}" for c in wanted] if wanted != ("GENERAL",) else []
    options += [f"--{kind} {amounts[i] if i else f'{amounts[0] / 1000:g}'}" for i, kind in enumerate(KINDS) if amounts[i]]
    command = " ".join([f"titan worker --master {address}", *options])
    names = " and ".join(wanted)
    if not capable:
        return f"no worker offers {names}; jobs that require it wait until one does. Start one: {command}"
    assert amounts != NOTHING
    short = ", ".join(
        f"{KINDS[i]} {amount_text(i, amounts[i])} (the most is {amount_text(i, max(total[i] for total in totals))})"
        for i in range(3)
        if amounts[i]
    )
    return f"no worker with {names} has enough for jobs that need {short}; they wait until one has. Start one: {command}"
