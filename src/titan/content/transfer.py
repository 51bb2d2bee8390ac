"""Transfer of content over a connection, in pieces. Threads hash the content, and an interrupted
transfer resumes.

Both ends of every transfer use this module: workers and clients send and fetch, the master receives
and serves. Small content is part of the message that announces it, so it needs one round trip. With
larger content, the sender is never more than FILE_WINDOW bytes ahead of the receiver's writes. So
the connection is never blocked, and other messages pass between two pieces. Between processes of
one machine the file itself is handed over (see `nearby`); if that fails, the pieces are sent.

Owns pieces, windows and retries. Must not know the purpose of content.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import secrets
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Executor
from functools import partial
from pathlib import Path
from typing import NamedTuple, Protocol

from titan.content.blobs import Bytes
from titan.content.files import Counted, FileReader, FileWriter, MemoryReader
from titan.content.nearby import Nearby, NearbyFile, Seal
from titan.errors import ConnectionLost, EnvironmentFault, PeerError, ProtocolError, TitanError
from titan.host.large_files import reuse_memory
from titan.net.peer import Peer
from titan.protocol import messages as msg
from titan.protocol.codec import Blob

SMALL_BYTES = 1 << 20
"""Content up to this size with a known hash is sent whole, with its SendFile."""
TRIES = 3
"""Maximum number of fetches of content that arrives damaged."""
LARGE_BYTES = 16 << 20
"""Content of at least this size makes the process reuse freed memory (`reuse_memory`)."""

Answer = tuple[msg.Message, Blob] | TitanError


class Line(NamedTuple):
    """Request on a connection, with the queue of its answers. ConnectionLost is queued when the
    connection breaks.

    `nearby`: the content folder of the other end, if both ends share a machine.
    """

    request: int
    answers: asyncio.Queue[Answer]
    peer: Peer
    nearby: Nearby | None = None


class Lines(Protocol):
    """Source of requests. Each request may use another connection."""

    async def open(self) -> Line:
        """Wait for a connection and begin a request. Raises ConnectionLost or MasterUnreachable if
        no connection can be made."""
        ...

    def close(self, line: Line) -> None: ...


class Source(Protocol):
    """Content to be sent: a Reader that knows or computes its hash."""

    @property
    def size(self) -> int: ...

    @property
    def hash(self) -> str:
        """SHA-256 in hex; "" while it is unknown because the content was not read yet."""
        ...

    def read(self, at: int) -> Bytes: ...

    def whole_hash(self) -> str: ...

    def close(self) -> None: ...


class Readable(Protocol):
    @property
    def size(self) -> int: ...

    def read(self, at: int) -> Bytes: ...


class Writable(Protocol):
    @property
    def written(self) -> int: ...

    def write(self, pieces: Sequence[Bytes]) -> None: ...


class DamagedCopy(PeerError):
    """Content that arrived damaged in every fetch. The master's copy is damaged, so no worker can
    get it."""

    code = "damaged_copy"


# -- sending ---------------------------------------------------------------------------------------
async def pump(
    peer: Peer,
    request: int,
    source: Readable,
    at: int,
    room: Callable[[int], Awaitable[None]],
    pool: Executor | None = None,
    first: Bytes | None = None,
) -> None:
    """Send the content of `source` from offset `at` on.

    `first`: the piece at `at`, if the caller has read it already. `room(end)` returns when the
    receiver's window allows bytes up to offset `end`. Raises ConnectionLost, TitanError.
    """
    if source.size >= LARGE_BYTES:
        reuse_memory()
    loop = asyncio.get_running_loop()
    ahead: asyncio.Future[Bytes] | None = None
    try:
        piece = await loop.run_in_executor(pool, source.read, at) if first is None else first
        while True:
            end = at + len(piece)
            ahead = loop.run_in_executor(pool, source.read, end) if end < source.size else None
            await room(end)
            peer.send(msg.FilePiece(request, at, source.size), piece, plain=True)
            try:
                await peer.drain()
            except ConnectionError as e:
                raise ConnectionLost("the connection broke while a file was sent") from e
            at = end
            if ahead is None:
                return
            piece = await asyncio.shield(ahead)  # a thread cannot be cancelled while it reads
    finally:
        if ahead is not None and not ahead.done():  # the caller is about to close the source
            await asyncio.wait([ahead])
        elif ahead is not None and not ahead.cancelled():
            ahead.exception()


async def send_file(
    lines: Lines,
    path: str | Path,
    *,
    hash_: str = "",
    key: str = "",
    finished: bool = False,
    hashed: Seal | None = None,
    pool: Executor | None = None,
) -> str:
    """Send a file. Return its SHA-256 when the master has the content on disk.

    `finished`: no process will write to this file again, and no job may change it. A master on the
    same machine may then keep the file itself, by a hard link, and make it read-only.
    `hashed`: the seal of the file when its writer hashed it. Raises OSError and the errors of
    `send`.
    """

    def open_source() -> tuple[FileReader, Bytes | None]:
        source = FileReader(path, hash_)
        try:
            return source, source.read(0) if hash_ and source.size <= SMALL_BYTES else None
        except BaseException:
            source.close()
            raise

    source, whole = await asyncio.get_running_loop().run_in_executor(pool, open_source)
    try:
        place = _text_of(path) if finished else ""
        return await send(lines, source, key=key, whole=whole, path=place, hashed=hashed, pool=pool)
    finally:
        source.close()


async def send_data(lines: Lines, hash_: str, data: bytes) -> None:
    """Send content from memory. Return when the master has the content on disk. Raises the errors
    of `send`."""
    await send(lines, MemoryReader(data, hash_), whole=data if len(data) <= SMALL_BYTES else None)


async def send(
    lines: Lines,
    source: Source,
    *,
    key: str = "",
    whole: Bytes | None = None,
    path: str = "",
    hashed: Seal | None = None,
    pool: Executor | None = None,
) -> str:
    """Send a source and return its SHA-256. If the connection breaks, resume on the next one.

    `key`: the key of the upload; "": a random key. `whole`: the whole content, if it is small and
    its hash is known. `path`: the file, if a master on the same machine may take it over. `hashed`:
    the seal of that file when its writer hashed it. Raises the error that the master answers and
    the errors of `lines`.
    """
    key = key or secrets.token_hex(16)
    while True:
        line = await lines.open()
        try:
            near = line.nearby if path and whole is None else None
            place = (near.proof, path) if near is not None else ("", "")
            marks = (hashed.inode, hashed.mtime_ns) if near is not None and hashed is not None else (0, 0)
            line.peer.send(msg.SendFile(line.request, key, source.size, source.hash, *place, *marks), whole)
            first = message_of(await line.answers.get())
            if isinstance(first, msg.Stored):
                return first.hash
            if not isinstance(first, msg.SendFrom):
                raise ProtocolError(f"a SendFile was answered by a {type(first).__name__}")
            return await _send_from(line, source, first.offset, pool)
        except ConnectionLost:
            pass
        finally:
            lines.close(line)


def _text_of(path: str | Path) -> str:
    """Return the absolute path for a message; "" if the path is not text."""
    text = os.path.abspath(path)
    try:
        text.encode()
    except UnicodeEncodeError:
        return ""
    return text


async def _send_from(line: Line, source: Source, at: int, pool: Executor | None) -> str:
    taken = at

    async def room(end: int) -> None:
        nonlocal taken
        while end - taken > msg.FILE_WINDOW or not line.answers.empty():
            answer = message_of(await line.answers.get())
            if isinstance(answer, msg.FileTaken):
                taken += answer.size

    if at < source.size:
        await pump(line.peer, line.request, source, at, room, pool)
    hash_ = source.hash or await asyncio.get_running_loop().run_in_executor(pool, source.whole_hash)
    line.peer.send(msg.FileEnd(line.request, hash_))
    while True:
        answer = message_of(await line.answers.get())
        if isinstance(answer, msg.Stored):
            return answer.hash


# -- receiving -------------------------------------------------------------------------------------
class Sink:
    """Receiver of pieces in order. A thread writes all pieces that have arrived as one batch.

    `on_taken(size)` is called after `size` more bytes were written. `at_once`: write small content
    without a thread.
    """

    def __init__(
        self,
        into: Writable,
        *,
        on_taken: Callable[[int], None] | None = None,
        pool: Executor | None = None,
        at_once: bool = False,
    ) -> None:
        self.received = into.written
        self.error: BaseException | None = None
        self.on_taken: Callable[[int], None] = on_taken or _ignore_taken
        self.wants_file = False
        self._into = into
        self._pool = pool
        self._at_once = at_once
        self._pieces: list[Blob] = []
        self._work: asyncio.Future[int] | None = None
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def waiting(self) -> int:
        """Bytes in memory that are not written yet."""
        return self.received - self._into.written

    def put(self, offset: int, piece: Blob) -> None:
        """Queue a piece, which a thread writes. Raises ProtocolError for a piece out of order."""
        if offset != self.received:
            raise ProtocolError(f"a piece of a file came for offset {offset:,}, but offset {self.received:,} is next")
        self.received += len(piece)
        if self.received >= LARGE_BYTES:
            reuse_memory()
        if not piece or self.error is not None:
            return
        if self._at_once and not offset and len(piece) <= SMALL_BYTES:
            try:
                self.on_taken(self._take([piece]))
            except OSError as e:
                self.error = e
            return
        self._pieces.append(piece)
        if self._work is None:
            self._start()

    def take_file(self, folder: str, hash_: str, seal: Seal) -> bool:
        return False

    async def idle(self) -> None:
        """Wait until all received pieces are written. Raises EnvironmentFault if a write fails."""
        await self._idle.wait()
        if self.error is not None:
            if isinstance(self.error, OSError):
                raise EnvironmentFault(f"the file could not be written: {self.error.strerror or self.error}") from self.error
            raise self.error

    async def stop(self) -> None:
        """Drop the pieces that are not written yet. Return when no thread writes any more."""
        self._pieces.clear()
        await self._idle.wait()

    def _start(self) -> None:
        pieces, self._pieces = self._pieces, []
        self._idle.clear()
        self._work = asyncio.get_running_loop().run_in_executor(self._pool, self._take, pieces)
        self._work.add_done_callback(self._on_done)

    def _take(self, pieces: list[Blob]) -> int:
        self._into.write(pieces)
        return sum(map(len, pieces))

    def _on_done(self, work: asyncio.Future[int]) -> None:
        self._work = None
        self.error = None if work.cancelled() else work.exception()
        if self.error is None and not work.cancelled():
            self.on_taken(work.result())
            if self._pieces:
                self._start()
                return
        self._idle.set()


class _Memory:
    """Receiver of content of a known size in memory. If the master is on the same machine, `file`
    is the master's file instead."""

    def __init__(self, size: int, *, may_open: bool) -> None:
        self.content = bytearray()
        self.file: NearbyFile | None = None
        self.wants_file = may_open
        self._size = size
        self.received = 0
        self.error = None
        self.on_taken: Callable[[int], None] = _ignore_taken

    def take_file(self, folder: str, hash_: str, seal: Seal) -> bool:
        """Open the master's file. Return False if this fails; the content then arrives in
        pieces."""
        self.wants_file = False
        self.file = NearbyFile.open(folder, hash_, seal)
        return self.file is not None

    def put(self, offset: int, piece: Blob) -> None:
        if len(self.content) != self._size:
            self.content = bytearray(self._size)
        end = offset + len(piece)
        if offset != self.received or end > len(self.content):
            raise ProtocolError(
                f"a piece of content came for offsets {offset:,} to {end:,},"
                f" but {self.received:,} of {len(self.content):,} bytes are there"
            )
        self.content[offset:end] = piece
        self.received = end
        self.on_taken(len(piece))

    async def idle(self) -> None:
        pass


