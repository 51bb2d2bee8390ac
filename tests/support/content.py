"""The client's end and the master's end of transfers in one process. Messages are encoded and
decoded, but pass no socket."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

from titan.content.blobs import BlobStore, pieces_of
from titan.content.directory import DirectoryStore
from titan.content.nearby import Nearby, prove
from titan.content.transfer import Line
from titan.errors import ConnectionLost, TitanError, from_code
from titan.master.handlers.files import FileHandler
from titan.net.peer import Peer
from titan.protocol import messages as msg
from titan.protocol.codec import Blob, MessageDecoder, Received, encode, error_of


def hash_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def content_of(store: BlobStore, hash_: str) -> bytes:
    return b"".join(pieces_of(store.open(hash_)))


class FakePeer:
    """One end of a connection. A message that is sent on it is encoded, decoded, and passed to `to`
    in the next turn of the loop."""

    def __init__(self, to: Callable[[msg.Message, Blob], None]) -> None:
        self.to = to
        self.role = "client"
        self.said: list[tuple[msg.Message, bytes]] = []
        self.closed = self.congested = False
        self.paused: list[bool] = []
        self.on_drain: Callable[[], Any] = lambda: None

    def send(self, message: msg.Message, blob: Blob | None = None, *, plain: bool = False) -> None:
        if self.closed:
            return
        (item,) = MessageDecoder().receive_data(encode(message, blob))
        assert isinstance(item, Received), item
        self.said.append((item.message, bytes(item.blob)))
        asyncio.get_running_loop().call_soon(self._deliver, item)

    def _deliver(self, item: Received) -> None:
        if not self.closed:
            self.to(item.message, item.blob)

    async def drain(self) -> None:
        await asyncio.sleep(0)
        self.on_drain()
        if self.closed:
            raise ConnectionError

    def abort(self) -> None:
        self.closed = True

    def pause_reading(self, why: str) -> None:
        self.paused.append(True)

    def resume_reading(self, why: str) -> None:
        self.paused.append(False)

    def kinds(self) -> list[str]:
        return [type(message).__name__ for message, _ in self.said]


class Ends:
    """`Lines` of a client whose master is a FileHandler. `cut` breaks the connection; the next
    request opens a new one."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self.store = DirectoryStore(folder, spare_bytes=0)
        self.handler = FileHandler(self.store, most_bytes=options.pop("most_bytes", 1 << 30))
        self._queues: dict[int, asyncio.Queue[Any]] = {}
        self._request = 0
        self.nearby: Nearby | None = None
        self.role = "client"
        """Role of the client in the next connection."""
        self.client: FakePeer | None = None
        self.peers: list[FakePeer] = []

    async def open(self) -> Line:
        if self.client is None:
            self.client, peer = FakePeer(lambda *item: None), FakePeer(self._to_client)
            peer.role = self.role
            self.client.to = lambda message, blob: self._to_desk(peer, message, blob)
            self.peers.append(peer)
        self._request += 1
        queue = self._queues[self._request] = asyncio.Queue()
        return Line(self._request, queue, cast(Peer, self.client), self.nearby)

    def close(self, line: Line) -> None:
        self._queues.pop(line.request, None)

    def share_machine(self) -> None:
        """Let both ends exchange files directly from now on, as on one machine."""
        self.store.offer_nearby()
        self.nearby = prove(str(self.store.folder))
        assert self.nearby is not None

    def cut(self) -> None:
        if self.client is not None:
            self.client.closed = self.peers[-1].closed = True
            self.client = None
            self.handler.forget(cast(Peer, self.peers[-1]))
            for queue in self._queues.values():
                queue.put_nowait(ConnectionLost("cut"))

    def _to_client(self, message: msg.Message, blob: Blob) -> None:
        queue = self._queues.get(message.request)
        if queue is not None:
            queue.put_nowait(from_code(message.code, message.message) if isinstance(message, msg.Error) else (message, blob))

    def _to_desk(self, peer: FakePeer, message: msg.Message, blob: Blob) -> None:
        it = cast(Peer, peer)
        try:
            match message:
                case msg.SendFile():
                    self.handler.on_send_file(it, message, blob)
                case msg.FilePiece():
                    self.handler.on_file_piece(it, message, blob)
                case msg.FileEnd():
                    self.handler.on_file_end(it, message)
                case msg.FetchFile():
                    self.handler.on_fetch_file(it, message)
                case msg.FileTaken():
                    self.handler.on_file_taken(it, message)
                case msg.StopSending():
                    self.handler.on_stop_sending(it, message)
                case _:
                    raise AssertionError(message)
        except TitanError as e:
            peer.send(error_of(message.request, e))

    def said(self) -> Iterator[tuple[msg.Message, bytes]]:
        """Yield all messages that the master sent, on all connections."""
        for peer in self.peers:
            yield from peer.said
