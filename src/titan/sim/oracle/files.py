"""The judge of what was promised about files: a recorded output is on the master's disk, and who
takes one is given that, in time.

A file's content is the lease that made it, so a wrong one shows.
"""

from __future__ import annotations

from titan.core.events import events as ev
from titan.model.dag import JobTemplate
from titan.model.files import giver_of
from titan.sim.oracle.log import LogOracle
from titan.sim.oracle.processes import Violation
from titan.sim.trace import short
from titan.worker.state_machine import machine as wm


def content_of(lease: int, name: str) -> str:
    """The hash of what an attempt leaves."""
    return f"{lease:056x}{sum(name.encode()):08x}"


class FileJudge:
    def __init__(self, log_oracle: LogOracle) -> None:
        self._chronicle = log_oracle
        self.kept: dict[str, None] = {}
        """What the master's disk has."""
        self._left: dict[int, dict[str, str]] = {}
        """Of a COMPLETED job, durably: name -> hash."""

    def record(self, event: ev.Event) -> None:
        if not isinstance(event, ev.JobsCompleted):
            return
        for i, number in enumerate(event.jobs):
            job = self._chronicle.jobs[number]
            left = {file.name: file.hash for file in event.outputs[i]} if event.outputs else {}
            wanted = [name for name, _ in job.template.outputs]
            if list(left) != wanted:
                raise Violation(f"{job.where} is COMPLETED and left {list(left)}; it was to leave {wanted}")
            for name, hash_ in left.items():
                if hash_ not in self.kept:
                    raise Violation(f"{job.where} is COMPLETED and its output {name} is not on the master's disk")
            if left:
                self._left[number] = left

    def judge_start(self, assignment: wm.Assignment, here: dict[str, None]) -> None:
        """An attempt begins on a worker that has these files."""
        given = {file.name: file.hash for file in assignment.files}
        wanted = self._wanted(assignment.run, assignment.job, assignment.template)
        if given != wanted:
            raise Violation(
                f"{assignment.run}/{assignment.job} (lease {short(assignment.lease)}) is given {given}; it takes {wanted}"
            )
        for path, hash_ in given.items():
            if hash_ not in here:
                raise Violation(
                    f"{assignment.run}/{assignment.job} (lease {short(assignment.lease)}) begins before {path} is there"
                )

    def _wanted(self, run: str, job: str, template: JobTemplate) -> dict[str, str]:
        if not template.inputs:
            return {}
        jobs = {self._chronicle.jobs[n].name: n for n in self._chronicle.runs[run]}
        return {path: self._left.get(jobs[giver_of(job, giver)], {}).get(name, "") for path, giver, name in template.inputs}
