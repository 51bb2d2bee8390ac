"""Calls that wait for other calls: the slot that a call gives up while it waits, and how its own
calls come before others.

Only what runs in a function runner of a worker has a slot to give up; elsewhere nothing here does
anything.
"""

from __future__ import annotations

import contextlib
import secrets
import sys
import threading
from collections.abc import Iterator
from typing import Any

from titan.model.dag import MAX_PRIORITY


def runner_of_call() -> Any:
    """The runner that executes this call; None outside of calls, and in threads that a call has
    started."""
    module = sys.modules.get("_titan_runner")
    if module is None or threading.current_thread() is not threading.main_thread():
        return None
    return module.current


@contextlib.contextmanager
def slot_lent() -> Iterator[None]:
    """Another call may have the slot of this one while it waits in there."""
    runner = runner_of_call()
    if runner is None:
        yield
        return
    runner.wait(begins=True)
    try:
        yield
    finally:
        runner.wait(begins=False)


_program = secrets.token_hex(8)


def session() -> str:
    """Whose calls these are: this program's, or in a call those of its caller's."""
    module = sys.modules.get("_titan_runner")
    return str(module.current.session) if module is not None and module.current is not None else _program


def nested(priority: int) -> int:
    """Of a call that is made here: one more than its caller's, so that what is waited for runs
    before what only came earlier."""
    runner = runner_of_call()
    return priority if runner is None else min(MAX_PRIORITY, max(priority, runner.priority + 1))