async def fetch_file(
    lines: Lines,
    hash_: str,
    part: Path,
    *,
    pool: Executor | None = None,
    count: Callable[[int], None] | None = None,
) -> int:
    """Fetch content by its hash into the file `part` and return its size. Resume after a broken
    connection.

    `count` is called with the number of bytes after each write, perhaps in a thread. Raises
    DamagedCopy if the content arrives damaged `TRIES` times, EnvironmentFault if a write fails,
    OSError, and the error that the master answers.
    """
    for _ in range(TRIES):
        writer = FileWriter(part)
        sink = Sink(writer if count is None else Counted(writer, count), pool=pool, at_once=True)
        try:
            size = await _fetch(lines, hash_, sink)
            await sink.idle()
            if writer.digest.hexdigest() == hash_:
                return size
        finally:
            await sink.stop()
            writer.close()
    raise _damaged(hash_)


async def fetch_answer(lines: Lines, ask: Callable[[int, int], msg.Message], into: Writable) -> int:
    """Write a file that is sent as the answer to `ask(request, offset)`, and return its size.

    After a broken connection the request is repeated with the offset that is reached then. Raises
    EnvironmentFault if a write fails, and the error that is answered.
    """
    sink = Sink(into)
    try:
        size = await _fetch(lines, "", sink, ask)
        await sink.idle()
        return size
    finally:
        await sink.stop()


