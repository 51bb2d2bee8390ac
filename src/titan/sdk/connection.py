"""Connection of a client to the master: requests with their answers, and streams.

It reconnects when the master was away. Every request of the SDK can be repeated safely, because a
submission carries an idempotency key. So a restart of the master costs its clients only a pause.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

from titan._version import __version__
from titan.content.nearby import Nearby, prove
from titan.errors import ConnectionLost, MasterUnreachable, NotFound, ProtocolError, TitanError, from_code
from titan.net.backoff import Backoff
from titan.net.peer import Peer
from titan.protocol import messages as msg
from titan.protocol.codec import Blob
from titan.protocol.handshake import hello
from titan.sdk.identity import actor

SOFTWARE = f"titan {__version__}"
CONNECT_S = 5.0
RETRY_MIN_S, RETRY_MAX_S = 0.05, 2.0

_Answer = tuple[msg.Message, Blob] | TitanError


class Connection:
    """Connection to one address.

    `patience_s`: seconds to wait for a master that answered before. Then MasterUnreachable is
    raised. `actor`: name under which the master records changes, by default `identity.actor()`.
    """

    def __init__(self, host: str, port: int, *, patience_s: float = 60.0, actor: str | None = None) -> None:
        self.host = host
        self.port = port
        self.patience_s = patience_s
        self.actor = actor
        self.welcome: msg.Welcome | None = None
        self.nearby: Nearby | None = None
        """Set if this process can read the master's content as files."""
        self.on_away: Callable[[bool], None] | None = None
        """Called with True when a master that answered before does not answer, and with False when
        one answers again."""
        self._of_parent: list[object] = []
        self._peer: Peer | None = None
        self.start_anew()

    def start_anew(self) -> None:
        """Forget the connection without a word to the master, for a fork of the process.

        The socket belongs to the parent, so it stays open.
        """
        self._of_parent.append(self._peer)
        self._peer = None
        self._requests = 0
        self._waiting: dict[int, asyncio.Queue[_Answer]] = {}
        self._connecting: asyncio.Lock = asyncio.Lock()
        self._closed = False
        self._away = False

    async def open(self) -> None:
        """Connect. Raises MasterUnreachable, VersionMismatch or ProtocolError at once."""
        async with self._connecting:
            if self._peer is not None and not self._peer.closed:
                return
            loop = asyncio.get_running_loop()
            try:
                async with asyncio.timeout(CONNECT_S):
                    _, peer = await loop.create_connection(lambda: Peer(self._on_message, self._on_closed), self.host, self.port)
            except (OSError, TimeoutError) as e:
                raise MasterUnreachable(
                    f"no master answers at {self.host}:{self.port}: start one with `titan up`, "
                    "or give its address with --master or TITAN_MASTER"
                ) from e
            self._peer = peer
            queue = self._expect(0)
            queue1 = self._expect(1)
            peer.send(hello("client", SOFTWARE, actor() if self.actor is None else self.actor))
            try:
                first = await asyncio.wait_for(_first(queue, queue1), CONNECT_S)
            except TimeoutError:
                peer.abort()
                raise MasterUnreachable(
                    f"the program at {self.host}:{self.port} does not answer like a master: check the address"
                ) from None
            finally:
                self._waiting.pop(0, None)
                self._waiting.pop(1, None)
            if isinstance(first, ConnectionLost):
                raise MasterUnreachable(f"the program at {self.host}:{self.port} is not a master, or is shutting down")
            if isinstance(first, TitanError):
                peer.close()
                raise first
            if not isinstance(first[0], msg.Welcome):
                peer.abort()
                raise ProtocolError(f"{self.host}:{self.port} answered a Hello with a {type(first[0]).__name__}: check the address")
            self.welcome = first[0]
            self.nearby = prove(self.welcome.content)
            self._requests = max(self._requests, 1)

    async def close(self) -> None:
        self._closed = True
        if self._peer is not None:
            self._peer.close()
            self._peer = None

    def tell(self, message: msg.Message) -> None:
        """Send a message that has no answer, if the connection is open."""
        if self._peer is not None and not self._peer.closed:
            self._peer.send(message)

    async def call(self, make: Callable[[int], msg.Message]) -> msg.Message:
        """Send `make(request id)` and return the answer.

        Repeat it if the connection breaks first.
        """
        while True:
            try:
                return await self._call_once(make)
            except ConnectionLost:
                await self.reopen()

    async def remove(self, make: Callable[[int], msg.Message]) -> None:
        """Send a request like `call`, to remove an object that cannot reappear.

        NotFound for a repeated request means that an earlier one succeeded.
        """
        repeated = False
        while True:
            try:
                await self._call_once(make)
                return
            except ConnectionLost:
                repeated = True
                await self.reopen()
            except NotFound:
                if repeated:
                    return
                raise

    async def stream(
        self, make: Callable[[int], msg.Message], queue_type: type[asyncio.Queue[_Answer]] = asyncio.Queue
    ) -> AsyncIterator[tuple[msg.Message, Blob]]:
        """Yield every answer to one request.

        `queue_type` is the class of the queue for pending answers.

        The queue is unbounded, so that a slow reader of one stream does not delay other answers.
        The master bounds what it sends: logs have limits, changes are merged. Raises ConnectionLost
        when the connection breaks, because only the caller knows what to repeat.
        """
        request, queue, peer = await self._begin(queue_type)
        peer.send(make(request))
        peer.flush()
        open_ = True
        try:
            while True:
                item = await queue.get()
                if isinstance(item, TitanError):
                    raise item
                open_ = not getattr(item[0], "last", False)
                yield item
        finally:
            self._waiting.pop(request, None)
            if open_ and not peer.closed:
                peer.send(msg.Unwatch(0, request))

    async def send_all(self, make: Callable[[int], Iterable[msg.Message]]) -> msg.Message:
        """Send messages under one request id, at the pace at which the master reads.

        Return the answer.

        Stops when the answer arrives early. Raises ConnectionLost when the connection breaks,
        because only the caller knows what to repeat.
        """
        request, queue, peer = await self._begin()
        try:
            for message in make(request):
                peer.send(message)
                await self._pace(peer)
                if not queue.empty():
                    break
            return _message(await queue.get())
        finally:
            self._waiting.pop(request, None)

    async def _pace(self, peer: Peer) -> None:
        """Wait while the master is congested, and let other tasks run."""
        if not peer.congested:
            await asyncio.sleep(0)
            return
        try:
            await peer.drain()
        except ConnectionError as e:
            raise ConnectionLost(f"the connection to {self.host}:{self.port} broke") from e

    async def exchange(self, make: Callable[[int], msg.Message]) -> tuple[msg.Message, Blob]:
        """Send `make(request id)` once. Return the answer with its blob.

        Raises ConnectionLost if the connection breaks first. The request may or may not have been
        executed.
        """
        request, queue, peer = await self._begin()
        try:
            peer.send(make(request))
            item = await queue.get()
            if isinstance(item, TitanError):
                raise item
            return item
        finally:
            self._waiting.pop(request, None)

    async def begin(self) -> tuple[int, asyncio.Queue[_Answer], Peer]:
        """Return a new request id, the queue of its answers until `end`, and the connection."""
        return await self._begin()

    def end(self, request: int) -> None:
        self._waiting.pop(request, None)

    async def reopen(self) -> None:
        """Reconnect until the master is back.

        Raises MasterUnreachable after `patience_s` seconds.
        """
        loop = asyncio.get_running_loop()
        deadline, backoff = loop.time() + self.patience_s, Backoff(RETRY_MIN_S, RETRY_MAX_S)
        while True:
            if self._closed:
                raise ConnectionLost("the client is closed")
            try:
                await self.open()
                self._note_away(False)
                return
            except MasterUnreachable:
                self._note_away(True)
                if loop.time() >= deadline:
                    raise
                await asyncio.sleep(backoff.next_s())

    def _note_away(self, away: bool) -> None:
        if self._away is not away:
            self._away = away
            if self.on_away is not None:
                self.on_away(away)

    async def _call_once(self, make: Callable[[int], msg.Message]) -> msg.Message:
        request, queue, peer = await self._begin()
        try:
            peer.send(make(request))
            return _message(await queue.get())
        finally:
            self._waiting.pop(request, None)

    async def _begin(self, queue_type: type[asyncio.Queue[_Answer]] = asyncio.Queue) -> tuple[int, asyncio.Queue[_Answer], Peer]:
        if self._closed:
            raise ConnectionLost("the client is closed")
        if self._peer is None or self._peer.closed:
            if self.welcome is None:
                await self.open()
            else:
                await self.reopen()
        peer = self._peer
        if peer is None:
            raise ConnectionLost(f"the connection to {self.host}:{self.port} broke")
        self._requests += 1
        return self._requests, self._expect(self._requests, queue_type), peer

    def _expect(self, request: int, queue_type: type[asyncio.Queue[_Answer]] = asyncio.Queue) -> asyncio.Queue[_Answer]:
        queue = queue_type()
        self._waiting[request] = queue
        return queue

    def _on_message(self, peer: Peer, message: msg.Message, blob: Blob) -> None:
        queue = self._waiting.get(message.request)
        if queue is None:
            return
        if isinstance(message, msg.Error):
            queue.put_nowait(_error(message))
        else:
            queue.put_nowait((message, blob))

    def _on_closed(self, peer: Peer, error: Exception | None) -> None:
        if peer is self._peer:
            self._peer = None
        problem = error if isinstance(error, TitanError) else ConnectionLost(f"the connection to {self.host}:{self.port} broke")
        for queue in list(self._waiting.values()):
            queue.put_nowait(problem)


async def _first(*queues: asyncio.Queue[_Answer]) -> _Answer:
    """Return the first item of any of the queues."""
    tasks: list[asyncio.Task[Any]] = [asyncio.ensure_future(q.get()) for q in queues]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        answer: _Answer = next(iter(done)).result()
        return answer
    finally:
        for task in tasks:
            task.cancel()


def _message(item: _Answer) -> msg.Message:
    if isinstance(item, TitanError):
        raise item
    return item[0]


def _error(message: msg.Error) -> TitanError:
    error = from_code(message.code, message.message)
    if message.job and hasattr(error, "job"):
        error.job = message.job
    return error
