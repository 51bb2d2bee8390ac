"""Conditions of jobs. When the parents of a job have ended, its condition decides whether the job
runs, is skipped or is DEAD.

A SKIPPED job fails nothing. Its dependents are SKIPPED too, except those that wait for the end of
their parents. A condition that cannot be evaluated, for example because a result lacks a key, makes
the job DEAD, so that a mistake is not taken for a false condition.
"""

from __future__ import annotations

from titan.core.handlers.attempts import bury
from titan.core.handlers.cancel import cancel, cancel_descendants, is_unneeded, skip
from titan.core.handlers.ready import admit
from titan.core.state.state import Job, State
from titan.core.turn import Turn
from titan.model.causes import Cause
from titan.model.conditions import BadCondition, Reference, is_true, parse, part_of, result_of, values_text
from titan.model.dag import ENDED
from titan.model.plain import plain
from titan.model.states import JobState


def settle_conditions(turn: Turn) -> None:
    """Evaluate the conditions of jobs that became ready in this turn."""
    jobs = turn.state.jobs
    while turn.conditional:
        numbers = [n for n in turn.conditional if n in jobs and jobs[n].state is JobState.WAITING and not jobs[n].missing]
        turn.conditional.clear()
        admitted: list[int] = []
        others: dict[tuple[Cause, str, bool], list[int]] = {}
        for number in numbers:
            found = _obstacle(turn.state, jobs[number])
            if found is None:
                admitted.append(number)
            else:
                others.setdefault(found, []).append(number)
        admit(turn, admitted)
        for (cause, reason, dead), group in others.items():
            _refuse(turn, group, cause, reason, dead=dead)


def _refuse(turn: Turn, jobs: list[int], cause: Cause, reason: str, *, dead: bool) -> None:
    if dead:
        bury(turn, jobs, reason)
        return
    skips = cause in (Cause.NONE, Cause.SKIPPED)
    if skips:
        skip(turn, jobs, reason, cause)
    else:
        cancel(turn, jobs, cause, reason)
    for number in jobs:
        name = turn.state.jobs[number].name
        if skips:
            cancel_descendants(turn, number, f"its ancestor {name} was skipped", Cause.SKIPPED)
        else:
            cancel_descendants(turn, number, f"its ancestor {name} was cancelled: {reason}", cause)


def _obstacle(state: State, job: Job) -> tuple[Cause, str, bool] | None:
    """Return why the job does not run: the cause, the reason, and whether the job is DEAD. Return
    None if it runs.

    A job that is skipped by its own condition has no cause.
    """
    template = job.template
    condition = parse(template.condition)
    parents = {parent.name: parent for number in job.parents if (parent := state.jobs[number])}
    if template.when == ENDED:
        blocking = [p for p in parents.values() if p.name not in condition.jobs_by_state and not _is_done(p)]
        if blocking:
            # A failure takes precedence over a skip. The verdict of the run has the same rule.
            worst = min(blocking, key=lambda parent: parent.state is JobState.SKIPPED)
            return _of_parent(worst)
    values: dict[Reference, object] = {}

    def read(reference: Reference) -> object:
        parent = parents[reference.job]
        if reference.keys is None:
            values[reference] = parent.state.name
        else:
            values[reference] = part_of(result_of(parent.name, parent.state.name, parent.value), reference)
        return values[reference]

    try:
        runs = is_true(condition, read)
    except BadCondition as bad:
        return Cause.NONE, plain(f"its condition cannot be evaluated: {bad}: {template.condition}"), True
    if runs:
        return None
    because = f" ({values_text(values)})" if values else ""
    return Cause.NONE, plain(f"its condition is false: {template.condition}{because}"), False


def _is_done(parent: Job) -> bool:
    return parent.is_done or (parent.state is JobState.DEAD and parent.template.on_failure == "continue")


def _of_parent(parent: Job) -> tuple[Cause, str, bool]:
    if parent.state is JobState.SKIPPED:
        return Cause.SKIPPED, f"its ancestor {parent.name} was skipped", False
    if is_unneeded(parent):
        return Cause.ANCESTOR_NOT_NEEDED, f"its ancestor {parent.name} was not needed", False
    return Cause.ANCESTOR, plain(f"its ancestor {parent.name} is {parent.state.name}: {parent.reason}"), False
