"""Waiting in a thread for what the event loop of another thread does: the half of a client that code without a loop sees."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterator
from typing import Any, TypeVar

from titan.errors import ConnectionLost

T = TypeVar("T")


class Waiting:
    """`_loop` is None while the client is not open."""

    _loop: asyncio.AbstractEventLoop | None = None

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        if self._loop is None:
            work.close()
            raise ConnectionLost("the client is not open: use it as `with Client() as client:`")
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def _iterate(self, source: AsyncIterator[T]) -> Iterator[T]:
        async def step() -> T:
            return await anext(source)

        async def end() -> None:
            while source.ag_running:  # type: ignore[attr-defined]
                await asyncio.sleep(0)  # a step that was interrupted is about to end
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


async def shut(leave: Coroutine[Any, Any, None]) -> None:
    """Runs `leave`, and ends all else that the loop does."""
    await leave
    tasks = [t for t in asyncio.all_tasks() if t is not asyncio.current_task()]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await asyncio.get_running_loop().shutdown_asyncgens()
