"""Uploads of large values to the master, over the worker's one connection. The worker uploads a
value before it reports the result that refers to the value. A master on the same machine takes the
value's file instead.

The worker holds back the result of a lease until the master has confirmed that the value is stored.
So no reported result can refer to a value that is lost. Owns the order of uploads, and the choice
of the values that stay in the cache. This module must not know the meaning of a value.
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
"""Maximum number of bytes that were sent and not confirmed. A value counts as at most FILE_WINDOW
bytes."""
KEEP_BYTES = 256 << 20
"""Maximum number of bytes of values in the cache. Above it the least recently used values are
removed."""
AGAIN_S = 5.0
"""Seconds until the worker sends a value again that the master could not store."""


class Values:
    """Upload queue of values. `on_stored(lease)` is called once for each lease whose result is held
    back, when the master has stored its value."""

    def __init__(
        self,
        cache: Path,
        *,
        lines: Lines,
        on_stored: Callable[[int], None],
        in_use: Callable[[], Iterable[str]],
        on_dropped: Callable[[str], None],
    ) -> None:
        """Create an empty queue. `in_use()` returns the hashes of the values that must stay in the
        cache. `on_dropped(hash)` is called when a value is removed from the cache."""
        self._cache = cache
        self._lines = lines
        self._on_stored = on_stored
        self._in_use = in_use
        self._on_dropped = on_dropped
        self._leases: dict[int, str] = {}
        self._waiting: dict[str, dict[int, None]] = {}
        """hash -> leases whose result is held back, for each value that the master has not
        stored."""
        self._queue: deque[str] = deque()
        self._seals: dict[str, Seal] = {}
        """hash -> seal (inode, size and time of change of the file when its writer hashed it),
        until the master has stored the value."""
        self._memory = MemoryProbe()
        """State of the page cache, estimated from the CPU times that the writers of values
        report."""
        self._unconfirmed = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._kept: dict[str, int] = {}
        """hash -> size of each value in the cache, least recently used first."""
        self._kept_bytes = 0
        self._wake = asyncio.Event()

    def path(self, hash_: str) -> str:
        return f"{self._cache}/{hash_}"

    def holds(self, lease: int) -> bool:
        return lease in self._leases

    def hold(self, lease: int, hash_: str, size: int, hashed: Seal | None = None, *, writing_s: float = 0.0) -> None:
        """Hold back the result of a lease until the master has stored its value, which is in the
        cache.

        `hashed` is the seal that the file had when its writer hashed it. `writing_s` is the CPU
        time that the writer needed, 0 if unknown.
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
        """Record that a value is in the cache or was just used, and remove other values if the
        cache is full."""
        self._kept_bytes += size - self._kept.pop(hash_, 0)
        self._kept[hash_] = size
        if self._kept_bytes <= KEEP_BYTES:
            return
        needed = {*self._in_use(), *self._waiting, hash_}
        for old in [h for h in self._kept if h not in needed]:
            self._kept_bytes -= self._kept.pop(old)
            # A master on this machine may keep the file. Then unlinking alone would not free the
            # pages of the file in the page cache.
            if self._memory.is_cold:
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
            log.warning("the value %s was not stored: %s; the worker sends it again", hash_[:12], e)
            asyncio.get_running_loop().call_later(AGAIN_S, self._send_again, hash_)
        else:
            self._stored(hash_)

    def _send_again(self, hash_: str) -> None:
        if hash_ in self._waiting and hash_ not in self._queue:
            self._queue.append(hash_)
            self._wake.set()
