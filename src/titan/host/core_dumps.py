"""Prevention of core dumps, because they would contain the secrets in a process's memory."""

from __future__ import annotations

import contextlib
import resource
from collections.abc import Iterator

NO_CORE = 1
"""Soft limit that forbids core dumps. Unlike 0, the limit 1 also works where the kernel pipes core
dumps to a program (core_pattern)."""
_before: list[int] = []
"""The previous soft limit; empty until core dumps are forbidden."""


def forbid_core_dumps() -> None:
    """Forbid core dumps of this process from now on. Child processes inherit the limit, unless they
    are started within `core_dumps_as_before`."""
    if not _before:
        soft, _ = resource.getrlimit(resource.RLIMIT_CORE)
        _before.append(soft)
        _set(NO_CORE)


@contextlib.contextmanager
def core_dumps_as_before() -> Iterator[None]:
    """Restore the previous limit while a child process is started."""
    if _before:
        _set(_before[0])
    try:
        yield
    finally:
        if _before:
            _set(NO_CORE)


def _set(soft: int) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (soft if hard < 0 else hard if soft < 0 else min(soft, hard), hard))
