"""What is asked of a warden: a program, and the options of the process that runs it. Values only;
must not know what for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec


class Command(NamedTuple):
    """A command line, which is executed."""

    argv: Sequence[str]


class Script(NamedTuple):
    """A Python script, which a fork of a warm interpreter runs."""

    path: str
    """May be relative to the working directory."""
    args: Sequence[str]
    content_hash: str = ""
    """Scripts with one hash hold the same text: it is read and compiled once. "": each time."""


Program = Command | Script


class ProcessOptions(msgspec.Struct, frozen=True, gc=False):
    """How a program runs. Paths are absolute."""

    cwd: str
    env: Mapping[str, str]
    """On top of what every job of the worker has. TITAN_LEASE is the key: by it a warden knows
    processes that left the session."""
    stdout_path: str
    stderr_path: str
    log_limit: int
    """Bytes, for each of the two logs."""
    grace_s: float
    """From SIGTERM to SIGKILL, where an order to stop names no other."""
    rlimits: Mapping[str, Any] | None = None
    """See `titan.worker.isolated.limits`."""
    masks: Sequence[bytes] = ()
    """Bytes that the output must not contain."""
