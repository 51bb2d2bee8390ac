"""Output of attempts that this master lost, until the results of the attempts report the loss.

Output that the disk rejected may arrive again and is then no loss. So the loss is computed when the
result of the attempt arrives, from the sizes in the log store. This module must not know
connections or files.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from titan.master.log_store import STDERR, STDOUT, LogStore

MOST = 10_000
"""Maximum number of attempts with a recorded loss. Beyond it the oldest are dropped."""


@dataclass(slots=True)
class _Loss:
    ends: dict[int, int] = field(default_factory=dict)
    """Stream -> end offset of the output that the disk rejected."""
    reason: str = ""
    doubted: bool = False
    """True if output was written, but the disk then failed to sync the file."""


class OutputLosses:
    def __init__(self, logs: LogStore) -> None:
        self._logs = logs
        self._known: dict[tuple[str, str, int], _Loss] = {}

    def __bool__(self) -> bool:
        return bool(self._known)

    def refused(self, run: str, job: str, attempt: int, stream: int, end: int, error: OSError) -> None:
        """Record a piece of a stream, up to offset `end`, that the disk rejected."""
        loss = self._of(run, job, attempt, error)
        loss.ends[stream] = max(end, loss.ends.get(stream, 0))

    def skipped(self, run: str, job: str, attempt: int, stream: int, end: int) -> None:
        """Record a piece, up to offset `end`, that the master skipped after a rejected piece."""
        loss = self._known.get((run, job, attempt))
        if loss is not None and stream in loss.ends:
            loss.ends[stream] = max(end, loss.ends[stream])

    def doubted(self, run: str, job: str, attempt: int, error: OSError) -> None:
        self._of(run, job, attempt, error).doubted = True

    def take(self, run: str, job: str, attempt: int) -> str:
        """Return why output of a finished attempt is lost, or "" if nothing is lost."""
        loss = self._known.pop((run, job, attempt), None)
        if loss is None:
            return ""
        have = dict(zip((STDOUT, STDERR), self._logs.received(run, job, attempt), strict=True))
        size = sum(max(0, end - have.get(stream, 0)) for stream, end in loss.ends.items())
        if not size and not loss.doubted:
            return ""
        return f"{f'{size:,} bytes' if size else 'some of it'} could not be kept ({loss.reason})"

    def _of(self, run: str, job: str, attempt: int, error: OSError) -> _Loss:
        loss = self._known.setdefault((run, job, attempt), _Loss())
        loss.reason = f"the master's disk: {os.strerror(error.errno) if error.errno else error}"
        while len(self._known) > MOST:
            del self._known[next(iter(self._known))]
        return loss
