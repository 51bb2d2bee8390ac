"""Port of TitanStore for Redis clients: connections, parsing of requests, and limits.

Limits bound the memory that a client costs if it sends an endless request or does not read its
replies. Such a client does not delay other clients.
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
"""Descriptors reserved for other uses.

`maxclients` and the remaining descriptors limit the number of clients.
"""
UNFINISHED_BYTES = 1 << 30
"""Maximum bytes of incomplete and waiting requests over all connections.

The connection that exceeds the maximum is aborted.
"""
UNAUTHENTICATED_BYTES = 32 << 20
"""Maximum bytes of such requests over all connections that are not authenticated yet."""
UNREAD_BYTES = 256 << 20
UNREAD_PUSHES_BYTES = 32 << 20
"""Maximum unread bytes of a client; the lower limit is for clients that listen to channels."""
UNREAD_TOTAL_BYTES = 1 << 30
"""Maximum unread bytes over all clients that have more than UNREAD_LITTLE.

The connection that exceeds the maximum is aborted.
"""
UNREAD_LITTLE = 1 << 20
WAITING = 1024
WAITING_BYTES = 4 << 20
"""Maximum waiting requests of a connection, in number and bytes.

Above a maximum the store stops reading from the connection.
"""
IDLE_CHECK_S = 1.0


class StorePort:
    """Listening port, from `open` to `close`."""

    def __init__(self, sessions: StoreSessions, host: str, port: int, *, has_room: Callable[[], bool] = lambda: True) -> None:
        """`has_room()` returns whether the process has a descriptor for another connection."""
        self.has_room = has_room
        self._sessions = sessions
        self.host = host
        self.port = port
        self._server: asyncio.Server | None = None
        self.connections: dict[StoreConnection, None] = {}
        self.unfinished = 0
        self.unauthenticated = 0
        self.unread = 0
        self._idle_timer: asyncio.TimerHandle | None = None

    @property
    def most_clients(self) -> int:
        """Maximum number of clients: `maxclients`, or less if the process has fewer descriptors."""
        return max(1, min(self._sessions.store.settings.max_clients, getrlimit(RLIMIT_NOFILE)[0] - RESERVED_FILES))

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"

    async def open(self) -> None:
        """Bind the port. Raises PortInUse, EnvironmentFault."""
        loop = asyncio.get_running_loop()
        try:
            self._server = await loop.create_server(
                lambda: StoreConnection(self, self._sessions), self.host, self.port, start_serving=False, backlog=4096
            )
        except OSError as e:
            if e.errno == errno.EADDRINUSE:
                raise PortInUse(f"port {self.port} on {self.host} is in use by another program: give the store another port") from e
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
        """Pause reading from all connections while the journal cannot keep up, or resume it."""
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
        self._unauthenticated = False
        """True until the client has authenticated, if a password is needed."""
        self._client: _PortClient | None = None
        """Client of the connection; None if the connection was rejected."""
        self._pauses: dict[str, None] = {}
        self._transport: asyncio.Transport | None = None

    # -- asyncio.Protocol --------------------------------------------------------------------------
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport = self._transport = cast(asyncio.Transport, transport)
        transport.set_write_buffer_limits(high=1 << 20)
        if len(self._port.connections) >= self._port.most_clients or not self._port.has_room():
            transport.write(b"-ERR max number of clients reached\r\n")
            transport.close()
            return
        peer, here = transport.get_extra_info("peername"), transport.get_extra_info("sockname")
        self._client = _PortClient(self, self._sessions, address=_text(peer), local_address=_text(here))
        self._unauthenticated = self._requests.unauthenticated = not self._client.session.authenticated
        self._port.connections[self] = None

    def data_received(self, data: bytes) -> None:
        client = self._client
        if client is None or client.session.closed or client.ended:
            return
        try:
            requests = self._requests.feed(data if not self._unauthenticated else self._authenticate(client, data))
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

    def _authenticate(self, client: _PortClient, data: bytes) -> bytes:
        """Execute requests one by one until the client is authenticated. Return the remaining data.

        Raises BadRequest.
        """
        at = 0
        while at < len(data):
            requests, at = self._requests.feed_one(data, at)
            client.take(requests)
            if client.session.authenticated:
                self._count(0)
                self._unauthenticated = self._requests.unauthenticated = False
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
        """Return whether the client's last command came before `at_ms`.

        A client that listens to channels or waits for a key is never idle.
        """
        session = self._client.session if self._client is not None else None
        if session is None or session.channels or session.patterns or session.blocked is not None:
            return False
        return session.last_ms < at_ms and session.created_ms < at_ms

    # -- limits ------------------------------------------------------------------------------------
    def _count(self, unfinished: int) -> None:
        port, more = self._port, unfinished - self._unfinished
        self._unfinished = unfinished
        port.unfinished += more
        if self._unauthenticated:
            port.unauthenticated += more
        exceeds = port.unfinished > UNFINISHED_BYTES or (self._unauthenticated and port.unauthenticated > UNAUTHENTICATED_BYTES)
        if more > 0 and exceeds:
            self.abort()

    def _count_unread(self, unread: int) -> None:
        self._port.unread += unread - self._unread
        self._unread = unread

    def pause(self, reason: str, *, on: bool) -> None:
        """Add a reason to pause reading, or remove it if `on` is false.

        Reading continues when no reason is left.
        """
        if self._transport is None or self._transport.is_closing() or on == (reason in self._pauses):
            return
        if on:
            self._pauses[reason] = None
            if len(self._pauses) == 1:
                self._transport.pause_reading()
        else:
            del self._pauses[reason]
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
