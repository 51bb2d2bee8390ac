"""Open requests of the worker on its connection to the current master, each with a queue of
answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from titan.content.nearby import Nearby
from titan.content.transfer import Answer, Line
from titan.errors import ConnectionLost, from_code
from titan.net.peer import Peer
from titan.protocol import messages as msg
from titan.protocol.codec import Blob


class WorkerLines:
    """Open requests of a worker. `peer()` returns the registered connection, None if there is
    none."""

    def __init__(self, peer: Callable[[], Peer | None], next_request: Callable[[], int]) -> None:
        self._peer = peer
        self._next_request = next_request
        self._queues: dict[int, asyncio.Queue[Answer]] = {}
        self._ready = asyncio.Event()
        self.nearby: Nearby | None = None
        """Access to the content folder of the last master, None if that master is on another
        machine. A different master refuses the proof, and content then goes over the connection."""

    async def open(self) -> Line:
        """Open a request. Wait without a time limit until there is a connection."""
        while (peer := self._peer()) is None:
            self._ready.clear()
            await self._ready.wait()
        request = self._next_request()
        queue = self._queues[request] = asyncio.Queue()
        return Line(request, queue, peer, self.nearby)

    def close(self, line: Line) -> None:
        self._queues.pop(line.request, None)

    def registered(self) -> None:
        self._ready.set()

    def disconnected(self) -> None:
        for queue in self._queues.values():
            queue.put_nowait(ConnectionLost("the connection to the master broke"))
        self._queues.clear()

    def take_answer(self, message: msg.Message, blob: Blob) -> bool:
        """Put a message into the queue of its request. Return False if the message answers none of
        these requests."""
        queue = self._queues.get(message.request)
        if queue is None:
            return False
        queue.put_nowait(from_code(message.code, message.message) if isinstance(message, msg.Error) else (message, blob))
        return True
