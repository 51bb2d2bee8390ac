"""Rules of `LogOracle` for jobs that are added to an open run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from titan.core.events import events as ev
from titan.model.states import JobState
from titan.sim.oracle.ledger import Ledger
from titan.sim.oracle.processes import Violation
from titan.sim.oracle.records import JobFacts


def _run_grown(ledger: Ledger, e: ev.RunGrown) -> None:
    numbers = ledger.runs[e.run]
    if e.by:
        by = ledger.jobs[e.by]
        if by.run != e.run or by.state not in (JobState.DISPATCHED, JobState.RUNNING):
            raise Violation(f"{by.where}, which is {by.state.name}, added jobs to run {e.run}")
    # a simulated job adds jobs only once
    if any((run, by) == (e.run, e.by) for run, by, _ in ledger.growths):
        raise Violation(f"job {e.by} added jobs to run {e.run} twice, key {e.key}")
    if e.run in ledger.cancelled:
        raise Violation(f"run {e.run} grew after a user cancelled it")
    ledger.growths[e.run, e.by, e.key] = list(e.ids)
    names = {ledger.jobs[n].name for n in numbers}
    if not names.isdisjoint(e.ids) or len(set(e.ids)) < len(e.ids):
        raise Violation(f"run {e.run} has several jobs of the same name: {names & set(e.ids)}")
    whole = [*numbers, *range(e.first_job, e.first_job + len(e.ids))]
    for i, name in enumerate(e.ids):
        number, parents = e.first_job + i, tuple([whole[p] for p in e.parents[i]])
        if number in ledger.jobs:
            raise Violation(f"job number {number} was assigned twice")
        ledger.jobs[number] = JobFacts(number, name, e.run, e.templates[e.template_of[i]], parents, [], e.at, args=e.args[i])
    ledger.runs[e.run] = whole
    for number in whole[len(numbers) :]:
        for parent in ledger.jobs[number].parents:
            ledger.jobs[parent].children.append(number)
            if ledger.blocks(ledger.jobs[parent], ledger.jobs[number]):
                raise Violation(
                    f"{ledger.jobs[number].where} was added as a child of {ledger.jobs[parent].where}, so it can never run"
                )
    for number, positions in e.before:
        job = ledger.jobs[number]
        if job.state is not JobState.WAITING:
            raise Violation(f"{job.where} is {job.state.name}, but an addition makes it wait for added jobs")
        more = tuple([whole[p] for p in positions])
        job.parents += more
        for parent in more:
            ledger.jobs[parent].children.append(number)


READERS: dict[type, Callable[[Ledger, Any], None]] = {ev.RunGrown: _run_grown}
