"""Local socket through which the jobs of this worker reach TitanStore. The worker relays the
socket's connections over its own connection to the master.

A job's first line is `TITAN LEASE run TOKEN` or `TITAN LEASE shared TOKEN`. RESP follows, as on the
store's port. The relay interprets only the first line, and checks the sender (see `callers`). While
there is no master, the relay refuses connections, and jobs have to try again. After a first line
`TITAN LEASE job TOKEN` the context handler takes over the connection.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shlex
import socket
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import cast

from titan.host.temporary_folder import TemporaryFolder
from titan.protocol import messages as msg

log = logging.getLogger("titan.worker")
FIRST_LINE_BYTES = 128
FIRST_LINE_S = 10.0
CONNECTIONS = 4096
MOST_PATH_BYTES = 100
"""Longest path of a socket in bytes. The kernel's limit is 107."""
_CREDENTIALS = struct.Struct("iII")
"""pid, uid, gid."""


def put_command(folder: Path) -> str:
    """Create a `titan` command in `folder` that runs this Titan, so that jobs can use `titan
    context`. Return the PATH for jobs: the worker's PATH, followed by the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    command = folder / "titan"
    part = folder / "titan.part"
    part.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -P -m titan "$@"\n')
    part.chmod(0o755)
    part.rename(command)
    return f"{os.environ.get('PATH', os.defpath)}:{folder}"


class ContextRelay:
    """Relay of store connections. `send(message, blob)` is called only while `can_send()` is
    True."""

    def __init__(
        self,
        folder: Path,
        send: Callable[[msg.Message, bytes | None], None],
        can_send: Callable[[], bool],
        adopt: Callable[[int, asyncio.Transport, bytes, str], None],
        problem: Callable[[int, bytes, int], str],
    ) -> None:
        """Create a relay that is not open.

        `adopt(lease, transport, rest, problem)` hands a connection to the context handler. `rest`
        are the bytes after the first line. `problem(lease, token, pid)` returns the reason why the
        process may not send requests for the attempt, "" if it may.
        """
        self._folder = folder
        self._away: TemporaryFolder | None = None
        self.path = f"{folder}/context"
        if len(os.fsencode(self.path)) > MOST_PATH_BYTES:
            self._away = TemporaryFolder(short=True)
            self.path = f"{self._away.path}/context"
        self.send = send
        self.can_send = can_send
        self.adopt = adopt
        self.problem = problem
        self.strangers = 0
        """Number of connections whose first line is incomplete."""
        self.connections: dict[int, _Connection] = {}
        self._numbers = 0
        self._server: asyncio.AbstractServer | None = None

    async def open(self) -> None:
        """Listen on the socket. Raises OSError."""
        Path(self.path).unlink(missing_ok=True)
        self._server = await asyncio.get_running_loop().create_unix_server(lambda: _Connection(self), self.path, backlog=1024)
        os.chmod(self.path, 0o600)

    def close(self) -> None:
        if self._server is not None:
            self._server.close()
        self.disconnected()
        Path(self.path).unlink(missing_ok=True)
        if self._away is not None:
            self._away.close()

    def disconnected(self) -> None:
        """Abort all connections, because the master is gone. The master may or may not have
        executed pending commands. The jobs have to find out."""
        for connection in list(self.connections.values()):
            connection.abort()

    def on_stream(self, message: msg.StoreStream, blob: bytes | memoryview) -> None:
        connection = self.connections.get(message.request)
        if connection is not None:
            connection.on_stream(message, blob)
        elif not message.closed:
            self.send(msg.StoreStream(message.request, closed=True), None)

    def number(self) -> int:
        self._numbers += 1
        return self._numbers


class _Connection(asyncio.Protocol):
    def __init__(self, relay: ContextRelay) -> None:
        self._relay = relay
        self._number = 0
        self._line = b""
        self._patience: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport | None = None
        self._under_way = 0
        """Number of bytes sent to the master that it has not acknowledged."""
        self._unacknowledged = 0
        """Number of bytes written to the job that were not acknowledged to the master yet."""
        self._writable = True
        self._refused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._relay.strangers += 1
        self._patience = asyncio.get_running_loop().call_later(FIRST_LINE_S, self.abort)
        if self._relay.strangers + len(self._relay.connections) > CONNECTIONS:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        if not self._number:
            data = self._begin(data)
            if not self._number:
                return
        if not self._relay.can_send():
            self.abort()
        elif data:
            self._relay.send(msg.StoreStream(self._number), data)
            self._under_way += len(data)
            if self._under_way > msg.WINDOW and self._transport is not None:
                self._transport.pause_reading()

    def _begin(self, data: bytes) -> bytes:
        """Handle the first line. Return the bytes after the line, b"" while the line is
        incomplete."""
        line, end, rest = (self._line + data).partition(b"\n")
        self._line = line
        fields = line.split()
        if not end and len(line) <= FIRST_LINE_BYTES:
            return b""
        if not 3 <= len(fields) <= 4 or fields[0] != b"TITAN" or not fields[1].removeprefix(b"-").isdigit():
            self.abort()
            return b""
        lease, problem = int(fields[1]), self._relay.problem(int(fields[1]), b"".join(fields[3:]), self._caller())
        if fields[2] == b"job" and self._transport is not None:
            transport, self._transport = self._transport, None
            self._end_patience()
            self._relay.adopt(lease, transport, rest, problem)
            return b""
        if problem:
            self._refuse(problem)
            return b""
        if fields[2] not in (b"run", b"shared") or not self._relay.can_send():
            self.abort()
            return b""
        self._end_patience()
        self._number = self._relay.number()
        self._relay.connections[self._number] = self
        self._relay.send(msg.StoreStream(self._number, max(0, lease), fields[2] == b"shared"), None)
        return rest

    def _caller(self) -> int:
        """Return the pid of the process that connected, 0 if the process is in another pid
        namespace."""
        assert self._transport is not None
        credentials = self._transport.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        return int(_CREDENTIALS.unpack(credentials)[0])

    def _refuse(self, problem: str) -> None:
        """Send the refusal in RESP. The connection stays open, so that the job can read the
        refusal, until the job closes it or the time limit of the first line passes."""
        assert self._transport is not None
        self._refused = True
        self._transport.write(f"-NOPERM {problem}\r\n".encode())
        self._transport.write_eof()

    def _end_patience(self) -> None:
        """Cancel the timer of the first line, because the line is complete or the connection is
        closed."""
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None
            self._relay.strangers -= 1

    def on_stream(self, message: msg.StoreStream, blob: bytes | memoryview) -> None:
        if self._transport is None:
            return
        if message.taken:
            before, self._under_way = self._under_way, self._under_way - message.taken
            if before > msg.WINDOW >= self._under_way:
                self._transport.resume_reading()
        if blob:
            self._transport.write(bytes(blob))
            self._unacknowledged += len(blob)
            self._acknowledge()
        if message.closed:
            self._relay.connections.pop(self._number, None)
            self._number = 0
            self._transport.close()

    def _acknowledge(self) -> None:
        if self._writable and self._unacknowledged and self._relay.can_send():
            self._relay.send(msg.StoreStream(self._number, taken=self._unacknowledged), None)
            self._unacknowledged = 0

    def pause_writing(self) -> None:
        self._writable = False

    def resume_writing(self) -> None:
        self._writable = True
        self._acknowledge()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._end_patience()
        if self._relay.connections.pop(self._number, None) is not None and self._relay.can_send():
            self._relay.send(msg.StoreStream(self._number, closed=True), None)

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()
