"""What a watch of a run tells, job by job: what of it is new, and what jobs say of themselves meanwhile."""

from __future__ import annotations

from dataclasses import replace

from titan.protocol import messages as msg
from titan.sdk.status import JobStatus, job_status


class Picture:
    """The newest known of each job. It outlives a connection: the next one begins with the whole picture again."""

    def __init__(self, *, progress: bool) -> None:
        self._progress = progress
        self._known: dict[str, tuple[object, ...]] = {}
        self._running: dict[str, JobStatus] = {}

    def take(self, it: msg.Changes) -> list[JobStatus]:
        """The jobs that are in another state now; with `progress` also those that say something new."""
        fresh: dict[str, JobStatus] = {}
        for row in it.jobs:
            status = job_status(row)
            if self._known.get(status.id) != (about := self._told(status)):
                self._known[status.id] = about
                fresh[status.id] = status
            if self._progress and status.state == "RUNNING":
                self._running[status.id] = status
            else:
                self._running.pop(status.id, None)
        if self._progress:
            for name, fraction, text in zip(it.moved, it.fractions, it.texts, strict=True):
                before = self._running.get(name)
                if before is not None:
                    after = replace(before, progress=fraction if fraction >= 0 else None, message=text)
                    fresh[name] = self._running[name] = after
                    self._known[name] = self._told(after)
        return list(fresh.values())

    def _told(self, job: JobStatus) -> tuple[object, ...]:
        return (job.state, job.attempt, job.status, job.progress, job.message) if self._progress else (job.state, job.attempt)
