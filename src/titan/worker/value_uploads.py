"""Uploads of large values to the master. They share the one connection with all other traffic. A
value is uploaded before the result that refers to it is reported. A master on the same machine
takes the file itself.

The result of a lease is held back from the moment its value is known here until the master has
confirmed that the value is stored. So a value that could still be lost is never reported. Owns the
order of uploads and which values stay in the cache. This module must not know what a value means.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

from titan.content.nearby import Seal
from titan.content.transfer import SMALL_BYTES, Lines, send_data, send_file
from titan.errors import TitanError
from titan.host.large_files import MemoryProbe, leave_cache
from titan.protocol.messages import FILE_WINDOW

log = logging.getLogger("titan.worker")

UNCONFIRMED_BYTES = 32 << 20
"""Maximum number of unconfirmed bytes. A larger value counts as only FILE_WINDOW bytes."""
KEEP_BYTES = 256 << 20
"""Maximum number of bytes of values in the cache. Beyond it the least recently used are removed."""
AGAIN_S = 5.0
"""Seconds until a value that the master could not store is sent again."""


class Values:
    """Upload queue of values. `on_stored(lease)` is called once for each lease that is held."""

    def __init__(
        self,
        cache: Path,
        *,
        lines: Lines,
        on_stored: Callable[[int], None],
        in_use: Callable[[], Iterable[str]],
        on_dropped: Callable[[str], None],
    ) -> None:
        """Create an empty queue. `in_use()` returns the hashes that must stay. `on_dropped(hash)`
        is called when a value leaves the cache."""
        self._cache = cache
        self._lines = lines
        self._on_stored = on_stored
        self._in_use = in_use
        self._on_dropped = on_dropped
        self._leases: dict[int, str] = {}
        self._waiting: dict[str, dict[int, None]] = {}
        """hash -> leases, for each value that is not stored."""
        self._queue: deque[str] = deque()
        self._seals: dict[str, Seal] = {}
        """hash -> seal (inode, size and time of the file when its writer hashed it), until the
        value is stored."""
        self._memory = MemoryProbe()
        """State of the page cache, as measured by the writers of values."""
        self._unconfirmed = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._kept: dict[str, int] = {}
        """hash -> size, least recently used first."""
        self._kept_bytes = 0
        self._wake = asyncio.Event()

    def path(self, hash_: str) -> str:
        return f"{self._cache}/{hash_}"

    def holds(self, lease: int) -> bool:
        return lease in self._leases

    def hold(self, lease: int, hash_: str, size: int, hashed: Seal | None = None, *, writing_s: float = 0.0) -> None:
        """Hold a lease until its value, which is in the cache, is stored.

        `hashed` is the seal of the file when its writer hashed it. `writing_s` is the CPU time of
        writing it, 0 if unknown.
        """
        if writing_s:
            self._memory.cost(writing_s, size)
        self._seals.pop(hash_, None)
        if hashed is not None:
            self._seals[hash_] = hashed
        self.keep(hash_, size)
        self._leases[lease] = hash_
        leases = self._waiting.get(hash_)
        if leases is None:
            leases = self._waiting[hash_] = {}
            self._queue.append(hash_)
            self._wake.set()
        leases[lease] = None

    def forget(self, lease: int) -> None:
        hash_ = self._leases.pop(lease, None)
        if hash_ is not None:
            self._waiting[hash_].pop(lease, None)

    def keep(self, hash_: str, size: int) -> None:
        """Record that a value is in the cache or was just used, and make room for it."""
        self._kept_bytes += size - self._kept.pop(hash_, 0)
        self._kept[hash_] = size
        if self._kept_bytes <= KEEP_BYTES:
            return
        needed = {*self._in_use(), *self._waiting, hash_}
        for old in [h for h in self._kept if h not in needed]:
            self._kept_bytes -= self._kept.pop(old)
            if self._memory.is_cold:  # the file may also be the master's, which keeps it
                leave_cache(self.path(old))
            Path(self.path(old)).unlink(missing_ok=True)
            self._on_dropped(old)
            if self._kept_bytes <= KEEP_BYTES:
                return

    def _stored(self, hash_: str) -> None:
        self._seals.pop(hash_, None)
        for lease in self._waiting.pop(hash_, {}):
            del self._leases[lease]
            self._on_stored(lease)

    # -- sending -----------------------------------------------------------------------------------
    async def run(self) -> None:
        """Send queued values until cancelled."""
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                while self._queue and self._unconfirmed < UNCONFIRMED_BYTES:
                    hash_ = self._queue.popleft()
                    if self._waiting.get(hash_):
                        self._begin(hash_)
                    else:
                        self._waiting.pop(hash_, None)
                        self._seals.pop(hash_, None)
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _begin(self, hash_: str) -> None:
        size = min(self._kept.get(hash_, 0), FILE_WINDOW)
        self._unconfirmed += size
        task = asyncio.get_running_loop().create_task(self._send(hash_))
        self._tasks.add(task)
        task.add_done_callback(partial(self._on_sent, size))

    def _on_sent(self, size: int, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._unconfirmed -= size
        self._wake.set()
        if not task.cancelled() and task.exception() is not None:
            log.error("a value could not be uploaded", exc_info=task.exception())

    async def _send(self, hash_: str) -> None:
        try:
            if self._kept.get(hash_, SMALL_BYTES + 1) <= SMALL_BYTES:
                await send_data(self._lines, hash_, Path(self.path(hash_)).read_bytes())
            else:
                await send_file(self._lines, self.path(hash_), hash_=hash_, finished=True, hashed=self._seals.get(hash_))
        except (TitanError, OSError) as e:
            log.warning("value %s was not stored: %s; it is sent again", hash_[:12], e)
            asyncio.get_running_loop().call_later(AGAIN_S, self._send_again, hash_)
        else:
            self._stored(hash_)

    def _send_again(self, hash_: str) -> None:
        if hash_ in self._waiting and hash_ not in self._queue:
            self._queue.append(hash_)
            self._wake.set()
