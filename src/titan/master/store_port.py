"""The port at which any Redis client finds TitanStore: connections, bytes to requests and back, and limits on both.

Who sends a request that never ends, or does not read, costs a bounded amount of memory and nobody else's time.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable
from typing import cast

from titan.errors import EnvironmentFault, PortInUse
from titan.master.store_desk import StoreClient, StoreDesk
from titan.store.replies import Error
from titan.store.requests import BadRequest, Requests

MAX_CLIENTS = 10_000
UNFINISHED_BYTES = 1 << 30
"""Of requests that are not whole yet, over all connections. Then the one that adds to it is cut off."""
UNREAD_BYTES = 256 << 20
UNREAD_PUSHES_BYTES = 32 << 20
"""What a client may leave unread; less if what it leaves unread are messages of channels."""
WAITING = 1024
"""Requests of one connection that wait for their turn; then no more is read from it."""


class StorePort:
    """Listens from `open` to `close`."""

    def __init__(self, desk: StoreDesk, host: str, port: int, *, has_room: Callable[[], bool] = lambda: True) -> None:
        """`has_room()`: whether the process has descriptors for one more connection."""
        self.has_room = has_room
        self._desk = desk
        self.host = host
        self.port = port
        self._server: asyncio.Server | None = None
        self.connections: dict[StoreConnection, None] = {}
        self.unfinished = 0

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"

    async def open(self) -> None:
        """Takes the port. Raises PortInUse, EnvironmentFault."""
        loop = asyncio.get_running_loop()
        try:
            self._server = await loop.create_server(
                lambda: StoreConnection(self, self._desk), self.host, self.port, start_serving=False, backlog=4096
            )
        except OSError as e:
            if e.errno == errno.EADDRINUSE:
                raise PortInUse(f"port {self.port} on {self.host} is in use by another program: give the store another") from e
            raise EnvironmentFault(f"the store cannot listen on {self.host}:{self.port}: {e.strerror or e}") from e
        self.port = self._server.sockets[0].getsockname()[1]

    async def serve(self) -> None:
        if self._server is not None:
            await self._server.start_serving()

    def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for connection in list(self.connections):
            connection.abort()

    def press(self, *, pressed: bool) -> None:
        """While the journal cannot keep up nobody is read from."""
        for connection in self.connections:
            connection.pause("journal", on=pressed)


class StoreConnection(asyncio.Protocol):
    def __init__(self, port: StorePort, desk: StoreDesk) -> None:
        self._port = port
        self._desk = desk
        self._requests = Requests(max_bulk_bytes=desk.max_bulk_bytes)
        self._unfinished = 0
        self._pauses: dict[str, None] = {}
        self._transport: asyncio.Transport | None = None

    # -- asyncio.Protocol -----------------------------------------------------------------------------------------------
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        it = self._transport = cast(asyncio.Transport, transport)
        it.set_write_buffer_limits(high=1 << 20)
        peer, here = it.get_extra_info("peername"), it.get_extra_info("sockname")
        self._client = _PortClient(self, self._desk, address=_text(peer), local_address=_text(here))
        self._port.connections[self] = None
        if len(self._port.connections) > MAX_CLIENTS or not self._port.has_room():
            it.write(b"-ERR max number of clients reached\r\n")
            it.close()

    def data_received(self, data: bytes) -> None:
        try:
            requests = self._requests.feed(data)
        except BadRequest as error:
            self.pause("bad", on=True)
            self._client.take([*error.before])
            self._client.end(Error(f"ERR Protocol error: {error}".encode("latin-1", "replace")))
            return
        if requests:
            self._client.take(requests)
            if self._client.waiting > WAITING:
                self.pause("waiting", on=True)
        unfinished = self._requests.pending
        if unfinished != self._unfinished:
            self._count(unfinished)

    def pause_writing(self) -> None:
        self._client.ready = False
        self.pause("unread", on=True)

    def resume_writing(self) -> None:
        self._client.ready = True
        self.pause("unread", on=False)
        self._client.go_on()

    def connection_lost(self, exc: Exception | None) -> None:
        self._count(0)
        self._transport = None
        self._port.connections.pop(self, None)
        self._desk.leave(self._client)

    # -- limits ---------------------------------------------------------------------------------------------------------
    def _count(self, unfinished: int) -> None:
        self._port.unfinished += unfinished - self._unfinished
        self._unfinished = unfinished
        if unfinished and self._port.unfinished > UNFINISHED_BYTES:
            self.abort()

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
        session = self._client.session
        limit = UNREAD_PUSHES_BYTES if session.channels or session.patterns else UNREAD_BYTES
        if self._transport.get_write_buffer_size() > limit:
            self.abort()
        elif "waiting" in self._pauses and self._client.waiting <= WAITING // 2:
            self.pause("waiting", on=False)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()


class _PortClient(StoreClient):
    def __init__(self, connection: StoreConnection, desk: StoreDesk, *, address: str, local_address: str) -> None:
        super().__init__(desk, address=address, local_address=local_address)
        self.write = connection.write  # type: ignore[method-assign]
        self.close = connection.close  # type: ignore[method-assign]


def _text(address: object) -> str:
    return f"{address[0]}:{address[1]}" if isinstance(address, tuple) else ""
