"""Code without an event loop waits for code in one. Ctrl-C ends the wait, wherever the interrupt
arrives."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from titan import Client
from titan.errors import ConnectionLost, MasterUnreachable
from titan.sdk.waiting import Waiting

DEADLINE_S = 20.0


class Interrupting:
    """Event loop whose `call_soon_threadsafe` is interrupted once, before or after it has handed
    the callback over."""

    def __init__(self, loop: asyncio.AbstractEventLoop, began: threading.Event, *, handed_over: bool) -> None:
        self._loop, self._began, self._handed_over, self._done = loop, began, handed_over, False

    def call_soon_threadsafe(self, callback: Callable[..., object], *args: Any) -> object:
        if self._done:
            return self._loop.call_soon_threadsafe(callback, *args)
        self._done = True
        if self._handed_over:
            self._loop.call_soon_threadsafe(callback, *args)
            assert self._began.wait(DEADLINE_S)
        raise KeyboardInterrupt


class Log:
    """Stream that never yields. It records that it began and that it was closed."""

    def __init__(self) -> None:
        self.began, self.closed = threading.Event(), threading.Event()

    async def lines(self) -> AsyncIterator[str]:
        self.began.set()
        try:
            await asyncio.Event().wait()
            yield "never"
        finally:
            self.closed.set()


@pytest.fixture
def waiting() -> Iterator[Waiting]:
    client = Waiting()
    client._start_loop(lambda: None)
    loop = client._loop
    assert loop is not None
    yield client
    client._stop_loop(loop, asyncio.sleep(0), DEADLINE_S)


@pytest.mark.parametrize("handed_over", [True, False])
def test_an_interrupt_while_a_step_is_handed_over_ends_the_stream(waiting: Waiting, handed_over: bool) -> None:
    log, ended = Log(), []
    waiting._loop = Interrupting(waiting._loop, log.began, handed_over=handed_over)  # type: ignore[arg-type,assignment]

    def follow() -> None:
        try:
            next(waiting._iterate(log.lines()))
        except BaseException as e:
            ended.append(type(e))

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    thread.join(DEADLINE_S)
    assert ended == [KeyboardInterrupt]
    assert log.closed.is_set() == handed_over  # a stream that never began need not be closed


def test_results_and_errors_come_back(waiting: Waiting) -> None:
    async def fail() -> None:
        raise ConnectionLost("gone")

    assert waiting._wait(asyncio.sleep(0, 7)) == 7
    with pytest.raises(ConnectionLost, match="gone"):
        waiting._wait(fail())


def test_a_closed_client_says_that_it_is_closed() -> None:
    client = Client("127.0.0.1:1")
    client.close()
    client.close()
    for use in (client.workers, client.open, lambda: client.call(pow, 2, 3)):
        with pytest.raises(ConnectionLost, match="is closed: make another"):
            use()


def test_a_client_without_a_master_raises_at_each_use() -> None:
    client = Client("127.0.0.1:1")
    for use in (client.workers, client.open, lambda: client.call(pow, 2, 3), lambda: client.map(abs, [1])):
        with pytest.raises(MasterUnreachable, match=r"no master answers at 127\.0\.0\.1:1"):
            use()
    assert not [thread for thread in threading.enumerate() if thread.name == "titan-client"]
    client.close()
