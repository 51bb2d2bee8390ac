"""One end of a TITAN_PROTO connection on asyncio: it converts bytes to messages and back.

Owns the buffers, flow control and limits of a socket. Must not know what a message means. All
writes of one loop turn go out together.
"""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import Callable
from contextlib import suppress
from fcntl import ioctl
from termios import TIOCOUTQ
from typing import cast

from titan.errors import LimitExceeded, PeerError
from titan.net.memory_budget import Inflow, Outflow
from titan.protocol.codec import Blob, MessageDecoder, Misfit, Received, encode, encode_prefix, error_of
from titan.protocol.messages import Message

APART_FROM = 64 * 1024
"""Bytes. A blob of at least this size is passed to the socket without a copy."""
OUTGOING_LIMIT = 256 * 1024 * 1024
"""Bytes. A connection with more unread bytes is closed."""


class Outbox:
    """Peers with queued frames. The frames go out in the next loop turn, or at an earlier
    `flush`."""

    def __init__(self) -> None:
        self._peers: list[Peer] = []

    def add(self, peer: Peer) -> None:
        if not self._peers:
            asyncio.get_running_loop().call_soon(self.flush)
        self._peers.append(peer)

    def flush(self) -> None:
        """Flush the peers in the order in which they were added."""
        peers, self._peers = self._peers, []
        for peer in peers:
            try:
                peer.flush()
            except Exception as e:  # the other peers still have frames to send
                asyncio.get_running_loop().call_exception_handler({"message": "writing to a peer failed", "exception": e})


