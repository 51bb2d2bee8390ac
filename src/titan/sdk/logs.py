"""Output of jobs as the master keeps it."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from titan.errors import ConnectionLost
from titan.model.names import split_job
from titan.protocol import messages as msg
from titan.sdk.connection import Connection
from titan.sdk.status import LogPiece


async def log_pieces(
    connection: Connection, target: str, *, follow: bool = False, attempt: int | None = None
) -> AsyncGenerator[LogPiece, None]:
    """Yield the output of `RUN/JOB` or `RUN`. See AsyncClient.log_pieces."""
    run, job = split_job(target) if "/" in target else (target, "")
    received: dict[tuple[str, int, int], int] = {}
    while True:
        try:
            async for message, blob in connection.stream(lambda n: msg.ReadLogs(n, run, job, attempt or 0, follow)):
                assert isinstance(message, msg.LogChunk)
                place = (message.job, message.attempt, message.stream)
                skip = max(0, received.get(place, 0) - message.offset)
                if blob[skip:]:
                    received[place] = message.offset + len(blob)
                    skipped = 0 if skip else message.skipped
                    yield LogPiece(message.stream, bytes(blob[skip:]), message.attempt, skipped, message.job or job)
                if message.last:
                    return
        except ConnectionLost:
            await connection.reopen()
