"""Jobs that were queued in this turn, before they are placed. A job that cannot receive its input
files, or the results that its texts name, becomes DEAD. A job whose result is known completes."""

from __future__ import annotations

from titan.core.handlers.attempts import bury
from titan.core.handlers.files import inputs_problem
from titan.core.handlers.job_results import results_problem
from titan.core.handlers.result_cache import reuse
from titan.core.turn import Turn
from titan.model.states import JobState


def settle_queued(turn: Turn) -> None:
    """Make the jobs of `turn.queued` DEAD whose input files cannot be laid out, or whose texts
    cannot be filled, and complete those whose result is known. Do the same for jobs that are queued
    meanwhile."""
    jobs = turn.state.jobs
    while turn.queued:
        queued, turn.queued = turn.queued, []
        for number in queued:
            job = jobs[number]
            if job.state is not JobState.QUEUED:
                continue
            if problem := inputs_problem(turn.state, job) or results_problem(turn.state, job):
                bury(turn, [number], problem)
        reuse(turn, queued)