class Peer(asyncio.BufferedProtocol):
    """One end of a connection. It calls `on_message(peer, message, blob)` for each message, in
    order, and `on_closed(peer, error)` once."""

    def __init__(
        self,
        on_message: Callable[[Peer, Message, Blob], None],
        on_closed: Callable[[Peer, Exception | None], None],
        on_opened: Callable[[Peer], None] | None = None,
        decoder: MessageDecoder | None = None,
        inflow: Inflow | None = None,
        outflow: Outflow | None = None,
        outbox: Outbox | None = None,
    ) -> None:
        """`inflow`, `outflow` and `outbox` are shared with other peers."""
        self._on_message = on_message
        self._on_closed = on_closed
        self._on_opened = on_opened
        self._decoder = decoder or MessageDecoder()
        self._inflow = inflow
        self._outflow = outflow
        self._outbox = outbox or Outbox()
        self._out: list[Blob] = []
        self._out_large = False
        self._pauses: dict[str, None] = {}
        self._flushing = False
        self._transport: asyncio.Transport | None = None
        self._writable = asyncio.Event()
        self._writable.set()
        self.compress = False
        self.closed = False
        self.fault: Exception | None = None
        self.number = 0
        self.role = ""
        self.actor = ""
        """On the master: the user or job that makes the requests of this connection."""
        self.worker = 0
        """On the master: the number of the worker that is registered on this connection."""

    # -- asyncio.BufferedProtocol ------------------------------------------------------------------
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=1 << 20)
        if self._on_opened is not None:
            self._on_opened(self)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._decoder.space()

    def buffer_updated(self, nbytes: int) -> None:
        try:
            items = self._decoder.received(nbytes)
        except PeerError as e:
            self.fail(e)
            return
        for item in items:
            if self.closed:
                return
            if isinstance(item, Received):
                self._on_message(self, item.message, item.blob)
            else:
                assert isinstance(item, Misfit)
                self.send(item.error)
        if self._inflow is not None:
            self._inflow.note(self, self._decoder.memory)

    def eof_received(self) -> None:
        """Abort, because the other end has closed and reads no more. A wait until the queued frames
        are written could last for ever."""
        self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        self._writable.set()
        self._transport = None
        # Free the decoder's memory now. This peer and its owner refer to each other, so the memory
        # would otherwise stay until the garbage collector runs.
        self._decoder.drop()
        if self._inflow is not None:
            self._inflow.forget(self)
        if self._outflow is not None:
            self._outflow.forget(self)
        self._on_closed(self, self.fault or exc)

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    # -- for the owner -----------------------------------------------------------------------------
    @property
    def address(self) -> str:
        name = self._transport.get_extra_info("peername") if self._transport else None
        return f"{name[0]}:{name[1]}" if isinstance(name, tuple) else "an unknown address"

    @property
    def host(self) -> str:
        """Address of the other end, without its port."""
        name = self._transport.get_extra_info("peername") if self._transport else None
        return str(name[0]).removeprefix("::ffff:").partition("%")[0] if isinstance(name, tuple) else "127.0.0.1"

    @property
    def pending(self) -> int:
        """Bytes of memory that the incomplete message takes up."""
        return self._decoder.memory

    @property
    def unwritten(self) -> int:
        """Bytes that the kernel has not accepted yet."""
        return self._transport.get_write_buffer_size() if self._transport is not None else 0

    def allow(self, max_message: int) -> None:
        """Accept messages of up to `max_message` bytes after decompression. The owner calls this
        after the handshake."""
        self._decoder.allow(max_message=max_message)

    @property
    def unsent(self) -> int:
        """Bytes that the other machine has not acknowledged, including those in this kernel."""
        transport = self._transport
        if transport is None:
            return 0
        sock, waiting = transport.get_extra_info("socket"), array("i", [0])
        with suppress(OSError):
            ioctl(sock.fileno(), TIOCOUTQ, waiting)
        return transport.get_write_buffer_size() + waiting[0]

    @property
    def congested(self) -> bool:
        """True while the peer reads more slowly than messages are sent to it."""
        return not self._writable.is_set()

    def send(self, message: Message, blob: Blob | None = None, *, plain: bool = False) -> None:
        """Queue a message. A large blob is not copied, so its memory must not change.

        `plain`: do not compress, even if the peer can decompress. A message over the size limit is
        replaced by an error.
        """
        compress = self.compress and not plain
        if blob is None or len(blob) < APART_FROM or compress:
            try:
                frame = encode(message, blob, compress=compress)
            except LimitExceeded as e:
                frame = encode(error_of(message.request, e))
            self.write(frame)
        elif not self.closed:
            self._out_large = True
            self._out.append(encode_prefix(message, blob))
            self.write(blob)

    def write(self, data: Blob) -> None:
        """Queue a whole frame. Drop it if the connection is closed."""
        if self.closed:
            return
        self._out.append(data)
        if not self._flushing:
            self._flushing = True
            self._outbox.add(self)

    def flush(self) -> None:
        self._flushing = False
        out, self._out = self._out, []
        large, self._out_large = self._out_large, False
        transport = self._transport
        if not out or transport is None or transport.is_closing():
            return
        if large:
            transport.writelines(out)
        else:
            transport.write(out[0] if len(out) == 1 else b"".join(out))
        waiting = transport.get_write_buffer_size()
        if waiting > OUTGOING_LIMIT:
            self.cut(f"{self.address} does not read: {OUTGOING_LIMIT >> 20} MiB are queued for it")
        elif self._outflow is not None and waiting > self._outflow.NOTED:
            self._outflow.note(self)

    def cut(self, why: str) -> None:
        """Close at once, without sending what is queued. `why`: the peer's fault, for the error."""
        self.fault = PeerError(why)
        self.abort()

    async def drain(self) -> None:
        """Wait until the peer has read enough that more may be sent. Raises ConnectionError if the
        connection is closed."""
        self.flush()
        await self._writable.wait()
        if self.closed:
            raise ConnectionError("the connection is closed")

    def fail(self, error: PeerError) -> None:
        """Send the error, then close."""
        self.fault = error
        self.send(error_of(0, error))
        self.close()

    def close(self) -> None:
        """Close after all queued frames are written."""
        self.flush()
        self.closed = True
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        self.closed = True
        if self._transport is not None:
            self._transport.abort()

    def pause_reading(self, why: str) -> None:
        """Stop reading until `resume_reading` was called for every reason."""
        self._pauses[why] = None
        if len(self._pauses) == 1 and self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()

    def resume_reading(self, why: str) -> None:
        paused = self._pauses.pop(why, self) is None
        if paused and not self._pauses and self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()
