"""Waiting in a thread for an event loop in another thread: the basis of `Client`."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any, TypeVar

from titan.errors import ConnectionLost
from titan.sdk.loop_thread import run_in_loop
from titan.sdk.unacknowledged import at_end

T = TypeVar("T")


class Waiting:
    """Client with an event loop in a thread. `_loop` is None while the client is not open."""

    _loop: asyncio.AbstractEventLoop | None = None
    _thread: threading.Thread | None = None

    def _start_loop(self, at_program_end: Callable[[], None]) -> None:
        import uvloop

        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="titan-client", daemon=True)
        self._thread.start()
        at_end[id(self)] = at_program_end

    def _stop_loop(self, loop: asyncio.AbstractEventLoop, leave: Coroutine[Any, Any, None], timeout_s: float | None) -> None:
        assert self._thread is not None
        at_end.pop(id(self), None)
        try:
            asyncio.run_coroutine_threadsafe(_shut(leave), loop).result(timeout_s)
        finally:
            loop.call_soon_threadsafe(loop.stop)
            self._thread.join(timeout_s)
            if not self._thread.is_alive():
                loop.close()

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        """Run `work` in the loop and return its result.

        An exception here, such as Ctrl-C, cancels `work`, even while `work` is handed over to the
        loop.
        """
        loop = self._loop
        if loop is None:
            work.close()
            raise ConnectionLost("the client is not open: use it as `with Client() as client:`")
        return run_in_loop(loop, work)

    def _iterate(self, source: AsyncIterator[T]) -> Iterator[T]:
        async def step() -> T:
            return await anext(source)

        async def end() -> None:
            while source.ag_running:  # type: ignore[attr-defined]
                await asyncio.sleep(0)  # waits for the end of a cancelled step
            await source.aclose()  # type: ignore[attr-defined]

        try:
            while True:
                try:
                    yield self._wait(step())
                except StopAsyncIteration:
                    return
        finally:
            if self._loop is not None:
                self._wait(end())


async def _shut(leave: Coroutine[Any, Any, None]) -> None:
    """Run `leave`, then cancel all other tasks of the loop."""
    await leave
    tasks = [t for t in asyncio.all_tasks() if t is not asyncio.current_task()]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await asyncio.get_running_loop().shutdown_asyncgens()
