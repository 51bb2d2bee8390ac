"""A redis-server for the tests, and replies of both sides as they are on the wire."""

from __future__ import annotations

import select
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PATIENCE_S = 5.0
_NESTED = b"*%~>"
Tree = tuple[bytes, Any]
"""Type byte of a reply, and its content: bytes, or a list of trees for arrays, maps (flat), sets
and pushes."""


def pack(args: list[bytes]) -> bytes:
    return b"*%d\r\n" % len(args) + b"".join(b"$%d\r\n%b\r\n" % (len(arg), arg) for arg in args)


def parse(data: bytes | bytearray, at: int = 0) -> tuple[Tree, int] | None:
    """Return one reply and the position after it; None if more bytes are needed."""
    line = data.find(b"\r\n", at)
    if line < 0:
        return None
    sign, text = bytes(data[at : at + 1]), bytes(data[at + 1 : line])
    end = line + 2
    if sign in (b"$", b"="):
        size = int(text)
        if size < 0:
            return (sign, None), end
        return ((sign, bytes(data[end : end + size])), end + size + 2) if len(data) >= end + size + 2 else None
    if sign not in (b"*", b"%", b"~", b">"):
        return (sign, text), end
    count = int(text)
    if count < 0:
        return (sign, None), end
    items: list[Tree] = []
    for _ in range(2 * count if sign == b"%" else count):
        found = parse(data, end)
        if found is None:
            return None
        items.append(found[0])
        end = found[1]
    return (sign, items), end


def parse_all(data: bytes | bytearray) -> list[Tree]:
    at, found = 0, []
    while at < len(data):
        part = parse(data, at)
        assert part is not None, bytes(data)
        found.append(part[0])
        at = part[1]
    return found


class Connection:
    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), PATIENCE_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._data = bytearray()
        self.id = int(self.ask(b"CLIENT", b"ID")[1])

    def send(self, args: list[bytes]) -> None:
        self._socket.sendall(pack(args))

    def receive(self) -> Tree:
        """Return the next reply. Raises TimeoutError."""
        while True:
            found = parse(self._data) if self._data else None
            if found is not None:
                del self._data[: found[1]]
                return found[0]
            more = self._socket.recv(1 << 16)
            if not more:
                raise ConnectionError("redis-server closed the connection")
            self._data += more

    def ask(self, *args: bytes) -> Tree:
        self.send(list(args))
        return self.receive()

    def is_silent(self) -> bool:
        return not self._data and not select.select([self._socket], [], [], 0)[0]

    def close(self) -> None:
        self._socket.close()


class Redis:
    def __init__(self, port: int) -> None:
        self.port = port
        self.control = Connection(port)

    def clean(self) -> None:
        """Delete all keys, and close all other connections."""
        for kind in (b"normal", b"pubsub"):
            self.control.ask(b"CLIENT", b"KILL", b"TYPE", kind)
        self.control.ask(b"FLUSHALL")

    def forget_errno(self) -> None:
        """Reset C's errno in the server. Its SORT refuses valid numbers while errno still says that
        an earlier number was out of range. This command parses a valid number and changes
        nothing."""
        self.control.ask(b"ZADD", b"none", b"XX", b"1", b"m")

    def wait_until_blocked(self, connection: Connection) -> None:
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until:
            line = self.control.ask(b"CLIENT", b"LIST", b"ID", b"%d" % connection.id)[1]
            if b"b" in line.partition(b" flags=")[2].partition(b" ")[0]:
                return
        raise AssertionError("redis-server does not wait")


@contextmanager
def redis_server(folder: Path) -> Iterator[Redis]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ["--save", "", "--appendonly", "no", "--enable-debug-command", "yes", "--slowlog-log-slower-than", "-1"]
    process = subprocess.Popen(
        ["redis-server", "--bind", "127.0.0.1", "--port", str(port), "--dir", str(folder), "--loglevel", "warning", *options],
        stdout=subprocess.DEVNULL,
    )
    try:
        until = time.monotonic() + PATIENCE_S
        while True:
            try:
                redis = Redis(port)
                break
            except OSError:
                assert process.poll() is None, "redis-server ended"
                assert time.monotonic() < until, "redis-server does not listen"
                time.sleep(0.02)
        redis.control.ask(b"DEBUG", b"SET-ACTIVE-EXPIRE", b"0")
        try:
            yield redis
        finally:
            redis.control.close()
    finally:
        process.terminate()
        process.wait(PATIENCE_S)
