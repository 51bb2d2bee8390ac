"""Check of Titan's guarantees about files.

Each recorded output is on the master's disk. A job that uses the output starts only after the file
has arrived at its worker. The hash of a file contains the lease that wrote the file, so that the
oracle can detect a wrong file.
"""

from __future__ import annotations

from titan.core.events import events as ev
from titan.model.dag import JobTemplate
from titan.model.files import StoredFile
from titan.model.job_inputs import Giver, giver_of, placed_files
from titan.model.patterns import is_pattern, name_of_match, root_of
from titan.sim.oracle.log import LogOracle
from titan.sim.oracle.processes import Violation
from titan.sim.trace import short
from titan.worker.state_machine import machine as wm

SIZE = 1


def content_of(lease: int, name: str) -> str:
    """Return the hash of an output of an attempt."""
    return f"{lease:056x}{sum(name.encode()):08x}"


def left_by(lease: int, template: JobTemplate) -> list[StoredFile]:
    """Return the output files that an attempt leaves, which depend on the lease: up to two files
    for a pattern, and no file for some optional outputs."""
    files = []
    for name, path in template.outputs:
        optional = name in template.optional_outputs
        if is_pattern(path):
            names = [name_of_match(name, path, f"{root_of(path)}/{i}.csv") for i in range(lease % 3 if optional else 1 + lease % 2)]
            files += [StoredFile(match, content_of(lease, match), SIZE, of=name) for match in names]
        elif not optional or lease % 2:
            files.append(StoredFile(name, content_of(lease, name), SIZE))
    return files


class FileOracle:
    def __init__(self, log_oracle: LogOracle) -> None:
        self._log_oracle = log_oracle
        self.kept: dict[str, None] = {}
        """Hashes of the files on the master's disk."""
        self._outputs: dict[int, list[StoredFile]] = {}
        """Durably COMPLETED job -> its output files."""

    def record(self, event: ev.Event) -> None:
        if not isinstance(event, ev.JobsCompleted):
            return
        for i, number in enumerate(event.jobs):
            job = self._log_oracle.jobs[number]
            outputs = list(event.outputs[i]) if event.outputs else []
            wanted = left_by(int(outputs[0].hash[:56], 16), job.template) if outputs else []
            forced = [name for name, _ in job.template.outputs if name not in job.template.optional_outputs]
            if outputs != wanted or not {file.of or file.name for file in outputs}.issuperset(forced):
                raise Violation(f"{job.where} is COMPLETED with the outputs {outputs} instead of {wanted}")
            for file in outputs:
                if file.hash not in self.kept:
                    raise Violation(f"{job.where} is COMPLETED, but its output {file.name} is not on the master's disk")
            if outputs:
                self._outputs[number] = outputs

    def adopt(self, number: int, earlier: int) -> None:
        """Record that a job has the output files of an earlier job."""
        if earlier in self._outputs:
            self._outputs[number] = self._outputs[earlier]

    def outputs_of(self, number: int) -> list[StoredFile]:
        return self._outputs.get(number, [])

    def judge_start(self, assignment: wm.Assignment, local_hashes: dict[str, None]) -> None:
        """Raise Violation unless an attempt starts with the right files. `local_hashes` has the
        hashes of the files on its worker."""
        files = {file.name: file.hash for file in assignment.files}
        wanted = self.wanted(assignment.run, assignment.job, assignment.template)
        if files != wanted:
            raise Violation(
                f"{assignment.run}/{assignment.job} (lease {short(assignment.lease)}) gets the files {files} instead of {wanted}"
            )
        for path, hash_ in files.items():
            if hash_ not in local_hashes:
                raise Violation(
                    f"{assignment.run}/{assignment.job} (lease {short(assignment.lease)}) starts before {path} has arrived"
                )

    def wanted(self, run: str, job: str, template: JobTemplate) -> dict[str, str]:
        """Return the hashes of the files that a job gets, by their paths."""
        if not template.inputs:
            return {}
        jobs = {self._log_oracle.jobs[n].name: n for n in self._log_oracle.runs[run]}
        wanted: dict[str, str] = {}
        for path, source, name in template.inputs:
            number = jobs[giver_of(job, source)]
            giver = Giver(source, self._log_oracle.jobs[number].template, self._outputs.get(number, ()))
            wanted.update({file.name: file.hash for file in placed_files(path, source, name, [giver])})
        return wanted
