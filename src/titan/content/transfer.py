"""Content over a connection: in pieces, hashed on the way by threads, and resumed where a cut left
it.

Both ends of every transfer use this: workers and clients send and fetch, the master receives and
serves. Small content goes with the message that announces it, so it takes one round trip. Of all
other the sender is never more than FILE_WINDOW ahead of what the receiver has written, so no
connection has to be held up: what else is said on it passes between two pieces. Between processes
of one machine a file changes hands instead, see `nearby`; wherever that fails, the pieces are sent.
Owns pieces, windows and retries; must not know what content is for.
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
from titan.content.files import FileReader, FileWriter, MemoryReader
from titan.content.nearby import Nearby, NearbyFile, Seal
from titan.errors import ConnectionLost, EnvironmentFault, PeerError, ProtocolError, TitanError
from titan.host.large_files import reuse_memory
from titan.net.peer import Peer
from titan.protocol import messages as msg
from titan.protocol.codec import Blob

SMALL_BYTES = 1 << 20
"""Content up to this size, of a known hash, is sent whole with its SendFile."""
TRIES = 3
"""How often content that arrives damaged is fetched."""
LARGE_BYTES = 16 << 20
"""From here on memory is looked after."""

Answer = tuple[msg.Message, Blob] | TitanError


class Line(NamedTuple):
    """A request on a connection. When that breaks ConnectionLost is among the answers.

    `nearby`: the content folder of the other end, if both share a machine.
    """

    request: int
    answers: asyncio.Queue[Answer]
    peer: Peer
    nearby: Nearby | None = None


class Lines(Protocol):
    """Where requests can be made; the connection may be another each time."""

    async def open(self) -> Line:
        """Waits for a connection. Raises ConnectionLost, or MasterUnreachable, if there will be
        none."""
        ...

    def close(self, line: Line) -> None: ...


class Source(Protocol):
    """Content to be sent: a Reader that tells its hash."""

    @property
    def size(self) -> int: ...

    @property
    def hash(self) -> str:
        """SHA-256 in hex, "" if it is not known before all of it was read."""
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
    """Content came damaged, as often as it was fetched: the master's copy is damaged, so no worker
    can have it."""

    code = "damaged_copy"


# -- out -------------------------------------------------------------------------------------------
async def pump(
    peer: Peer,
    request: int,
    source: Readable,
    at: int,
    room: Callable[[int], Awaitable[None]],
    pool: Executor | None = None,
    first: Bytes | None = None,
) -> None:
    """Send what `source` holds from `at` on; `first` is the piece there, if it was read already.

    `room(end)` returns when bytes up to `end` may be under way. Raises ConnectionLost, TitanError.
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
            piece = await asyncio.shield(ahead)  # a thread that reads is not cancelled
    finally:
        if ahead is not None and not ahead.done():  # it reads what the caller is about to close
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
    """Send a file; return its SHA-256 when the master has it on disk. Raises OSError, and as
    `send`.

    `finished`: nobody will ever write to this file again, and no job is given it to change. A
    master of this machine may then keep the file itself, by a hard link that makes it read-only.
    `hashed`: the seal of the file when its writer hashed it.
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
    """Send what is in memory; returns when the master has it on disk. Raises as `send`."""
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
    """Send a source; go on on the next connection if one breaks. `whole`: all of it, if it is small
    and its hash is known.

    `path`: where a master of this machine may take it; `hashed`: the seal of that file when its
    writer hashed it. `key` names the sending, drawn if "". Raises what the master answers, and what
    `lines` raises.
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
    """The absolute path as a message holds it; "" if it is no text."""
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


