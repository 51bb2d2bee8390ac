"""Check of Titan's guarantees about files.

Each recorded output is on the master's disk. A job that uses the output starts only after the file
has arrived at its worker. The hash of a file contains the lease that wrote the file, so that the
oracle can detect a wrong file.
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
    """Return the hash of an output of an attempt."""
    return f"{lease:056x}{sum(name.encode()):08x}"


class FileOracle:
    def __init__(self, log_oracle: LogOracle) -> None:
        self._log_oracle = log_oracle
        self.kept: dict[str, None] = {}
        """Hashes of the files on the master's disk."""
        self._outputs: dict[int, dict[str, str]] = {}
        """Durably COMPLETED job -> {name of an output: hash}."""

    def record(self, event: ev.Event) -> None:
        if not isinstance(event, ev.JobsCompleted):
            return
        for i, number in enumerate(event.jobs):
            job = self._log_oracle.jobs[number]
            outputs = {file.name: file.hash for file in event.outputs[i]} if event.outputs else {}
            wanted = [name for name, _ in job.template.outputs]
            if list(outputs) != wanted:
                raise Violation(f"{job.where} is COMPLETED with the outputs {list(outputs)} instead of {wanted}")
            for name, hash_ in outputs.items():
                if hash_ not in self.kept:
                    raise Violation(f"{job.where} is COMPLETED, but its output {name} is not on the master's disk")
            if outputs:
                self._outputs[number] = outputs

    def judge_start(self, assignment: wm.Assignment, local_hashes: dict[str, None]) -> None:
        """Raise Violation unless an attempt starts with the right files. `local_hashes` has the
        hashes of the files on its worker."""
        files = {file.name: file.hash for file in assignment.files}
        wanted = self._wanted(assignment.run, assignment.job, assignment.template)
        if files != wanted:
            raise Violation(
                f"{assignment.run}/{assignment.job} (lease {short(assignment.lease)}) gets the files {files} instead of {wanted}"
            )
        for path, hash_ in files.items():
            if hash_ not in local_hashes:
                raise Violation(
                    f"{assignment.run}/{assignment.job} (lease {short(assignment.lease)}) starts before {path} has arrived"
                )

    def _wanted(self, run: str, job: str, template: JobTemplate) -> dict[str, str]:
        if not template.inputs:
            return {}
        jobs = {self._log_oracle.jobs[n].name: n for n in self._log_oracle.runs[run]}
        return {path: self._outputs.get(jobs[giver_of(job, giver)], {}).get(name, "") for path, giver, name in template.inputs}
