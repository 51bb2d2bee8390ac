"""One end of a stream to another process of this machine, in the loop's thread: never waits,
neither to write nor to read.

What is written waits here while the other side does not read. Owns the socket from `open` on; must
not know what the bytes mean.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

_SCRATCH = memoryview(bytearray(256 * 1024))
"""What is read goes through here, of all streams of the process: memory that is there costs less
than new memory for each read."""


class LocalStream:
    """`on_data(inbox)` takes from the inbox what is whole, whenever bytes came; `on_end()` comes
    when none will any more."""

    def __init__(self, loop: asyncio.AbstractEventLoop, on_data: Callable[[bytearray], None], on_end: Callable[[], None]) -> None:
        self._loop = loop
        self._on_data = on_data
        self._on_end = on_end
        self._socket: socket.socket | None = None
        self._inbox = bytearray()
        self._outbox = bytearray()
        self._writing = False

    def open(self, stream: socket.socket) -> None:
        """Takes a connected socket that does not block; what was added before goes with the next
        `flush`."""
        self._socket = stream
        self._loop.add_reader(stream, self._on_readable)

    def add(self, data: bytes | bytearray) -> None:
        self._outbox += data

    def flush(self) -> None:
        """Writes what was added, now or as the other side reads."""
        if not self._writing:
            self._write()

    def pause(self) -> None:
        """Reads nothing until `resume`."""
        if self._socket is not None:
            self._loop.remove_reader(self._socket)

    def resume(self) -> None:
        if self._socket is not None:
            self._loop.add_reader(self._socket, self._on_readable)

    def close(self) -> bool:
        """At once, with what was not written; whether it was open."""
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
        except OSError:  # the reader sees the end of the stream, after the last that came
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
