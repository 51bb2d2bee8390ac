"""One end of a stream to another process on this machine. Reads and writes run in the event loop's
thread and never block.

Written data is buffered while the other side does not read. Owns the socket from `open` on. This
module must not know the meaning of the bytes.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

_SCRATCH = memoryview(bytearray(256 * 1024))
"""Receive buffer shared by all streams of the process. Reusing memory is cheaper than allocating it
for each read."""


class LocalStream:
    """A stream with callbacks. `on_data(inbox)` is called after each read, and has to remove the
    complete messages from the inbox. `on_end()` is called when no more bytes will come."""

    def __init__(self, loop: asyncio.AbstractEventLoop, on_data: Callable[[bytearray], None], on_end: Callable[[], None]) -> None:
        self._loop = loop
        self._on_data = on_data
        self._on_end = on_end
        self._socket: socket.socket | None = None
        self._inbox = bytearray()
        self._outbox = bytearray()
        self._writing = False

    def open(self, stream: socket.socket) -> None:
        """Take over a connected, non-blocking socket. Data that was added before is sent with the
        next `flush`."""
        self._socket = stream
        self._loop.add_reader(stream, self._on_readable)

    def add(self, data: bytes | bytearray) -> None:
        self._outbox += data

    def flush(self) -> None:
        """Write the added data. What the socket does not take now is written when the other side
        reads."""
        if not self._writing:
            self._write()

    def pause(self) -> None:
        """Stop reading until `resume`."""
        if self._socket is not None:
            self._loop.remove_reader(self._socket)

    def resume(self) -> None:
        if self._socket is not None:
            self._loop.add_reader(self._socket, self._on_readable)

    def close(self) -> bool:
        """Close at once and drop unwritten data. Return whether the stream was open."""
        self._outbox = bytearray()
        if self._socket is None:
            return False
        self._loop.remove_reader(self._socket)
        self._loop.remove_writer(self._socket)
        self._socket.close()
        self._socket = None
        return True

    def _write(self) -> None:
        if self._socket is None:
            return
        try:
            while self._outbox:
                with memoryview(self._outbox) as whole:
                    sent = self._socket.send(whole)
                del self._outbox[:sent]
        except BlockingIOError:
            if not self._writing:
                self._writing = True
                self._loop.add_writer(self._socket, self._write)
            return
        except OSError:  # `_on_readable` handles the end of the stream, after the last data
            self._outbox.clear()
        if self._writing:
            self._writing = False
            self._loop.remove_writer(self._socket)

    def _on_readable(self) -> None:
        if self._socket is None:
            return
        try:
            count = self._socket.recv_into(_SCRATCH)
        except BlockingIOError:
            return
        except OSError:
            count = 0
        if count:
            self._inbox += _SCRATCH[:count]
            self._on_data(self._inbox)
        else:
            self._on_end()
