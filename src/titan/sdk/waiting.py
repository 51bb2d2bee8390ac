"""Waiting in a thread for an event loop in another thread: the basis of `Client`."""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any, TypeVar, cast

from titan.errors import ConnectionLost
from titan.sdk.loop_thread import run_in_loop
from titan.sdk.unacknowledged import at_end

T = TypeVar("T")
CLOSED = "the client is closed: make another with `Client()`"


class Waiting:
    """Client with an event loop in a thread. `_loop` is None while the client is not open.

    The first request opens the client. A closed client stays closed. A fork of the process does not
    have the thread, so the client starts anew there.
    """

    _loop: asyncio.AbstractEventLoop | None = None
    _thread: threading.Thread | None = None
    _closed = False

    def __init__(self) -> None:
        self._opening = threading.Lock()
        _clients.add(self)

    def _connect(self) -> None:
        """Start the loop and connect. Raises the errors of the connection."""
        raise NotImplementedError

    def _start_anew(self) -> None:
        """Forget the loop and all that belongs to it, without ending it."""
        self._loop = self._thread = None

    def _opened(self) -> asyncio.AbstractEventLoop:
        """Return the loop of the open client, which the first request opens.

        Raises ConnectionLost if the client is closed, and the errors of the connection.
        """
        loop = self._loop
        if loop is not None:
            return loop
        with self._opening:
            if self._closed:
                raise ConnectionLost(CLOSED)
            if self._loop is None:
                self._connect()
            return cast("asyncio.AbstractEventLoop", self._loop)

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
        try:
            loop = self._opened()
        except BaseException:
            work.close()
            raise
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


_clients: weakref.WeakSet[Waiting] = weakref.WeakSet()
_of_parent: list[object] = []
"""Loops and threads of the process that this one was forked from: they are never used or freed."""


def _after_fork() -> None:
    for client in list(_clients):
        _of_parent.append((client._loop, client._thread))
        client._opening = threading.Lock()  # a thread may have held it at the fork
        client._start_anew()


os.register_at_fork(after_in_child=_after_fork)


async def _shut(leave: Coroutine[Any, Any, None]) -> None:
    """Run `leave`, then cancel all other tasks of the loop."""
    await leave
    tasks = [t for t in asyncio.all_tasks() if t is not asyncio.current_task()]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await asyncio.get_running_loop().shutdown_asyncgens()
