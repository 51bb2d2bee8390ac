"""A call that waits for other calls releases its slot, and the calls that it makes get priority.

Only a call in a function runner of a worker has a slot to release. Elsewhere these functions do
nothing.
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
    """Return the runner that executes this call.

    None outside of calls, and in threads that a call has started.
    """
    module = sys.modules.get("_titan_runner")
    if module is None or threading.current_thread() is not threading.main_thread():
        return None
    return module.current


@contextlib.contextmanager
def slot_released() -> Iterator[None]:
    """Release the slot of this call for the duration of the block, in which it only waits."""
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
    """Return the session of this program's calls.

    Inside a call, it is the session of its caller.
    """
    module = sys.modules.get("_titan_runner")
    return str(module.current.session) if module is not None and module.current is not None else _program


def nested_priority(priority: int) -> int:
    """Return the priority for a call made here: at least one more than that of its caller.

    Nested calls thus run before calls that merely arrived earlier.
    """
    runner = runner_of_call()
    return priority if runner is None else min(MAX_PRIORITY, max(priority, runner.priority + 1))
