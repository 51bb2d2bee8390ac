"""Content comes in from workers and clients, and goes out to them.

Each transfer is a task of its own beside the connection's other messages. What arrives is on disk
before it is confirmed. Owns what is on its way on each connection, and how much of it may be in
memory; what it is for is the core's.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from titan.content.blobs import BlobStore, Bytes, Part, Reader, put
from titan.content.nearby import Seal, is_proved
from titan.content.transfer import SMALL_BYTES, Sink, pump
from titan.errors import CallerError, ConnectionLost, EnvironmentFault, LimitExceeded, ProtocolError, TitanError
from titan.net.peer import Peer
from titan.protocol import messages as msg
from titan.protocol.codec import Blob, error_of

log = logging.getLogger("titan.master")

THREADS = 8
MAX_ARRIVALS = 64
MAX_DEPARTURES = 1024
"""Of one connection; those that are under way, and those that wait."""
AT_ONCE = 8
"""So many go out to one connection at once."""
PEER_BYTES, ALL_BYTES = 64 << 20, 256 << 20
"""What may wait in memory for the disk, of one sender and of all; above, a sender is not read from
until half of it is written."""
_WHY = "files"
T = TypeVar("T")


class _Arrival:
    def __init__(self, peer: Peer, message: msg.SendFile) -> None:
        self.peer = peer
        self.request = message.request
        self.key = message.key
        self.size = message.size
        self.part: Part | None = None
        self.sink: Sink | None = None
        self.ending = False
        self.over = asyncio.Event()


class _Departure:
    def __init__(self) -> None:
        self.taken = 0
        self.news = asyncio.Event()
        self.task: asyncio.Task[None] | None = None


class _Backlog:
    """Bytes that came and are not on the disk yet. Whoever sends too much of them is not read from."""

    def __init__(self) -> None:
        self._of: dict[Peer, int] = {}
        self._all = 0
        self._held: dict[Peer, None] = {}

    def add(self, peer: Peer, size: int) -> None:
        """`size` is negative when so much was written, or dropped."""
        mine = self._of.get(peer, 0) + size
        self._all += size
        if mine:
            self._of[peer] = mine
        else:
            self._of.pop(peer, None)
        if size > 0 and peer not in self._held and (mine > PEER_BYTES or self._all > ALL_BYTES):
            self._held[peer] = None
            peer.pause_reading(_WHY)
        elif size < 0 and self._held:
            all_may = self._all < ALL_BYTES // 2
            for held in [p for p in self._held if all_may and self._of.get(p, 0) < PEER_BYTES // 2]:
                del self._held[held]
                held.resume_reading(_WHY)

    def forget(self, peer: Peer) -> None:
        self._held.pop(peer, None)


class FileHandler:
    def __init__(self, store: BlobStore, *, most_bytes: int) -> None:
        """`most_bytes`: of one transfer."""
        self.store = store
        self._most_bytes = most_bytes
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="titan-files")
        self._arrivals: dict[Peer, dict[int, _Arrival]] = {}
        self._by_key: dict[str, _Arrival] = {}
        self._backlog = _Backlog()
        self._departures: dict[Peer, dict[int, _Departure]] = {}
        self._turns: dict[Peer, asyncio.Semaphore] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def forget(self, peer: Peer) -> None:
        """The connection is closed. What was coming in stays for its sender to go on."""
        for departure in list(self._departures.pop(peer, {}).values()):
            if departure.task is not None:
                departure.task.cancel()
        self._turns.pop(peer, None)
        self._backlog.forget(peer)
        for arrival in list(self._arrivals.pop(peer, {}).values()):
            # else whoever is at it sees that the connection is closed
            if arrival.sink is not None and not arrival.ending:
                arrival.ending = True
                self._spawn(self._park(arrival))

    async def close(self) -> None:
        for peer in [*self._arrivals, *self._departures]:
            self.forget(peer)
        for task in list(self._tasks):
            if task.get_name() == "departure":
                task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.get_running_loop().run_in_executor(None, self._pool.shutdown)

    # -- in ----------------------------------------------------------------------------------------
    def on_send_file(self, peer: Peer, message: msg.SendFile, blob: Blob) -> None:
        """Raises TitanError, which becomes the answer; so do all of these."""
        if not 0 <= message.size <= self._most_bytes:
            raise LimitExceeded(f"a file of {message.size:,} bytes; the limit is {self._most_bytes:,} (--set file_bytes=...)")
        is_whole = bool(message.hash) and len(blob) == message.size
        if blob and not (is_whole and message.size <= msg.FILE_WINDOW):
            raise CallerError(f"bytes with a SendFile are all of it, {msg.FILE_WINDOW:,} at most, and their hash is known")
        if message.hash and self.store.touch(message.hash):
            peer.send(msg.Stored(message.request, message.hash))
            return
        arrivals = self._arrivals.setdefault(peer, {})
        if message.request in arrivals or len(arrivals) >= MAX_ARRIVALS:
            raise CallerError(f"{MAX_ARRIVALS} files at once on a connection, each under a request id of its own")
        if not is_whole:
            self.store.check_key(message.key)
        arrival = arrivals[message.request] = _Arrival(peer, message)
        if is_whole:
            self._spawn(self._take_whole(arrival, message.hash, blob))
        elif message.path and message.hash and is_proved(self.store.nearby, message.proof):
            self._spawn(self._take_file(arrival, message.hash, message.path, _hashed(peer, message)))
        else:
            self._spawn(self._begin(arrival))

    async def _take_file(self, arrival: _Arrival, hash_: str, path: str, hashed: Seal | None) -> None:
        """The sender shares this machine: its file itself becomes the blob, or is sent after all."""
        try:
            taken = await self._in_thread(self.store.take, path, arrival.size, hash_, hashed)
        except (TitanError, OSError) as e:
            self._refuse(arrival, e)
            return
        if taken:
            self._confirm(arrival, hash_)
        else:
            await self._begin(arrival)

    async def _take_whole(self, arrival: _Arrival, hash_: str, blob: Blob) -> None:
        arrival.ending = True
        self._backlog.add(arrival.peer, len(blob))
        try:
            await self._in_thread(put, self.store, hash_, blob)
        except (TitanError, OSError) as e:
            self._refuse(arrival, e)
        else:
            self._confirm(arrival, hash_)
        finally:
            self._backlog.add(arrival.peer, -len(blob))

    async def _begin(self, arrival: _Arrival) -> None:
        try:
            # of a connection that is about to break
            while (older := self._by_key.get(arrival.key)) is not None:
                older.peer.abort()
                await older.over.wait()
            self._by_key[arrival.key] = arrival
            try:
                part = arrival.part = await self._in_thread(self.store.open_part, arrival.key, arrival.size)
                if arrival.peer.closed:
                    await self._in_thread(part.park)
                    raise ConnectionLost("it is gone")
                arrival.sink = Sink(part, on_taken=lambda size: self._on_taken(arrival, size), pool=self._pool)
            except BaseException:
                self._leave(arrival)
                raise
            arrival.peer.send(msg.SendFrom(arrival.request, part.written))
        except (TitanError, OSError) as e:
            self._refuse(arrival, e)

    def _on_taken(self, arrival: _Arrival, size: int) -> None:
        self._backlog.add(arrival.peer, -size)
        if not arrival.peer.closed:
            arrival.peer.send(msg.FileTaken(arrival.request, size))

    def on_file_piece(self, peer: Peer, message: msg.FilePiece, blob: Blob) -> None:
        arrival = self._arrivals.get(peer, {}).get(message.request)
        if arrival is None or arrival.sink is None or arrival.ending:
            return  # it was refused
        sink = arrival.sink
        try:
            if sink.received + len(blob) > arrival.size:
                raise CallerError(f"more bytes than the {arrival.size:,} that were announced")
            if sink.waiting + len(blob) > msg.FILE_WINDOW:
                raise ProtocolError(f"more than {msg.FILE_WINDOW:,} bytes of a file before FileTaken came")
            sink.put(message.offset, blob)
        except TitanError as e:
            arrival.ending = True
            self._spawn(self._give_up(arrival, e))
            return
        self._backlog.add(peer, len(blob))
        if sink.error is not None:
            arrival.ending = True
            self._spawn(self._end(arrival, ""))

    def on_file_end(self, peer: Peer, message: msg.FileEnd) -> None:
        arrival = self._arrivals.get(peer, {}).get(message.request)
        if arrival is None or arrival.ending:
            return
        if arrival.sink is None:
            raise CallerError("a file ended that had not begun: wait for SendFrom")
        arrival.ending = True
        self._spawn(self._end(arrival, message.hash))

    async def _end(self, arrival: _Arrival, hash_: str) -> None:
        assert arrival.sink is not None and arrival.part is not None, arrival.key
        try:
            await arrival.sink.idle()
            await self._in_thread(arrival.part.finish, hash_)
        except (TitanError, OSError) as e:
            await self._give_up(arrival, e)
            return
        self._leave(arrival)
        self._confirm(arrival, hash_)

    async def _give_up(self, arrival: _Arrival, error: TitanError | OSError) -> None:
        """What came is of no use."""
        await self._stop(arrival)
        if arrival.part is not None:
            await self._in_thread(arrival.part.discard)
        self._leave(arrival)
        self._refuse(arrival, error)

    async def _park(self, arrival: _Arrival) -> None:
        """Its connection broke: it may go on on another."""
        await self._stop(arrival)
        if arrival.part is not None:
            await self._in_thread(arrival.part.park)
        self._leave(arrival)

    async def _stop(self, arrival: _Arrival) -> None:
        """Nobody writes to its part any more."""
        if arrival.sink is not None:
            await arrival.sink.stop()
            self._backlog.add(arrival.peer, -arrival.sink.waiting)

    def _confirm(self, arrival: _Arrival, hash_: str) -> None:
        self._drop(arrival)
        if not arrival.peer.closed:
            arrival.peer.send(msg.Stored(arrival.request, hash_))

    def _refuse(self, arrival: _Arrival, error: TitanError | OSError) -> None:
        self._drop(arrival)
        if isinstance(error, OSError):
            error = EnvironmentFault(f"the master could not keep the file: {error.strerror or error}")
        if not arrival.peer.closed:
            arrival.peer.send(error_of(arrival.request, error))

    def _leave(self, arrival: _Arrival) -> None:
        if self._by_key.get(arrival.key) is arrival:
            del self._by_key[arrival.key]
        arrival.over.set()

    def _drop(self, arrival: _Arrival) -> None:
        self._arrivals.get(arrival.peer, {}).pop(arrival.request, None)

    # -- out ---------------------------------------------------------------------------------------
    def on_fetch_file(self, peer: Peer, message: msg.FetchFile) -> None:
        if (
            not message.offset
            and is_proved(self.store.nearby, message.proof)
            and (seal := self.store.seal(message.hash)) is not None
        ):
            peer.send(msg.FileHere(message.request, *seal))
            return
        if not message.offset and not peer.congested and (whole := self.store.read_now(message.hash, SMALL_BYTES)) is not None:
            peer.send(msg.FilePiece(message.request, 0, len(whole)), whole, plain=True)
            return
        departures = self._departures.setdefault(peer, {})
        if message.request in departures or len(departures) >= MAX_DEPARTURES:
            raise CallerError(f"{MAX_DEPARTURES:,} files were asked for on this connection: take some first")
        departure = departures[message.request] = _Departure()
        turns = self._turns.setdefault(peer, asyncio.Semaphore(AT_ONCE))
        departure.task = self._spawn(self._serve(peer, message, departure, turns), name="departure")
        departure.task.add_done_callback(lambda _: departures.pop(message.request, None))

    def on_file_taken(self, peer: Peer, message: msg.FileTaken) -> None:
        departure = self._departures.get(peer, {}).get(message.request)
        if departure is not None:
            departure.taken += message.size
            departure.news.set()

    def on_stop_sending(self, peer: Peer, message: msg.StopSending) -> None:
        departure = self._departures.get(peer, {}).get(message.fetch)
        if departure is not None and departure.task is not None:
            departure.task.cancel()

    async def _serve(self, peer: Peer, message: msg.FetchFile, departure: _Departure, turns: asyncio.Semaphore) -> None:
        async with turns:
            if peer.closed:
                return
            try:
                opening = self._in_thread(self._open, message.hash, message.offset)
                try:
                    source, first = await asyncio.shield(opening)
                except asyncio.CancelledError:
                    opening.add_done_callback(_close_opened)
                    raise
                try:

                    async def room(end: int) -> None:
                        while end - message.offset - departure.taken > msg.FILE_WINDOW:
                            departure.news.clear()
                            await departure.news.wait()

                    await pump(peer, message.request, source, message.offset, room, self._pool, first)
                finally:
                    source.close()
            except ConnectionLost:
                pass  # it asks again on its next connection
            except (TitanError, OSError) as e:
                if not isinstance(e, TitanError):
                    e = EnvironmentFault(f"the file {message.hash[:12]} cannot be read: {e.strerror or e}")
                if not peer.closed:
                    peer.send(error_of(message.request, e))

    def _open(self, hash_: str, offset: int) -> tuple[Reader, Bytes]:
        """And the first piece: of most there is no other."""
        source = self.store.open(hash_)
        try:
            if not 0 <= offset <= source.size:
                raise CallerError(f"a file of {source.size:,} bytes has nothing at {offset:,}")
            return source, source.read(offset)
        except BaseException:
            source.close()
            raise

    def _in_thread(self, work: Callable[..., T], *args: Any) -> asyncio.Future[T]:
        return asyncio.get_running_loop().run_in_executor(self._pool, work, *args)

    def _spawn(self, work: Coroutine[Any, Any, None], *, name: str = "") -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._on_task_done)
        return task

    def _on_task_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("a file could not be dealt with", exc_info=task.exception())


def _close_opened(opening: asyncio.Future[tuple[Reader, Bytes]]) -> None:
    """Of a departure that was stopped meanwhile."""
    if not opening.cancelled() and opening.exception() is None:
        opening.result()[0].close()


def _hashed(peer: Peer, message: msg.SendFile) -> Seal | None:
    """Return the seal that the file of a worker had when it was hashed. None, as for a file of a
    client: the master hashes it."""
    return Seal(message.inode, message.size, message.mtime_ns) if peer.role == "worker" and message.mtime_ns else None