async def fetch_data(lines: Lines, hash_: str, size: int) -> bytearray:
    """Fetch content of a known size into memory.

    Raises DamagedCopy, ProtocolError if the size differs, and the error that the master answers.
    """
    content = await _fetch_content(lines, hash_, size, may_open=False)
    assert isinstance(content, bytearray), hash_
    return content


async def fetch_content(lines: Lines, hash_: str, size: int) -> bytearray | NearbyFile:
    """Fetch content like `fetch_data`. If it is not small and the master is on the same machine,
    open the master's verified file instead."""
    return await _fetch_content(lines, hash_, size, may_open=size > SMALL_BYTES)


async def _fetch_content(lines: Lines, hash_: str, size: int, *, may_open: bool) -> bytearray | NearbyFile:
    for _ in range(TRIES):
        sink = _Memory(size, may_open=may_open)
        if await _fetch(lines, hash_, sink) != size:
            raise ProtocolError(f"content {hash_[:12]} has another size than the expected {size:,} bytes")
        if sink.file is not None:
            return sink.file
        if (await asyncio.to_thread(hashlib.sha256, sink.content)).hexdigest() == hash_:
            return sink.content
    raise _damaged(hash_)


async def _fetch(lines: Lines, hash_: str, sink: Sink | _Memory, ask: Callable[[int, int], msg.Message] | None = None) -> int:
    """Fetch the whole content into the sink and return its size. See `fetch_answer` for `ask`."""
    while True:
        line, whole = await lines.open(), False
        sink.on_taken = _ignore_taken
        try:
            begun = sink.received
            near = line.nearby if sink.wants_file and not begun else None
            proof = near.proof if near is not None else ""
            line.peer.send(msg.FetchFile(line.request, hash_, begun, proof) if ask is None else ask(line.request, begun))
            while True:
                item = await line.answers.get()
                message = message_of(item)
                if isinstance(message, msg.FileHere) and near is not None:
                    if sink.take_file(near.folder, hash_, Seal(message.inode, message.size, message.mtime_ns)):
                        whole = True
                        return message.size
                    line.peer.send(msg.FetchFile(line.request, hash_))
                    continue
                if not isinstance(message, msg.FilePiece) or isinstance(item, TitanError):
                    raise ProtocolError(f"the request for a file was answered by a {type(message).__name__}")
                if message.size - begun > msg.FILE_WINDOW:  # otherwise all of it fits in the window
                    sink.on_taken = partial(_report_taken, line)
                sink.put(message.offset, item[1])
                if sink.error is not None:
                    await sink.idle()
                if sink.received >= message.size:
                    whole = True
                    return message.size
        except ConnectionLost:
            await sink.idle()
        finally:
            if not whole and not line.peer.closed:
                line.peer.send(msg.StopSending(0, line.request))
            lines.close(line)


def _ignore_taken(size: int) -> None:
    pass


def _report_taken(line: Line, size: int) -> None:
    if not line.peer.closed:
        line.peer.send(msg.FileTaken(line.request, size))


def _damaged(hash_: str) -> DamagedCopy:
    return DamagedCopy(
        f"{hash_[:12]} arrived with content that does not match its hash, {TRIES} times: the master's copy is damaged."
        " Run again the job that made it, or stage it again"
    )


def message_of(item: Answer) -> msg.Message:
    """Return the message of an answer. Raise the answer if it is an error."""
    if isinstance(item, TitanError):
        raise item
    return item[0]
