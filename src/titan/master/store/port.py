"""The port at which any Redis client finds TitanStore: connections, bytes to requests and back, and
limits on both.

Who sends a request that never ends, or does not read, costs a bounded amount of memory and nobody
else's time.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable
from resource import RLIMIT_NOFILE, getrlimit
from typing import cast

from titan.errors import EnvironmentFault, PortInUse
from titan.master.store.sessions import StoreClient, StoreSessions
from titan.store.replies import Error
from titan.store.requests import BadRequest, Requests

RESERVED_FILES = 128
"""Descriptors that are not for connections: a limit of the process that is lower than `maxclients`
counts instead of that."""
UNFINISHED_BYTES = 1 << 30
"""Of requests that are not whole yet, or wait for their turn, over all connections. Then the one
that adds to it is cut off."""
STRANGERS_BYTES = 32 << 20
"""The same of all that have not said the password yet."""
UNREAD_BYTES = 256 << 20
UNREAD_PUSHES_BYTES = 32 << 20
"""What a client may leave unread; less if what it leaves unread are messages of channels."""
UNREAD_TOTAL_BYTES = 1 << 30
"""Over all clients, of those that leave more than UNREAD_LITTLE unread. Then the one that adds to
it is cut off."""
UNREAD_LITTLE = 1 << 20
WAITING = 1024
WAITING_BYTES = 4 << 20
"""Requests of one connection that wait for their turn; then no more is read from it."""
IDLE_CHECK_S = 1.0


class StorePort:
    """Listens from `open` to `close`."""

    def __init__(self, sessions: StoreSessions, host: str, port: int, *, has_room: Callable[[], bool] = lambda: True) -> None:
        """`has_room()`: whether the process has descriptors for one more connection."""
        self.has_room = has_room
        self._sessions = sessions
        self.host = host
        self.port = port
        self._server: asyncio.Server | None = None
        self.connections: dict[StoreConnection, None] = {}
        self.unfinished = 0
        self.of_strangers = 0
        self.unread = 0
        self._idle_timer: asyncio.TimerHandle | None = None

    @property
    def most_clients(self) -> int:
        """`maxclients`, or what the limit on open files leaves."""
        return max(1, min(self._sessions.store.settings.max_clients, getrlimit(RLIMIT_NOFILE)[0] - RESERVED_FILES))

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"

    async def open(self) -> None:
        """Takes the port. Raises PortInUse, EnvironmentFault."""
        loop = asyncio.get_running_loop()
        try:
            self._server = await loop.create_server(
                lambda: StoreConnection(self, self._sessions), self.host, self.port, start_serving=False, backlog=4096
            )
        except OSError as e:
            if e.errno == errno.EADDRINUSE:
                raise PortInUse(f"port {self.port} on {self.host} is in use by another program: give the store another") from e
            raise EnvironmentFault(f"the store cannot listen on {self.host}:{self.port}: {e.strerror or e}") from e
        self.port = self._server.sockets[0].getsockname()[1]

    async def serve(self) -> None:
        if self._server is not None:
            await self._server.start_serving()
            self._check_idle()

    def close(self) -> None:
        if self._idle_timer is not None:
            self._idle_timer.cancel()
        if self._server is not None:
            self._server.close()
        for connection in list(self.connections):
            connection.abort()

    def press(self, *, pressed: bool) -> None:
        """While the journal cannot keep up nobody is read from."""
        for connection in self.connections:
            connection.pause("journal", on=pressed)

    def _check_idle(self) -> None:
        self._idle_timer = asyncio.get_running_loop().call_later(IDLE_CHECK_S, self._check_idle)
        idle_s = self._sessions.store.settings.idle_s
        if idle_s:
            before = self._sessions.now_ms() - 1000 * idle_s
            for connection in list(self.connections):
                if connection.is_idle_since(before):
                    connection.close()


class StoreConnection(asyncio.Protocol):
    def __init__(self, port: StorePort, sessions: StoreSessions) -> None:
        self._port = port
        self._sessions = sessions
        self._requests = Requests(max_bulk_bytes=sessions.max_bulk_bytes)
        self._unfinished = 0
        self._unread = 0
        self._stranger = False
        """It has not said the password yet."""
        self._client: _PortClient | None = None
        """None: it was turned away."""
        self._pauses: dict[str, None] = {}
        self._transport: asyncio.Transport | None = None

    # -- asyncio.Protocol --------------------------------------------------------------------------
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        it = self._transport = cast(asyncio.Transport, transport)
        it.set_write_buffer_limits(high=1 << 20)
        if len(self._port.connections) >= self._port.most_clients or not self._port.has_room():
            it.write(b"-ERR max number of clients reached\r\n")
            it.close()
            return
        peer, here = it.get_extra_info("peername"), it.get_extra_info("sockname")
        self._client = _PortClient(self, self._sessions, address=_text(peer), local_address=_text(here))
        self._stranger = self._requests.unauthenticated = not self._client.session.authenticated
        self._port.connections[self] = None

    def data_received(self, data: bytes) -> None:
        client = self._client
        if client is None or client.session.closed or client.ended:
            return
        try:
            requests = self._requests.feed(data if not self._stranger else self._meet(client, data))
        except BadRequest as error:
            self.pause("bad", on=True)
            client.take([*error.before])
            client.end(Error(f"ERR Protocol error: {error}".encode("latin-1", "replace")))
            return
        if requests:
            client.take(requests)
            if client.waiting_bytes and (client.waiting > WAITING or client.waiting_bytes > WAITING_BYTES):
                self.pause("waiting", on=True)
        unfinished = self._requests.pending + client.waiting_bytes
        if unfinished != self._unfinished:
            self._count(unfinished)

    def _meet(self, client: _PortClient, data: bytes) -> bytes:
        """Request by request until the password was said; what came behind it. Raises BadRequest."""
        at = 0
        while at < len(data):
            requests, at = self._requests.feed_one(data, at)
            client.take(requests)
            if client.session.authenticated:
                self._count(0)
                self._stranger = self._requests.unauthenticated = False
                return data[at:]
            if client.session.closed:
                break
        return b""

    def pause_writing(self) -> None:
        if self._client is not None:
            self._client.ready = False
        self.pause("unread", on=True)

    def resume_writing(self) -> None:
        self.pause("unread", on=False)
        self._count_unread(0)
        if self._client is not None:
            self._client.ready = True
            self._client.go_on()

    def connection_lost(self, exc: Exception | None) -> None:
        self._count(0)
        self._count_unread(0)
        self._transport = None
        self._port.connections.pop(self, None)
        if self._client is not None:
            self._sessions.leave(self._client)

    def is_idle_since(self, at_ms: int) -> bool:
        """Whoever listens to channels or waits for a key is not."""
        session = self._client.session if self._client is not None else None
        if session is None or session.channels or session.patterns or session.blocked is not None:
            return False
        return session.last_ms < at_ms and session.created_ms < at_ms

    # -- limits ------------------------------------------------------------------------------------
    def _count(self, unfinished: int) -> None:
        port, more = self._port, unfinished - self._unfinished
        self._unfinished = unfinished
        port.unfinished += more
        if self._stranger:
            port.of_strangers += more
        if more > 0 and (port.unfinished > UNFINISHED_BYTES or (self._stranger and port.of_strangers > STRANGERS_BYTES)):
            self.abort()

    def _count_unread(self, unread: int) -> None:
        self._port.unread += unread - self._unread
        self._unread = unread

    def pause(self, why: str, *, on: bool) -> None:
        """Reading, until every reason is gone."""
        if self._transport is None or self._transport.is_closing() or on == (why in self._pauses):
            return
        if on:
            self._pauses[why] = None
            if len(self._pauses) == 1:
                self._transport.pause_reading()
        else:
            del self._pauses[why]
            if not self._pauses:
                self._transport.resume_reading()

    def write(self, data: bytes) -> None:
        if self._transport is None:
            return
        self._transport.write(data)
        client = self._client
        assert client is not None
        unread = self._transport.get_write_buffer_size()
        if unread > UNREAD_LITTLE:
            self._count_unread(unread)
            limit = UNREAD_PUSHES_BYTES if client.session.channels or client.session.patterns else UNREAD_BYTES
            if unread > limit or self._port.unread > UNREAD_TOTAL_BYTES:
                self.abort()

    def ease(self) -> None:
        client = self._client
        assert client is not None
        if client.waiting <= WAITING // 2 and client.waiting_bytes <= WAITING_BYTES // 2:
            self.pause("waiting", on=False)
        self._count(self._requests.pending + client.waiting_bytes)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()


class _PortClient(StoreClient):
    def __init__(self, connection: StoreConnection, sessions: StoreSessions, *, address: str, local_address: str) -> None:
        super().__init__(sessions, address=address, local_address=local_address)
        self.write = connection.write  # type: ignore[method-assign]
        self.close = connection.close  # type: ignore[method-assign]
        self.eased = connection.ease  # type: ignore[method-assign]


def _text(address: object) -> str:
    return f"{address[0]}:{address[1]}" if isinstance(address, tuple) else ""
