"""Rules of `LogOracle` for jobs with conditions.

The truth of a condition is computed from the oracle's own facts about states and results.
"""

from __future__ import annotations

from titan.core.events import events as ev
from titan.model.causes import Cause
from titan.model.conditions import BadCondition, Reference, is_true, parse, part_of, result_of
from titan.model.dag import ENDED
from titan.model.states import JobState
from titan.sim.oracle.ledger import TERMINAL, Ledger
from titan.sim.oracle.processes import Violation
from titan.sim.oracle.records import JobFacts


def judge_start(ledger: Ledger, job: JobFacts) -> None:
    """Raise Violation unless the condition of a job that becomes ready is true."""
    if not job.template.condition:
        return
    ledger.trace.count("condition true")
    if blocking := _blocking(ledger, job):
        raise Violation(f"{job.where} became ready although {blocking[0].name} is {blocking[0].state.name}")
    if _truth(ledger, job) is not True:
        raise Violation(f"{job.where} became ready although its condition is not true: {job.template.condition}")


def judge_death(ledger: Ledger, job: JobFacts) -> None:
    """Raise Violation unless the condition of a job that died while it waited has no value."""
    ledger.trace.count("condition without a value")
    if _blocking(ledger, job) or _truth(ledger, job) is not None:
        raise Violation(f"{job.where} is DEAD from WAITING; its condition is {job.template.condition or 'missing'}")


def on_jobs_skipped(ledger: Ledger, e: ev.JobsSkipped) -> None:
    for number in e.jobs:
        job = ledger.jobs[number]
        parents = [ledger.jobs[p] for p in job.parents]
        if e.cause == Cause.SKIPPED:
            ledger.trace.count("skipped with an ancestor")
            fit = any(p.state is JobState.SKIPPED and ledger.blocks(p, job) for p in parents)
        else:
            ledger.trace.count("condition false")
            fit = all(p.state in TERMINAL or p.is_done for p in parents)
            fit = fit and not _blocking(ledger, job) and _truth(ledger, job) is False
        if not fit:
            raise Violation(f"{job.where} is SKIPPED; its parents are {[(p.name, p.state.name) for p in parents]}")
        ledger.transition(job, JobState.SKIPPED, JobState.WAITING)
        job.why, job.cause = e.reason, e.cause
    for number in e.jobs:
        ledger.unlock(ledger.jobs[number], e.at)


def _blocking(ledger: Ledger, job: JobFacts) -> list[JobFacts]:
    """Return the parents because of which a job with `when` ENDED does not run."""
    parents = [ledger.jobs[p] for p in job.parents]
    return [p for p in parents if ledger.blocks(p, job)] if job.template.when == ENDED else []


def _truth(ledger: Ledger, job: JobFacts) -> bool | None:
    """Return the truth of a condition; None if it has none."""
    parents = {ledger.jobs[p].name: ledger.jobs[p] for p in job.parents}

    def read(reference: Reference) -> object:
        parent = parents[reference.job]
        state = parent.state.name
        return state if reference.keys is None else part_of(result_of(parent.name, state, parent.value), reference)

    try:
        return is_true(parse(job.template.condition or "false"), read)
    except BadCondition:
        return None
