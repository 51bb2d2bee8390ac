"""Rules for jobs whose texts name results of their parents.

The texts are computed from the oracle's own facts about states and results.
"""

from __future__ import annotations

from titan.model.conditions import BadCondition
from titan.model.job_results import references_of, size_problem, text_of_result
from titan.model.states import JobState
from titan.sim.oracle.ledger import Ledger
from titan.sim.oracle.processes import Violation
from titan.sim.oracle.records import JobFacts
from titan.worker.state_machine import machine as wm


def judge_results(ledger: Ledger, assignment: wm.Assignment) -> None:
    """Raise Violation unless an attempt starts with the texts of the results that it names.

    An empty text is right if the attempt may have been sent before a retry of a DEAD parent.
    """
    if not assignment.template.fills_results:
        return
    jobs = {ledger.jobs[number].name: ledger.jobs[number] for number in ledger.runs[assignment.run]}
    job = jobs[assignment.job]
    received = dict(assignment.results)
    wanted, problem = _texts(ledger, job)
    ledger.trace.count("results put in")
    early = job.awaits_ends or any(ledger.jobs[number].template.on_failure == "continue" for number in job.parents)
    wrong = {name: text for name, text in wanted.items() if received.get(name) not in (text, "" if early else text)}
    if wrong or (problem and not early):
        raise Violation(f"{job.where} starts with the results {received} instead of {wrong or problem}")


def judge_death(ledger: Ledger, job: JobFacts) -> None:
    """Raise Violation unless a job that died in the queue names a result that cannot be put in."""
    ledger.trace.count("results that cannot be put in")
    if not job.template.fills_results or not _texts(ledger, job)[1]:
        raise Violation(f"{job.where} is DEAD from QUEUED, but all results that it names can be put in")


def _texts(ledger: Ledger, job: JobFacts) -> tuple[dict[str, str], str]:
    """Return the texts of the COMPLETED parents, and the problem with them."""
    parents = {ledger.jobs[number].name: ledger.jobs[number] for number in job.parents}
    texts = {}
    for reference in references_of(job.template, job.args, parents):
        if parents[reference.job].state is JobState.COMPLETED:
            try:
                texts[reference] = text_of_result(reference, parents[reference.job].value)
            except BadCondition as bad:
                return {}, str(bad)
    return {str(reference): text for reference, text in texts.items()}, size_problem(job.template, job.args, texts)
