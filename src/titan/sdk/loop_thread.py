"""Work that one thread hands to the event loop of another thread, and waits for."""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import Coroutine
from typing import Any, Generic, TypeVar

T = TypeVar("T")


def run_in_loop(loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, T]) -> T:
    """Run `work` in the loop of another thread and return its result.

    An exception in this thread, such as KeyboardInterrupt, cancels `work`. It does so even if it
    arrives during the hand-over, where `asyncio.run_coroutine_threadsafe` would leave `work`
    running without a future to cancel.
    """
    handover = _Handover(work)
    try:
        loop.call_soon_threadsafe(handover.start)
        return handover.answer.result()
    except BaseException:
        try:
            loop.call_soon_threadsafe(handover.cancel)
        except RuntimeError:  # the loop is closed
            work.close()
        raise


class _Handover(Generic[T]):
    """Coroutine that a thread hands over to the loop, and the future of its result."""

    def __init__(self, work: Coroutine[Any, Any, T]) -> None:
        self._work = work
        self._task: asyncio.Task[T] | None = None
        self.answer: concurrent.futures.Future[T] = concurrent.futures.Future()

    def start(self) -> None:
        """Start the work. Runs in the loop."""
        self._task = asyncio.get_running_loop().create_task(self._work)
        self._task.add_done_callback(self._deliver)

    def cancel(self) -> None:
        """Cancel the work, started or not. Runs in the loop."""
        if self._task is None:
            self._work.close()
        else:
            self._task.cancel()

    def _deliver(self, task: asyncio.Task[T]) -> None:
        if task.cancelled():
            self.answer.cancel()
        elif error := task.exception():
            self.answer.set_exception(error)
        else:
            self.answer.set_result(task.result())
