"""Changes of a run, per job: new states, progress and status texts."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import replace
from typing import Any

from titan.protocol import messages as msg
from titan.sdk.status import JobStatus, job_status


class NewsQueue(asyncio.Queue[Any]):
    """Queue of a watch, in which newer progress replaces pending progress.

    A slow consumer thus always gets the newest.
    """

    def _init(self, maxsize: int) -> None:
        self._queue: deque[Any] = deque()

    def _put(self, item: Any) -> None:
        pending = self._queue
        if pending and _is_progress(item) and _is_progress(pending[-1]):
            pending[-1] = (_merged(pending[-1][0], item[0]), item[1])
        else:
            pending.append(item)


def _is_progress(item: Any) -> bool:
    """Return True if the message contains only progress."""
    message = item[0] if isinstance(item, tuple) else None
    return isinstance(message, msg.Changes) and not (message.jobs or message.first or message.last)


def _merged(older: msg.Changes, newer: msg.Changes) -> msg.Changes:
    progress = {
        name: (fraction, text)
        for message in (older, newer)
        for name, fraction, text in zip(message.moved, message.fractions, message.texts, strict=True)
    }
    fractions, texts = [fraction for fraction, _ in progress.values()], [text for _, text in progress.values()]
    return msg.Changes(newer.request, newer.run, [], False, False, list(progress), fractions, texts)


class RunView:
    """The newest known state of each job.

    This object outlives a connection. The next connection sends the whole state again.
    """

    def __init__(self, *, progress: bool) -> None:
        self._progress = progress
        self._known: dict[str, tuple[object, ...]] = {}
        self._running: dict[str, JobStatus] = {}

    def take(self, message: msg.Changes) -> list[JobStatus]:
        """Return the jobs whose state changed.

        With `progress`, jobs with a new progress or status are included.
        """
        changed: dict[str, JobStatus] = {}
        for row in message.jobs:
            status = job_status(row)
            if self._known.get(status.id) != (visible := self._visible(status)):
                self._known[status.id] = visible
                changed[status.id] = status
            if self._progress and status.state == "RUNNING":
                self._running[status.id] = status
            else:
                self._running.pop(status.id, None)
        if self._progress:
            for name, fraction, text in zip(message.moved, message.fractions, message.texts, strict=True):
                before = self._running.get(name)
                if before is not None:
                    after = replace(before, progress=fraction if fraction >= 0 else None, message=text)
                    changed[name] = self._running[name] = after
                    self._known[name] = self._visible(after)
        return list(changed.values())

    def _visible(self, job: JobStatus) -> tuple[object, ...]:
        return (job.state, job.attempt, job.status, job.progress, job.message) if self._progress else (job.state, job.attempt)
