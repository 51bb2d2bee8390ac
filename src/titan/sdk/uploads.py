"""Files on their way to the master: each content once, in pieces, again from the start if the connection breaks."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from pathlib import Path

from titan.errors import ConnectionLost
from titan.protocol import messages as msg
from titan.sdk.connection import Connection

PIECE_BYTES = 1 << 20


async def upload(connection: Connection, artifacts: Mapping[str, Path]) -> None:
    """Those that the master lacks."""
    if not artifacts:
        return
    hashes = list(artifacts)
    sizes = [artifacts[hash_].stat().st_size for hash_ in hashes]
    answer = await connection.call(lambda n: msg.Stage(n, hashes, sizes))
    assert isinstance(answer, msg.Staged)
    for hash_ in answer.missing:
        while True:
            try:
                await put(connection, hash_, artifacts[hash_], "")
                break
            except ConnectionLost:
                await connection.reopen()


async def put(connection: Connection, hash_: str, path: Path, name: str) -> None:
    size = path.stat().st_size

    async def pieces() -> AsyncIterator[tuple[int, bytes]]:
        with path.open("rb") as source:
            at = 0
            while True:
                piece = source.read(PIECE_BYTES)
                yield at, piece
                at += len(piece)
                if at >= size or not piece:
                    return

    await connection.put(lambda n, at, _: msg.Put(n, hash_, size, at, name), pieces())
