"""Waiting for a condition with a deadline: `until` blocks the thread, `until_async` lets the event
loop run."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

DEADLINE_S = 20.0
POLL_S = 0.01
ASYNC_POLL_S = 0.001
_pause = threading.Event()


def until(condition: Callable[[], T], what: str, deadline_s: float = DEADLINE_S) -> T:
    """Return the condition's value once it is true. Raises AssertionError after the deadline."""
    give_up = time.monotonic() + deadline_s
    while not (value := condition()):
        if time.monotonic() >= give_up:
            raise AssertionError(f"not within {deadline_s:g} s: {what}")
        _pause.wait(POLL_S)
    return value


async def until_async(
    condition: Callable[[], T], what: str, deadline_s: float = DEADLINE_S, *, context: Callable[[], object] | None = None
) -> T:
    """Like `until`, in an event loop. `context` gives what the failure message shows besides, up to
    500 characters."""
    give_up = time.monotonic() + deadline_s
    while not (value := condition()):
        if time.monotonic() >= give_up:
            shown = f"; {str(context())[:500]}" if context is not None else ""
            raise AssertionError(f"not within {deadline_s:g} s: {what}{shown}")
        await asyncio.sleep(ASYNC_POLL_S)
    return value
