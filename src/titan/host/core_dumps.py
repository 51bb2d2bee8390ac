"""Keeps what a process has in its memory out of core dumps."""

from __future__ import annotations

import contextlib
import resource
from collections.abc import Iterator

NO_CORE = 1
"""A soft limit that forbids them. Unlike 0 it also holds where core dumps go to a program
(core_pattern)."""
_before: list[int] = []
"""The soft limit that there was, once dumps are forbidden."""


def forbid_core_dumps() -> None:
    """From now on, of this process; what it starts inherits that, unless `core_dumps_as_before`."""
    if not _before:
        soft, _ = resource.getrlimit(resource.RLIMIT_CORE)
        _before.append(soft)
        _set(NO_CORE)


@contextlib.contextmanager
def core_dumps_as_before() -> Iterator[None]:
    """For the start of a process that is to have the limit that this one had."""
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
