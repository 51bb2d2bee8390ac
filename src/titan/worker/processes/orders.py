"""Types of orders to a warden: a program, and the options of the process that runs the program.
This module must not know the purpose of a process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec


class Command(NamedTuple):
    """A command line, which the warden executes."""

    argv: Sequence[str]


class Script(NamedTuple):
    """A Python script, which a fork of a warm interpreter runs."""

    path: str
    """Path, absolute or relative to the working directory."""
    args: Sequence[str]
    content_hash: str = ""
    """Hash of the script's text. Scripts with the same hash are read and compiled only once. With
    "" the script is read and compiled each time."""


Program = Command | Script


class ProcessOptions(msgspec.Struct, frozen=True, gc=False):
    """Options of the process that runs a program. Paths are absolute."""

    cwd: str
    env: Mapping[str, str]
    """Variables of this process, in addition to those that every job of the worker has. By the
    variable TITAN_LEASE a warden recognizes processes that left the session."""
    stdout_path: str
    stderr_path: str
    log_limit: int
    """Maximum size of each of the two logs in bytes."""
    grace_s: float
    """Seconds from SIGTERM to SIGKILL, unless the order to stop names another time."""
    rlimits: Mapping[str, Any] | None = None
    """See `titan.worker.isolated.limits`."""
    masks: Sequence[bytes] = ()
    """Byte strings that are masked in the output."""
