"""The changes of a watch that a client keeps until they are read."""

from __future__ import annotations

import asyncio

from titan.protocol import messages as msg
from titan.sdk.watching import NewsQueue

RUN = msg.RunRow("r", "d", "", 0, 2, [], 0.0, 0.0)


def moved(**told: float) -> tuple[msg.Changes, bytes]:
    names = list(told)
    return msg.Changes(1, RUN, [], False, False, names, list(told.values()), [f"{name} says so" for name in names]), b""


def test_unread_progress_is_replaced_by_newer_progress() -> None:
    async def live() -> None:
        queue = NewsQueue()
        picture = (msg.Changes(1, RUN, [], True, False), b"")
        end = (msg.Changes(1, RUN, [], False, True), b"")
        for item in (picture, moved(a=0.1, b=0.1), moved(a=0.2), moved(b=0.3), end):
            queue.put_nowait(item)
        assert [queue.get_nowait() for _ in range(queue.qsize())] == [picture, moved(a=0.2, b=0.3), end]
        queue.put_nowait(moved(a=0.4))
        broken = ConnectionError("gone")
        queue.put_nowait(broken)
        queue.put_nowait(moved(a=0.5))
        assert [await queue.get() for _ in range(3)] == [moved(a=0.4), broken, moved(a=0.5)]

    asyncio.run(live())
