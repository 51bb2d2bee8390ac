"""A TCP proxy in front of a master. It counts the bytes that pass, holds them back from a point on,
and cuts connections."""

from __future__ import annotations

import contextlib
import socket
import threading
from types import TracebackType
from typing import Self

UP, DOWN = "up", "down"


class Proxy:
    """Proxy. The way `up` leads to the master. After `hold(way, size)`, nothing passes in that way
    beyond `size` bytes until `cut` or `let_go`."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port: int = self._listener.getsockname()[1]
        self.passed = {UP: 0, DOWN: 0}
        self._limits: dict[str, int] = {}
        self._news = threading.Condition()
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._sockets: list[socket.socket] = []
        self._closed = False
        self._threads: list[threading.Thread] = []

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._closed = True
        self._listener.shutdown(socket.SHUT_RDWR)
        self.cut()
        for thread in self._threads:
            thread.join(10.0)
        for each in (self._listener, *self._sockets):
            each.close()

    def hold(self, way: str, size: int) -> None:
        """Hold back what comes after the next `size` bytes."""
        with self._news:
            self._limits[way] = self.passed[way] + size

    def is_held(self, way: str) -> bool:
        return way in self._limits and self.passed[way] >= self._limits[way]

    def let_go(self) -> None:
        with self._news:
            self._limits.clear()
            self._news.notify_all()

    def cut(self) -> None:
        """Break all connections. Bytes that were held back are lost. New connections are let
        through."""
        pairs, self._pairs = self._pairs, []
        for pair in pairs:
            for end in pair:
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
        self.let_go()

    def _start(self, target: object, *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._closed:
            try:
                inner, _ = self._listener.accept()
            except OSError:
                return
            self._sockets.append(inner)
            try:
                outer = socket.create_connection(("127.0.0.1", self._target))
            except OSError:
                inner.shutdown(socket.SHUT_RDWR)
                continue
            self._sockets.append(outer)
            self._pairs.append((inner, outer))
            self._start(self._pass, UP, inner, outer)
            self._start(self._pass, DOWN, outer, inner)

    def _pass(self, way: str, source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(1 << 16):
                with self._news:
                    while way in self._limits and self.passed[way] >= self._limits[way]:
                        self._news.wait()
                    self.passed[way] += len(data)
                sink.sendall(data)
        except OSError:
            pass
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
