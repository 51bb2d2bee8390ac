"""How the chronicle reads that runs grew."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from titan.core import events as ev
from titan.model.states import JobState
from titan.sim.facts import JobFacts
from titan.sim.ledger import Ledger
from titan.sim.truth import Violation


def _run_grown(it: Ledger, e: ev.RunGrown) -> None:
    numbers = it.runs[e.run]
    if e.by:
        by = it.jobs[e.by]
        if by.run != e.run or by.state not in (JobState.DISPATCHED, JobState.RUNNING):
            raise Violation(f"run {e.run} grew by {by.where}, which is {by.state.name}")
    if any((run, by) == (e.run, e.by) for run, by, _ in it.growths):  # here a job adds jobs once
        raise Violation(f"run {e.run} grew twice by job {e.by}, key {e.key}")
    if e.run in it.cancelled:
        raise Violation(f"run {e.run} grew after a user cancelled it")
    it.growths[e.run, e.by, e.key] = list(e.ids)
    names = {it.jobs[n].name for n in numbers}
    if not names.isdisjoint(e.ids) or len(set(e.ids)) < len(e.ids):
        raise Violation(f"run {e.run} has jobs of one name: {names & set(e.ids)}")
    whole = [*numbers, *range(e.first_job, e.first_job + len(e.ids))]
    for i, name in enumerate(e.ids):
        number, parents = e.first_job + i, tuple([whole[p] for p in e.parents[i]])
        if number in it.jobs:
            raise Violation(f"job number {number} was given out twice")
        it.jobs[number] = JobFacts(number, name, e.run, e.templates[e.template_of[i]], parents, [], e.at)
    it.runs[e.run] = whole
    for number in whole[len(numbers) :]:
        for parent in it.jobs[number].parents:
            it.jobs[parent].children.append(number)
            if it.blocks(it.jobs[parent], it.jobs[number]):
                raise Violation(f"{it.jobs[number].where} was added behind {it.jobs[parent].where}, and can never run")
    for number, positions in e.before:
        job = it.jobs[number]
        if job.state is not JobState.WAITING:
            raise Violation(f"{job.where} is {job.state.name} and is to wait for an addition")
        more = tuple([whole[p] for p in positions])
        job.parents += more
        for parent in more:
            it.jobs[parent].children.append(number)


READERS: dict[type, Callable[[Ledger, Any], None]] = {ev.RunGrown: _run_grown}