# -- in --------------------------------------------------------------------------------------------
class Sink:
    """Pieces that arrive in order for what is written by a thread, as many at once as have come.

    `on_taken(bytes)`: so much more is written. `at_once`: content that is small is written without
    a thread.
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
        self.on_taken: Callable[[int], None] = on_taken or _tell_nobody
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
        """Bytes that are in memory."""
        return self.received - self._into.written

    def put(self, offset: int, piece: Blob) -> None:
        """Raises ProtocolError for a piece out of order."""
        if offset != self.received:
            raise ProtocolError(f"a piece of a file at {offset:,} where {self.received:,} is due")
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
        """Wait until all that came is written. Raises EnvironmentFault if the disk refuses."""
        await self._idle.wait()
        if self.error is not None:
            if isinstance(self.error, OSError):
                raise EnvironmentFault(f"the file could not be written: {self.error.strerror or self.error}") from self.error
            raise self.error

    async def stop(self) -> None:
        """Drop what came and is not written; return when nobody writes."""
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
    """A sink of a known size in memory; or the file of a master of this machine."""

    def __init__(self, size: int, *, may_open: bool) -> None:
        self.content = bytearray()
        self.file: NearbyFile | None = None
        self.wants_file = may_open
        self._size = size
        self.received = 0
        self.error = None
        self.on_taken: Callable[[int], None] = _tell_nobody

    def take_file(self, folder: str, hash_: str, seal: Seal) -> bool:
        """Return whether the file is open now. If not, the content has to come in pieces."""
        self.wants_file = False
        self.file = NearbyFile.open(folder, hash_, seal)
        return self.file is not None

    def put(self, offset: int, piece: Blob) -> None:
        if len(self.content) != self._size:
            self.content = bytearray(self._size)
        end = offset + len(piece)
        if offset != self.received or end > len(self.content):
            raise ProtocolError(f"a piece of content at {offset:,} to {end:,}, of {len(self.content):,} bytes")
        self.content[offset:end] = piece
        self.received = end
        self.on_taken(len(piece))

    async def idle(self) -> None:
        pass


async def fetch_file(lines: Lines, hash_: str, part: Path, *, pool: Executor | None = None) -> int:
    """Fetch the content of that hash into the file `part`; return its size. Goes on where it was
    when a connection breaks.

    Raises DamagedCopy if it arrives damaged `TRIES` times; EnvironmentFault if the disk refuses;
    OSError; what the master answers.
    """
    for _ in range(TRIES):
        writer = FileWriter(part)
        sink = Sink(writer, pool=pool, at_once=True)
        try:
            size = await _fetch(lines, hash_, sink)
            await sink.idle()
            if writer.digest.hexdigest() == hash_:
                return size
        finally:
            await sink.stop()
            writer.close()
    raise _damaged(hash_)


async def fetch_data(lines: Lines, hash_: str, size: int) -> bytearray:
    """Fetch content of a known size into memory.

    Raises DamagedCopy, ProtocolError if it has another size, and what the master answers.
    """
    content = await _fetch_content(lines, hash_, size, may_open=False)
    assert isinstance(content, bytearray), hash_
    return content


async def fetch_content(lines: Lines, hash_: str, size: int) -> bytearray | NearbyFile:
    """As `fetch_data`; or open the file of a master of this machine, which has verified it, if the
    content is not small."""
    return await _fetch_content(lines, hash_, size, may_open=size > SMALL_BYTES)


async def _fetch_content(lines: Lines, hash_: str, size: int, *, may_open: bool) -> bytearray | NearbyFile:
    for _ in range(TRIES):
        sink = _Memory(size, may_open=may_open)
        if await _fetch(lines, hash_, sink) != size:
            raise ProtocolError(f"content {hash_[:12]} has another size than {size:,} bytes")
        if sink.file is not None:
            return sink.file
        if (await asyncio.to_thread(hashlib.sha256, sink.content)).hexdigest() == hash_:
            return sink.content
    raise _damaged(hash_)


async def _fetch(lines: Lines, hash_: str, sink: Sink | _Memory) -> int:
    """Put all of it into the sink; return the size."""
    while True:
        line, whole = await lines.open(), False
        sink.on_taken = _tell_nobody
        try:
            begun = sink.received
            near = line.nearby if sink.wants_file and not begun else None
            line.peer.send(msg.FetchFile(line.request, hash_, begun, near.proof if near is not None else ""))
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
                    raise ProtocolError(f"a FetchFile was answered by a {type(message).__name__}")
                if message.size - begun > msg.FILE_WINDOW:  # else nobody waits to be told
                    sink.on_taken = partial(_tell_taken, line)
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


def _tell_nobody(size: int) -> None:
    pass


def _tell_taken(line: Line, size: int) -> None:
    if not line.peer.closed:
        line.peer.send(msg.FileTaken(line.request, size))


def _damaged(hash_: str) -> DamagedCopy:
    return DamagedCopy(
        f"{hash_[:12]} arrived with another content than its hash says, {TRIES} times: the master's copy is damaged,"
        " so have it made again"
    )


def message_of(item: Answer) -> msg.Message:
    if isinstance(item, TitanError):
        raise item
    return item[0]
