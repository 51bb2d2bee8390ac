"""Messages between a job and its worker, on the worker's local socket after the line `TITAN LEASE job`."""

from __future__ import annotations

from titan.protocol.base import Message


class WhoAmI(Message, frozen=True):
    """Which job is this? Answered by Identity."""


class Identity(Message, frozen=True):
    """`archive`: of a job of a project, the SHA-256 of that."""

    run: str
    job: str
    attempt: int
    lease: int
    archive: str = ""
