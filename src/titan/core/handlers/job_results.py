"""Results of parents in the texts of a job: whether they can be put in, and the texts to put in.

A parent of a job that runs although the parent failed or was skipped has no result; the text is
then empty. The results of COMPLETED jobs do not change, so each attempt gets the same texts.
"""

from __future__ import annotations

from titan.core.state.state import Job, State
from titan.model.conditions import BadCondition, Reference
from titan.model.job_results import references_of, size_problem, text_of_result
from titan.model.plain import plain
from titan.model.states import JobState


def results_for(state: State, job: Job) -> tuple[tuple[str, str], ...]:
    """Return (JOB.result.KEY, text) of each result that the texts of a job name."""
    values, _ = _values(state, job) if job.template.fills_results else ({}, "")
    return tuple([(str(reference), text) for reference, text in values.items()])


def results_problem(state: State, job: Job) -> str:
    """Return why the results cannot be put into the texts of a job; "" if they can."""
    if not job.template.fills_results:
        return ""
    values, problem = _values(state, job)
    return problem or size_problem(job.template, job.args, values)


def _values(state: State, job: Job) -> tuple[dict[Reference, str], str]:
    """Return the texts, and the problem with the first value that cannot be put in."""
    parents = {parent.name: parent for number in job.parents if (parent := state.jobs[number])}
    values: dict[Reference, str] = {}
    problem = ""
    for reference in references_of(job.template, job.args, parents):
        parent = parents[reference.job]
        values[reference] = ""
        if parent.state is not JobState.COMPLETED:
            continue
        try:
            values[reference] = text_of_result(reference, parent.value)
        except BadCondition as bad:
            problem = problem or plain(f"${{{reference}}} cannot be put in: {bad}")
    return values, problem
