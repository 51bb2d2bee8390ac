"""Files come in from workers and clients, and go out to them; what is published is looked up.

Each is a task of its own beside the connection's other messages. What arrives is on disk before it is confirmed. Owns what is on
its way on each connection; what a file is for is the core's.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from titan.errors import CallerError, ConnectionLost, EnvironmentFault, LimitExceeded, TitanError
from titan.master.kept_files import KeptFiles
from titan.master.registry import Registry
from titan.peer import Peer
from titan.protocol import messages as msg
from titan.protocol.codec import Blob, error_of
from titan.transfer import PIECE_BYTES, Sink, Source, pump

log = logging.getLogger("titan.master")

THREADS = 8
MAX_ARRIVALS = 64
MAX_DEPARTURES = 1024
"""Of one connection; those that are under way, and those that wait."""
AT_ONCE = 8
"""So many files go out to one connection at once."""
PARKED = 256
"""Files that were cut whose hash so far is known; of others what is there is read again."""


class _Arrival:
    def __init__(self, peer: Peer, it: msg.SendFile) -> None:
        self.peer = peer
        self.request = it.request
        self.key = it.key
        self.size = it.size
        self.sink: Sink | None = None
        self.ending = False
        self.over = asyncio.Event()


class _Departure:
    def __init__(self) -> None:
        self.taken = 0
        self.news = asyncio.Event()
        self.task: asyncio.Task[None] | None = None


class FileDesk:
    def __init__(self, kept: KeptFiles, registry: Registry, *, most_bytes: int) -> None:
        """`most_bytes`: of one file."""
        self.kept = kept
        self._registry = registry
        self._most_bytes = most_bytes
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="titan-files")
        self._arrivals: dict[Peer, dict[int, _Arrival]] = {}
        self._by_key: dict[str, _Arrival] = {}
        self._departures: dict[Peer, dict[int, _Departure]] = {}
        self._turns: dict[Peer, asyncio.Semaphore] = {}
        self._parked: dict[str, tuple[int, Any]] = {}
        """Key -> (bytes on disk, their hash so far)."""
        self._tasks: set[asyncio.Task[None]] = set()

    def forget(self, peer: Peer) -> None:
        """The connection is closed. What was coming in stays for its sender to go on."""
        for departure in list(self._departures.pop(peer, {}).values()):
            if departure.task is not None:
                departure.task.cancel()
        self._turns.pop(peer, None)
        for arrival in list(self._arrivals.pop(peer, {}).values()):
            if not arrival.ending:
                self._spawn(self._park(arrival))

    async def close(self) -> None:
        for peer in [*self._arrivals, *self._departures]:
            self.forget(peer)
        for task in list(self._tasks):
            if task.get_name() == "departure":
                task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.get_running_loop().run_in_executor(None, self._pool.shutdown)

    def _announced(self) -> int:
        """Bytes that are announced and not on the disk yet."""
        return sum(a.size - (a.sink.written if a.sink is not None else 0) for a in self._by_key.values())

    def active_parts(self) -> tuple[Path, ...]:
        return tuple([arrival.sink.path for arrival in self._by_key.values() if arrival.sink is not None])

    # -- in -------------------------------------------------------------------------------------------------------------
    def on_send_file(self, peer: Peer, it: msg.SendFile) -> None:
        """Raises TitanError, which becomes the answer; so do all of these."""
        if not 0 <= it.size <= self._most_bytes:
            raise LimitExceeded(f"a file of {it.size:,} bytes; the limit is {self._most_bytes:,} (--set file_bytes=...)")
        arrivals = self._arrivals.setdefault(peer, {})
        if it.request in arrivals or len(arrivals) >= MAX_ARRIVALS:
            raise CallerError(f"{MAX_ARRIVALS} files at once on a connection, each under a request id of its own")
        self.kept.part(it.key)
        arrival = arrivals[it.request] = _Arrival(peer, it)
        self._spawn(self._begin(arrival, it))

    async def _begin(self, arrival: _Arrival, it: msg.SendFile) -> None:
        try:
            loop = asyncio.get_running_loop()
            if it.hash and self.kept.touch(it.hash):
                self._drop(arrival)
                arrival.peer.send(msg.Stored(it.request, it.hash))
                return
            while (older := self._by_key.get(it.key)) is not None:  # of a connection that is about to break
                older.peer.abort()
                await older.over.wait()
            self._by_key[it.key] = arrival
            try:
                path = self.kept.part(it.key)
                known = self._parked.pop(it.key, None)
                here, digest = await loop.run_in_executor(self._pool, _what_is_there, path, it.size, known)
                await loop.run_in_executor(self._pool, self.kept.expect_room, self._announced() - here)
                if arrival.peer.closed:
                    raise ConnectionLost("it is gone")
                arrival.sink = Sink(
                    path,
                    on_taken=lambda size: self._on_taken(arrival, size),
                    pool=self._pool,
                    written=here,
                    digest=digest,
                    writeback=True,
                )
            except BaseException:
                self._leave(arrival)
                raise
            arrival.peer.send(msg.SendFrom(it.request, here))
        except (TitanError, OSError) as e:
            self._refuse(arrival, e)

    def _on_taken(self, arrival: _Arrival, size: int) -> None:
        if not arrival.peer.closed:
            arrival.peer.send(msg.FileTaken(arrival.request, size))

    def on_file_piece(self, peer: Peer, it: msg.FilePiece, blob: Blob) -> None:
        arrival = self._arrivals.get(peer, {}).get(it.request)
        if arrival is None or arrival.sink is None or arrival.ending:
            return  # it was refused
        try:
            if arrival.sink.received + len(blob) > arrival.size:
                raise CallerError(f"more bytes than the {arrival.size:,} that were announced")
            arrival.sink.put(it.offset, blob)
        except TitanError as e:
            arrival.ending = True
            self._spawn(self._give_up(arrival, e))
            return
        if arrival.sink.error is not None:
            arrival.ending = True
            self._spawn(self._end(arrival, ""))

    def on_file_end(self, peer: Peer, it: msg.FileEnd) -> None:
        arrival = self._arrivals.get(peer, {}).get(it.request)
        if arrival is not None and not arrival.ending:
            arrival.ending = True
            self._spawn(self._end(arrival, it.hash))

    async def _end(self, arrival: _Arrival, hash_: str) -> None:
        sink, loop = arrival.sink, asyncio.get_running_loop()
        try:
            if sink is None:
                raise CallerError("a file ended that had not begun: wait for SendFrom")
            arrived = await sink.finish(sync=True)
            if sink.received != arrival.size or arrived != hash_:
                sink.path.unlink(missing_ok=True)
                what = "another content than its hash says" if sink.received == arrival.size else f"{sink.received:,} bytes"
                raise CallerError(f"a file of {arrival.size:,} bytes arrived with {what}: send it again")
            await loop.run_in_executor(self._pool, self.kept.enter, sink.path, hash_)
        except (TitanError, OSError) as e:
            await self._give_up(arrival, e)
            return
        self._leave(arrival)
        self._drop(arrival)
        if not arrival.peer.closed:
            arrival.peer.send(msg.Stored(arrival.request, hash_))

    async def _give_up(self, arrival: _Arrival, error: TitanError | OSError) -> None:
        """What came is of no use."""
        if arrival.sink is not None:
            await arrival.sink.park()
            arrival.sink.path.unlink(missing_ok=True)
        self._leave(arrival)
        self._refuse(arrival, error)

    async def _park(self, arrival: _Arrival) -> None:
        """Its connection broke: it may go on on another."""
        sink = arrival.sink
        if sink is not None:
            await sink.park()
            if sink.error is None:
                self._parked[arrival.key] = (sink.written, sink.digest)
                while len(self._parked) > PARKED:
                    del self._parked[next(iter(self._parked))]
        self._leave(arrival)

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

    # -- out ------------------------------------------------------------------------------------------------------------
    def on_fetch_file(self, peer: Peer, it: msg.FetchFile) -> None:
        departures = self._departures.setdefault(peer, {})
        if it.request in departures or len(departures) >= MAX_DEPARTURES:
            raise CallerError(f"{MAX_DEPARTURES:,} files were asked for on this connection: take some first")
        departure = departures[it.request] = _Departure()
        turns = self._turns.setdefault(peer, asyncio.Semaphore(AT_ONCE))
        departure.task = self._spawn(self._serve(peer, it, departure, turns), name="departure")
        departure.task.add_done_callback(lambda _: departures.pop(it.request, None))

    def on_file_taken(self, peer: Peer, it: msg.FileTaken) -> None:
        departure = self._departures.get(peer, {}).get(it.request)
        if departure is not None:
            departure.taken += it.size
            departure.news.set()

    def on_stop_sending(self, peer: Peer, it: msg.StopSending) -> None:
        departure = self._departures.get(peer, {}).get(it.fetch)
        if departure is not None and departure.task is not None:
            departure.task.cancel()

    async def _serve(self, peer: Peer, it: msg.FetchFile, departure: _Departure, turns: asyncio.Semaphore) -> None:
        loop = asyncio.get_running_loop()
        async with turns:
            if peer.closed:
                return
            try:
                staged = not self.kept.has(it.hash) and self._registry.has(it.hash)
                path = self._registry.path(it.hash) if staged else self.kept.path(it.hash)
                source = await loop.run_in_executor(self._pool, Source, path, it.hash)
                try:
                    if not 0 <= it.offset <= source.size:
                        raise CallerError(f"a file of {source.size:,} bytes has nothing at {it.offset:,}")

                    async def room(end: int) -> None:
                        while end - it.offset - departure.taken > msg.FILE_WINDOW:
                            departure.news.clear()
                            await departure.news.wait()

                    await pump(peer, it.request, source, it.offset, room, self._pool)
                finally:
                    source.close()
            except ConnectionLost:
                pass  # it asks again on its next connection
            except (TitanError, OSError) as e:
                if not isinstance(e, TitanError):
                    e = EnvironmentFault(f"the file {it.hash[:12]} cannot be read: {e.strerror or e}")
                if not peer.closed:
                    peer.send(error_of(it.request, e))

    def _spawn(self, work: Coroutine[Any, Any, None], *, name: str = "") -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._on_task_done)
        return task

    def _on_task_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("a file could not be dealt with", exc_info=task.exception())


def _what_is_there(path: Path, size: int, known: tuple[int, Any] | None) -> tuple[int, Any]:
    """Of a file that was cut: how many bytes, and their hash so far. In a thread."""
    try:
        there = path.stat().st_size
    except FileNotFoundError:
        return 0, None
    if known is not None and known[0] <= there:
        return known
    digest, at = hashlib.sha256(), 0
    with path.open("rb", buffering=0) as source:
        while at < min(there, size) and (piece := source.read(min(PIECE_BYTES, size - at))):
            digest.update(piece)
            at += len(piece)
    return at, digest
