"""What a watch of a run tells, job by job: what of it is new, and what jobs say of themselves
meanwhile."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import replace
from typing import Any

from titan.protocol import messages as msg
from titan.sdk.status import JobStatus, job_status


class NewsQueue(asyncio.Queue[Any]):
    """Of a watch: progress that nobody has taken yet gives way to newer progress, so who is slow
    finds the newest."""

    def _init(self, maxsize: int) -> None:
        self._queue: deque[Any] = deque()

    def _put(self, item: Any) -> None:
        waiting = self._queue
        if waiting and _is_progress(item) and _is_progress(waiting[-1]):
            waiting[-1] = (_joined(waiting[-1][0], item[0]), item[1])
        else:
            waiting.append(item)


def _is_progress(item: Any) -> bool:
    """And nothing else."""
    it = item[0] if isinstance(item, tuple) else None
    return isinstance(it, msg.Changes) and not (it.jobs or it.first or it.last)


def _joined(older: msg.Changes, newer: msg.Changes) -> msg.Changes:
    told = {
        name: (fraction, text)
        for it in (older, newer)
        for name, fraction, text in zip(it.moved, it.fractions, it.texts, strict=True)
    }
    fractions, texts = [fraction for fraction, _ in told.values()], [text for _, text in told.values()]
    return msg.Changes(newer.request, newer.run, [], False, False, list(told), fractions, texts)


class Picture:
    """The newest known of each job. It outlives a connection: the next one begins with the whole
    picture again."""

    def __init__(self, *, progress: bool) -> None:
        self._progress = progress
        self._known: dict[str, tuple[object, ...]] = {}
        self._running: dict[str, JobStatus] = {}

    def take(self, message: msg.Changes) -> list[JobStatus]:
        """The jobs that are in another state now; with `progress` also those that say something
        new."""
        fresh: dict[str, JobStatus] = {}
        for row in message.jobs:
            status = job_status(row)
            if self._known.get(status.id) != (about := self._told(status)):
                self._known[status.id] = about
                fresh[status.id] = status
            if self._progress and status.state == "RUNNING":
                self._running[status.id] = status
            else:
                self._running.pop(status.id, None)
        if self._progress:
            for name, fraction, text in zip(message.moved, message.fractions, message.texts, strict=True):
                before = self._running.get(name)
                if before is not None:
                    after = replace(before, progress=fraction if fraction >= 0 else None, message=text)
                    fresh[name] = self._running[name] = after
                    self._known[name] = self._told(after)
        return list(fresh.values())

    def _told(self, job: JobStatus) -> tuple[object, ...]:
        return (job.state, job.attempt, job.status, job.progress, job.message) if self._progress else (job.state, job.attempt)
