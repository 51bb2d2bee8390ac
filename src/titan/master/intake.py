"""Artifacts that arrive in pieces, from clients and from workers: hashed, written and synced by threads, at the pace of the disk.

Owns what is under way on each connection and how much of it may wait in memory; a sender that is ahead is not read from until
the disk has caught up. The registry owns where artifacts lie; what one is for, nobody here knows.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import cycle

from titan.errors import CallerError, EnvironmentFault, TitanError
from titan.master.registry import Registry, Upload
from titan.peer import Peer
from titan.protocol import messages as msg
from titan.protocol.codec import Blob, error_of

MAX_UPLOADS = 64
THREADS = 2
PEER_BYTES = 8 << 20
ALL_BYTES = 64 << 20
"""What may wait for the disk, of one sender and of all; then they are not read from until half of it is written."""
_WHY = "intake"


class _Arrival:
    """One upload of one connection. All its work is done by one thread, in order."""

    def __init__(self, request: int, upload: Upload, thread: ThreadPoolExecutor) -> None:
        self.request = request
        self.upload = upload
        self.thread = thread
        self.received = 0
        """What was handed to the thread."""


class Intake:
    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._loop = asyncio.get_running_loop()
        self._threads = [ThreadPoolExecutor(1, thread_name_prefix="titan-intake") for _ in range(THREADS)]
        self._next = cycle(self._threads)
        self._arrivals: dict[Peer, dict[str, _Arrival]] = {}
        self._waiting: dict[Peer, int] = {}
        self._all = 0
        self._held: dict[Peer, None] = {}
        """Those that are not read from."""

    def put(self, peer: Peer, it: msg.Put, blob: Blob) -> None:
        """A piece. The answer comes after the last one, or at once if the artifact is here. Raises TitanError, OSError."""
        arrivals = self._arrivals.setdefault(peer, {})
        arrival = arrivals.get(it.hash)
        if arrival is None or it.offset == 0:
            if arrival is not None:
                self._drop(peer, it.hash)
            if not it.name and self._registry.has(it.hash):
                if it.offset == 0:
                    peer.send(msg.Stored(it.request, it.hash))
                return  # the other pieces were under way already
            if len(arrivals) >= MAX_UPLOADS:
                raise CallerError(f"{MAX_UPLOADS} uploads are under way on this connection already: finish one")
            arrival = arrivals[it.hash] = _Arrival(it.request, self._registry.begin(it.hash, it.size), next(self._next))
        arrival.received += len(blob)
        last = arrival.received >= arrival.upload.size
        if last:
            del arrivals[it.hash]
        self._count(peer, len(blob))
        future = arrival.thread.submit(self._work, arrival.upload, it.offset, blob, it.name if last else None)
        future.add_done_callback(partial(self._tell_loop, peer, arrival, len(blob), last))

    def forget(self, peer: Peer) -> None:
        """The connection is closed."""
        for hash_ in list(self._arrivals.get(peer, ())):
            self._drop(peer, hash_)
        self._arrivals.pop(peer, None)
        self._held.pop(peer, None)

    async def close(self) -> None:
        for peer in list(self._arrivals):
            self.forget(peer)
        for thread in self._threads:
            await self._loop.run_in_executor(None, thread.shutdown)

    def _work(self, upload: Upload, offset: int, blob: Blob, name: str | None) -> None:
        """In a thread. `name` None: more pieces follow."""
        upload.write(offset, blob)
        if name is not None:
            self._registry.enter(upload, name)

    def _tell_loop(self, peer: Peer, arrival: _Arrival, size: int, last: bool, future: Future[None]) -> None:
        try:
            self._loop.call_soon_threadsafe(self._on_done, peer, arrival, size, last, future)
        except RuntimeError:  # the loop is closed
            pass

    def _on_done(self, peer: Peer, arrival: _Arrival, size: int, last: bool, future: Future[None]) -> None:
        self._count(peer, -size)
        upload = arrival.upload
        error = future.exception()
        if error is None:
            if last:
                peer.send(msg.Stored(arrival.request, upload.hash))
            return
        if upload.dropped:  # said already
            return
        if self._arrivals.get(peer, {}).get(upload.hash) is arrival:
            self._drop(peer, upload.hash)
        else:
            self._abandon(arrival)
        if not isinstance(error, TitanError):
            error = EnvironmentFault(f"the master could not store the artifact: {error}")
        peer.send(error_of(arrival.request, error))

    def _drop(self, peer: Peer, hash_: str) -> None:
        self._abandon(self._arrivals[peer].pop(hash_))

    def _abandon(self, arrival: _Arrival) -> None:
        arrival.upload.dropped = True
        arrival.thread.submit(arrival.upload.abandon)

    def _count(self, peer: Peer, size: int) -> None:
        mine = self._waiting.get(peer, 0) + size
        self._all += size
        if mine:
            self._waiting[peer] = mine
        else:
            self._waiting.pop(peer, None)
        if size > 0 and peer not in self._held and (mine > PEER_BYTES or self._all > ALL_BYTES):
            self._held[peer] = None
            peer.pause_reading(_WHY)
        elif size < 0 and self._held:
            everyone = self._all < ALL_BYTES // 2
            for held in [p for p in self._held if everyone and self._waiting.get(p, 0) < PEER_BYTES // 2]:
                del self._held[held]
                held.resume_reading(_WHY)
