"""What this master could not keep of the output of attempts, until their results tell it.

Owns what is to be said. It must not know connections or files: how much of a stream is kept is
asked of the log store. What was refused and comes again is no loss, so the sum is made when the
result is there.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from titan.master.log_store import STDERR, STDOUT, LogStore

MOST = 10_000
"""Attempts; of more the oldest are forgotten."""


@dataclass(slots=True)
class _Loss:
    ends: dict[int, int] = field(default_factory=dict)
    """Stream -> how far the output went that was refused."""
    why: str = ""
    doubted: bool = False
    """Written, and the disk failed to sync it."""


class OutputLosses:
    def __init__(self, logs: LogStore) -> None:
        self._logs = logs
        self._known: dict[tuple[str, str, int], _Loss] = {}

    def __bool__(self) -> bool:
        return bool(self._known)

    def refused(self, run: str, job: str, attempt: int, stream: int, end: int, error: OSError) -> None:
        """The disk refused a piece of this stream that ends at `end`."""
        loss = self._of(run, job, attempt, error)
        loss.ends[stream] = max(end, loss.ends.get(stream, 0))

    def passed_over(self, run: str, job: str, attempt: int, stream: int, end: int) -> None:
        """A piece that ends at `end` came behind one that was refused."""
        loss = self._known.get((run, job, attempt))
        if loss is not None and stream in loss.ends:
            loss.ends[stream] = max(end, loss.ends[stream])

    def doubted(self, run: str, job: str, attempt: int, error: OSError) -> None:
        self._of(run, job, attempt, error).doubted = True

    def take(self, run: str, job: str, attempt: int) -> str:
        """Why output of an attempt that is over is lost; "" if all of it is kept."""
        loss = self._known.pop((run, job, attempt), None)
        if loss is None:
            return ""
        have = dict(zip((STDOUT, STDERR), self._logs.received(run, job, attempt), strict=True))
        size = sum(max(0, end - have.get(stream, 0)) for stream, end in loss.ends.items())
        if not size and not loss.doubted:
            return ""
        return f"{f'{size:,} bytes' if size else 'some of it'} could not be kept ({loss.why})"

    def _of(self, run: str, job: str, attempt: int, error: OSError) -> _Loss:
        loss = self._known.setdefault((run, job, attempt), _Loss())
        loss.why = f"the master's disk: {os.strerror(error.errno) if error.errno else error}"
        while len(self._known) > MOST:
            del self._known[next(iter(self._known))]
        return loss
