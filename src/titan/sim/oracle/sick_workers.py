"""Check of Titan's guarantee for jobs that break because of their workers."""

from __future__ import annotations

from collections.abc import Sequence

from titan.core.events import events as ev
from titan.core.handlers.ready import can_keep
from titan.core.handlers.sick_workers import BREAKS_LIMIT
from titan.core.state.state import State
from titan.sim.oracle.processes import Violation


def judge_broken_jobs(state: State, events: Sequence[ev.Event]) -> None:
    """Raise Violation if a job is DEAD because its workers broke it, while another suitable worker
    was idle."""
    for event in events:
        if not isinstance(event, ev.JobsDied):
            continue
        for number in event.jobs:
            job = state.jobs[number]
            if job.extra is None or job.extra.breaks < BREAKS_LIMIT or job.args[:1] == ("broken",):
                continue
            idle = [
                worker.name
                for other, worker in state.workers.items()
                if worker.takes_work
                and not worker.used
                and other not in job.extra.broken_on
                and can_keep(state, other, job.template)
            ]
            if idle:
                raise Violation(f"{job.run.id}/{job.name} is DEAD because its workers broke it, while {idle} are idle")
