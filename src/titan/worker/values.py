"""Large values on their way to the master: sent as artifacts beside all else on the one connection, before their results are.

A lease is held from the moment its value is known here until the master has said that it is stored; so nobody is told of a value
that could be lost. After a cut everything that was not confirmed is sent again. Owns what is sent when, and which values of the
cache are kept; must not know what a value is.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path

from titan.peer import Peer
from titan.protocol import messages as msg

log = logging.getLogger("titan.worker")

PIECE_BYTES = 1 << 20
UNCONFIRMED_BYTES = 64 << 20
"""So much may be sent before the first of it is confirmed."""
KEEP_BYTES = 256 << 20
"""Values that stay in the cache; above, those that were not used for the longest time go."""
AGAIN_S = 5.0
"""After the master could not store one."""


class Values:
    """`peer()` is the connection if there is one that is registered; `on_stored(lease)` comes once for each lease that is held."""

    def __init__(
        self,
        cache: Path,
        *,
        peer: Callable[[], Peer | None],
        next_request: Callable[[], int],
        on_stored: Callable[[int], None],
        in_use: Callable[[], Iterable[str]],
        on_dropped: Callable[[str], None],
    ) -> None:
        """`in_use()`: hashes that must stay; `on_dropped(hash)`: it is no longer in the cache."""
        self._cache = cache
        self._peer = peer
        self._next_request = next_request
        self._on_stored = on_stored
        self._in_use = in_use
        self._on_dropped = on_dropped
        self._leases: dict[int, str] = {}
        self._waiting: dict[str, dict[int, None]] = {}
        """hash -> leases, of all that is not stored."""
        self._queue: deque[str] = deque()
        self._sent: dict[str, int] = {}
        """hash -> size, of what was sent and is not confirmed."""
        self._requests: dict[int, str] = {}
        self._kept: dict[str, int] = {}
        """hash -> size, the one used last at the end."""
        self._kept_bytes = 0
        self._news = asyncio.Event()

    def path(self, hash_: str) -> str:
        return f"{self._cache}/{hash_}"

    def holds(self, lease: int) -> bool:
        return lease in self._leases

    def hold(self, lease: int, hash_: str, size: int) -> None:
        """The value of `lease` lies in the cache and is to be stored."""
        self.keep(hash_, size)
        self._leases[lease] = hash_
        leases = self._waiting.get(hash_)
        if leases is None:
            leases = self._waiting[hash_] = {}
            self._queue.append(hash_)
            self._news.set()
        leases[lease] = None

    def forget(self, lease: int) -> None:
        hash_ = self._leases.pop(lease, None)
        if hash_ is not None:
            self._waiting[hash_].pop(lease, None)

    def keep(self, hash_: str, size: int) -> None:
        """A value is in the cache, or was used. Makes room."""
        self._kept_bytes += size - self._kept.pop(hash_, 0)
        self._kept[hash_] = size
        if self._kept_bytes <= KEEP_BYTES:
            return
        needed = {*self._in_use(), *self._waiting, hash_}
        for old in [h for h in self._kept if h not in needed]:
            self._kept_bytes -= self._kept.pop(old)
            Path(self.path(old)).unlink(missing_ok=True)
            self._on_dropped(old)
            if self._kept_bytes <= KEEP_BYTES:
                return

    # -- the connection -------------------------------------------------------------------------------------------------
    def on_disconnected(self) -> None:
        self._requests.clear()
        self._sent.clear()
        self._queue = deque(self._waiting)

    def heard(self, message: msg.Message) -> bool:
        """Whether the message was for this."""
        match message:
            case msg.Registered():
                self._news.set()
                return False
            case msg.Stored():
                self._stored(message.hash)
                return True
            case msg.Error() if message.request in self._requests:
                hash_ = self._requests.pop(message.request)
                log.warning("value %s was not stored: %s; it is sent again", hash_[:12], message.message)
                self._sent.pop(hash_, None)
                asyncio.get_running_loop().call_later(AGAIN_S, self._send_again, hash_)
                return True
        return False

    def _stored(self, hash_: str) -> None:
        self._sent.pop(hash_, None)
        self._requests = {request: other for request, other in self._requests.items() if other != hash_}
        leases = self._waiting.pop(hash_, {})
        for lease in leases:
            del self._leases[lease]
            self._on_stored(lease)
        self._news.set()

    def _send_again(self, hash_: str) -> None:
        if hash_ in self._waiting and hash_ not in self._queue:
            self._queue.append(hash_)
            self._news.set()

    async def run(self) -> None:
        """Sends what waits, as fast as the master reads; sleeps otherwise."""
        while True:
            await self._news.wait()
            self._news.clear()
            while self._queue and sum(self._sent.values()) < UNCONFIRMED_BYTES and (peer := self._peer()) is not None:
                hash_ = self._queue.popleft()
                if not self._waiting.get(hash_):
                    self._waiting.pop(hash_, None)
                    continue
                try:
                    await self._send(peer, hash_)
                except ConnectionError:
                    break
                except OSError as e:
                    log.error("value %s cannot be read: %s", hash_[:12], e)
                    asyncio.get_running_loop().call_later(AGAIN_S, self._send_again, hash_)

    async def _send(self, peer: Peer, hash_: str) -> None:
        request = self._next_request()
        self._requests[request] = hash_
        fd = os.open(self.path(hash_), os.O_RDONLY)
        try:
            size = os.fstat(fd).st_size
            self._sent[hash_] = size
            at = 0
            while True:
                piece = os.pread(fd, PIECE_BYTES, at)
                peer.send(msg.Put(request, hash_, size, at), piece)
                at += len(piece)
                if at >= size or not piece:
                    return
                await peer.drain()
                if self._requests.get(request) != hash_:
                    return  # the master has it already, or cannot take it
        finally:
            os.close(fd)
