"""Transfer of content between a client and the master, limited to what the master lacks."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from titan.content.nearby import NearbyFile
from titan.content.transfer import Line, fetch_content, fetch_data, send_data, send_file
from titan.errors import ConnectionLost
from titan.protocol import messages as msg
from titan.sdk.connection import Connection

AT_ONCE = 4
"""Number of simultaneous uploads."""


class ConnectionLines:
    """Transfers on a client's connection, which reconnects within its `patience_s`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def open(self) -> Line:
        while True:
            try:
                return Line(*await self._connection.begin(), self._connection.nearby)
            except ConnectionLost:
                await self._connection.reopen()

    def close(self, line: Line) -> None:
        self._connection.end(line.request)


async def upload(connection: Connection, artifacts: Mapping[str, Path]) -> None:
    """Send the files, by hash, that the master lacks."""
    sizes = {hash_: path.stat().st_size for hash_, path in artifacts.items()}
    lines = ConnectionLines(connection)
    await _send_missing(connection, sizes, lambda hash_: send_file(lines, artifacts[hash_], hash_=hash_))


async def upload_data(connection: Connection, contents: Mapping[str, bytes]) -> None:
    """Send the contents in memory, by hash, that the master lacks."""
    sizes = {hash_: len(data) for hash_, data in contents.items()}
    lines = ConnectionLines(connection)
    await _send_missing(connection, sizes, lambda hash_: send_data(lines, hash_, contents[hash_]))


async def fetch(connection: Connection, hash_: str, size: int) -> bytearray:
    """Return content of a known size. Raises NotFound, ProtocolError, DamagedCopy."""
    return await fetch_data(ConnectionLines(connection), hash_, size)


async def fetch_value(connection: Connection, hash_: str, size: int) -> bytearray | NearbyFile:
    """Return content like `fetch`, or an open file if the master is on this machine."""
    return await fetch_content(ConnectionLines(connection), hash_, size)


async def name_content(connection: Connection, hash_: str, path: Path, name: str) -> None:
    """Upload a file and give it a name in the master's perm_files/.

    Raises CallerError for a name that is not allowed there.
    """
    await upload(connection, {hash_: path})
    await connection.call(lambda n: msg.NameContent(n, name, hash_))


async def _send_missing(connection: Connection, sizes: Mapping[str, int], send: Callable[[str], Awaitable[object]]) -> None:
    if not sizes:
        return
    hashes = list(sizes)
    answer = await connection.call(lambda n: msg.Stage(n, hashes, list(sizes.values())))
    assert isinstance(answer, msg.Staged)
    missing = iter(answer.missing)

    async def send_next() -> None:
        for hash_ in missing:
            await send(hash_)

    tasks = [asyncio.ensure_future(send_next()) for _ in range(min(AT_ONCE, len(answer.missing)))]
    try:
        await asyncio.gather(*tasks)
    finally:  # the first failure cancels the others
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
