"""A master in this process, and a connection on which a test sends messages as a client or as a
worker, one by one."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Self

from titan.master.server import Master
from titan.protocol import messages as msg
from titan.protocol.codec import Blob, MessageDecoder, Received, encode
from titan.protocol.handshake import hello
from titan.sdk.connection import Connection


@contextlib.asynccontextmanager
async def a_master(home: Path) -> AsyncIterator[tuple[Master, Connection]]:
    master = Master(home, port=0, store_port=0)
    await master.start()
    connection = Connection("127.0.0.1", master.port, patience_s=20.0)
    await connection.open()
    try:
        yield master, connection
    finally:
        await connection.close()
        await master.stop()


class Line:
    """Connection to the master without any code of a client or a worker."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._decoder = MessageDecoder()
        self._came: list[msg.Message] = []

    @classmethod
    async def dial(cls, port: int, role: str = "worker") -> Self:
        made = cls(*await asyncio.open_connection("127.0.0.1", port))
        made.send(hello(role, "test"))
        assert isinstance(await made.next(), msg.Welcome)
        return made

    async def close(self) -> None:
        self._writer.close()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()

    def send(self, message: msg.Message, blob: Blob | None = None) -> None:
        self._writer.write(encode(message, blob))

    async def next(self) -> msg.Message:
        while not self._came:
            data = await self._reader.read(65536)
            assert data, "the master closed"
            self._came += [it.message for it in self._decoder.receive_data(data) if isinstance(it, Received)]
        return self._came.pop(0)

    async def register(self, name: str) -> msg.Message:
        self.send(msg.Register(7, name, "1", "", ("GENERAL",), 1, {}, [], []))
        while (answer := await self.next()).request != 7:
            pass
        return answer
