"""Files over a connection: in pieces, hashed on the way by threads, and resumed where a cut left them.

Both ends of every transfer use this: workers and clients send and fetch, the master receives and serves. Whoever sends is never
more than FILE_WINDOW ahead of what the other has written, so no connection has to be held up: what else is said on it passes
between two pieces. Owns pieces, windows and hashes; must not know what a file is for.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from titan.errors import CallerError, ConnectionLost, EnvironmentFault, PeerError, ProtocolError, TitanError
from titan.large_files import Passing, reuse_memory
from titan.peer import Peer
from titan.protocol import messages as msg
from titan.protocol.codec import Blob

PIECE_BYTES = 2 << 20
TRIES = 3
"""How often a file that arrives with another content than its hash says is fetched."""
LARGE_BYTES = 16 << 20
"""From here on memory is looked after."""

Answer = tuple[msg.Message, Blob] | TitanError


class Line(NamedTuple):
    """A request on a connection. When that breaks ConnectionLost is among the answers."""

    request: int
    answers: asyncio.Queue[Answer]
    peer: Peer


class Lines(Protocol):
    """Where requests can be made; the connection may be another each time."""

    async def open(self) -> Line:
        """Waits for a connection. Raises ConnectionLost, or MasterUnreachable, if there will be none."""
        ...

    def close(self, line: Line) -> None: ...


class DamagedCopy(PeerError):
    """A file came with another content than its hash says, as often as it was fetched: no worker can have it."""

    code = "damaged_copy"


class Source:
    """A file that is read in order; `hash` "" has it hashed on the way. All but `close` may take as long as the disk does."""

    def __init__(self, path: str | Path, hash_: str = "") -> None:
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self.size = os.fstat(self._fd).st_size
        self.hash = hash_
        self._digest = hashlib.sha256()
        self._hashed = 0
        self._passing = Passing(self._fd, 0, written=False)

    def read(self, at: int) -> bytes:
        """The next piece. Raises CallerError if the file became shorter."""
        self._passing.begin()
        piece = os.pread(self._fd, min(PIECE_BYTES, self.size - at), at)
        self._passing.end(len(piece))
        if not piece and at < self.size:
            raise CallerError("the file became shorter while it was sent: write it, and leave it then")
        if not self.hash and at <= self._hashed < at + len(piece):
            self._digest.update(piece if at == self._hashed else memoryview(piece)[self._hashed - at :])
            self._hashed = at + len(piece)
        return piece

    def whole_hash(self) -> str:
        while not self.hash and self._hashed < self.size:
            self.read(self._hashed)
        return self.hash or self._digest.hexdigest()

    def close(self) -> None:
        os.close(self._fd)


async def pump(
    peer: Peer, request: int, source: Source, at: int, room: Callable[[int], Awaitable[None]], pool: Executor | None = None
) -> None:
    """Sends a file from `at` on. `room(end)` returns when bytes up to `end` may be under way. Raises ConnectionLost, TitanError."""
    if source.size >= LARGE_BYTES:
        reuse_memory()
    loop = asyncio.get_running_loop()
    ahead = loop.run_in_executor(pool, source.read, at)
    try:
        while True:
            piece = await ahead
            end = at + len(piece)
            if end < source.size:
                ahead = loop.run_in_executor(pool, source.read, end)
            await room(end)
            peer.send(msg.FilePiece(request, at, source.size), piece, plain=True)
            try:
                await peer.drain()
            except ConnectionError as e:
                raise ConnectionLost("the connection broke while a file was sent") from e
            at = end
            if at >= source.size:
                return
    finally:
        if not ahead.done():  # it reads what the caller is about to close
            await asyncio.wait([ahead])
        elif not ahead.cancelled():
            ahead.exception()


async def send_file(lines: Lines, path: str | Path, *, key: str, hash_: str = "", pool: Executor | None = None) -> str:
    """Returns its SHA-256 when the master has it on disk. Raises what the master answers, OSError, and what `lines` raises."""
    loop = asyncio.get_running_loop()
    source = await loop.run_in_executor(pool, Source, path, hash_)
    try:
        while True:
            line = await lines.open()
            try:
                return await _send(line, source, key, pool)
            except ConnectionLost:
                pass
            finally:
                lines.close(line)
    finally:
        source.close()


async def _send(line: Line, source: Source, key: str, pool: Executor | None) -> str:
    line.peer.send(msg.SendFile(line.request, key, source.size, source.hash))
    first = message_of(await line.answers.get())
    if isinstance(first, msg.Stored):
        return first.hash
    if not isinstance(first, msg.SendFrom):
        raise ProtocolError(f"a SendFile was answered by a {type(first).__name__}")
    at = taken = first.offset

    async def room(end: int) -> None:
        nonlocal taken
        while end - taken > msg.FILE_WINDOW or not line.answers.empty():
            answer = message_of(await line.answers.get())
            if isinstance(answer, msg.FileTaken):
                taken += answer.size

    if at < source.size:
        await pump(line.peer, line.request, source, at, room, pool)
    hash_ = await asyncio.get_running_loop().run_in_executor(pool, source.whole_hash)
    line.peer.send(msg.FileEnd(line.request, hash_))
    while True:
        answer = message_of(await line.answers.get())
        if isinstance(answer, msg.Stored):
            return answer.hash


class Sink:
    """A file that arrives in order, and is written and hashed by a thread, as much at once as has come.

    `on_taken(bytes)`: so much more is written. What was written and hashed is told by `written` and `digest`.
    """

    def __init__(
        self,
        path: Path,
        *,
        on_taken: Callable[[int], None],
        pool: Executor | None = None,
        written: int = 0,
        digest: Any = None,
        writeback: bool = False,
    ) -> None:
        """`written` bytes of `path` are there already, with `digest`. `writeback`: a sync follows, which has little to do then.

        Raises OSError.
        """
        self.path = path
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        os.ftruncate(self._fd, written)
        os.lseek(self._fd, written, os.SEEK_SET)
        self.digest = hashlib.sha256() if digest is None else digest
        self.received = self.written = written
        self._on_taken = on_taken
        self._pool = pool
        self._passing = Passing(self._fd, written, written=True, writeback=writeback)
        self._pieces: list[Blob] = []
        self._work: asyncio.Future[int] | None = None
        self.error: BaseException | None = None
        self._idle = asyncio.Event()
        self._idle.set()

    def put(self, offset: int, piece: Blob) -> None:
        """Raises ProtocolError for a piece out of order."""
        if offset != self.received:
            raise ProtocolError(f"a piece of a file at {offset:,} where {self.received:,} is due")
        self.received += len(piece)
        if self.received >= LARGE_BYTES:
            reuse_memory()
        if piece:
            self._pieces.append(piece)
            if self._work is None and self.error is None:
                self._start()

    async def idle(self) -> None:
        """Waits until all that came is written. Raises EnvironmentFault if the disk refuses."""
        await self._idle.wait()
        if self.error is not None:
            if isinstance(self.error, OSError):
                raise EnvironmentFault(f"the file could not be written: {self.error.strerror or self.error}") from self.error
            raise self.error

    async def finish(self, *, sync: bool) -> str:
        """Closes the file, `sync`: durable; returns its SHA-256. Raises EnvironmentFault."""
        try:
            await self.idle()
            if sync:
                await asyncio.get_running_loop().run_in_executor(self._pool, os.fsync, self._fd)
            return str(self.digest.hexdigest())
        except OSError as e:
            raise EnvironmentFault(f"the file could not be written: {e.strerror or e}") from e
        finally:
            await self.park()

    async def park(self) -> None:
        """Closes the file once nobody writes to it; what came and is not written is dropped."""
        self._pieces.clear()
        await self._idle.wait()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _start(self) -> None:
        pieces, self._pieces = self._pieces, []
        self._idle.clear()
        self._work = asyncio.get_running_loop().run_in_executor(self._pool, self._take, pieces)
        self._work.add_done_callback(self._on_done)

    def _take(self, pieces: list[Blob]) -> int:
        """In a thread. Much is hashed by another one meanwhile."""
        size = sum(map(len, pieces))
        hashing = _hashers().submit(self._hash, pieces) if size >= PIECE_BYTES else None
        try:
            for piece in pieces:
                view = memoryview(piece)
                self._passing.begin()
                while view:
                    view = view[os.write(self._fd, view) :]
                self._passing.end(len(piece))
        finally:
            if hashing is None:
                self._hash(pieces)
            else:
                hashing.result()
        return size

    def _hash(self, pieces: list[Blob]) -> None:
        for piece in pieces:
            self.digest.update(piece)

    def _on_done(self, work: asyncio.Future[int]) -> None:
        self._work = None
        self.error = None if work.cancelled() else work.exception()
        if self.error is None and not work.cancelled():
            self.written += work.result()
            self._on_taken(work.result())
            if self._pieces:
                self._start()
                return
        self._idle.set()


@cache
def _hashers() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(4, thread_name_prefix="titan-hash")


async def fetch_file(lines: Lines, hash_: str, part: Path, *, pool: Executor | None = None) -> int:
    """Fetches the content of that hash into `part`, and returns its size; goes on where it was when a connection breaks.

    Raises DamagedCopy if it arrives with another content `TRIES` times; EnvironmentFault if the disk refuses; what the master
    answers.
    """
    for _ in range(TRIES):
        arrived, size = await _fetch(lines, hash_, part, pool)
        if arrived == hash_:
            return size
    raise DamagedCopy(
        f"{hash_[:12]} arrived with another content than its hash says, {TRIES} times: the master's copy is damaged,"
        " so have it made again"
    )


async def _fetch(lines: Lines, hash_: str, part: Path, pool: Executor | None) -> tuple[str, int]:
    line: Line | None = None

    def on_taken(size: int) -> None:
        if line is not None and not line.peer.closed:
            line.peer.send(msg.FileTaken(line.request, size))

    sink = Sink(part, on_taken=on_taken, pool=pool)
    size, whole = 0, False
    try:
        while not whole:
            line = current = await lines.open()
            try:
                line.peer.send(msg.FetchFile(line.request, hash_, sink.received))
                while not whole:
                    item = await line.answers.get()
                    message = message_of(item)
                    if not isinstance(message, msg.FilePiece) or isinstance(item, TitanError):
                        raise ProtocolError(f"a FetchFile was answered by a {type(message).__name__}")
                    sink.put(message.offset, item[1])
                    size, whole = message.size, sink.received >= message.size
                    if sink.error is not None:
                        await sink.idle()
            except ConnectionLost:
                line = None
                await sink.idle()
            finally:
                if not whole and not current.peer.closed:
                    current.peer.send(msg.StopSending(0, current.request))
                lines.close(current)
        return await sink.finish(sync=False), size
    finally:
        await sink.park()


def message_of(item: Answer) -> msg.Message:
    if isinstance(item, TitanError):
        raise item
    return item[0]
