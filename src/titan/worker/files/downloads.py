"""Downloads of scripts, archives, functions and values from the master into this worker's cache.
Simultaneous requests for the same content share one download."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from titan.content.transfer import DamagedCopy, fetch_file
from titan.errors import EnvironmentFault, PeerError, TitanError
from titan.worker.files.cache import disk_problem
from titan.worker.requests import WorkerLines

AT_ONCE = 64
"""Maximum number of simultaneous downloads. Further downloads wait."""


class Downloads:
    """Downloader into a cache. `fetched(hash, problem, retryable)` is called at the end of each
    download. `problem` is "" on success."""

    def __init__(
        self,
        cache: Path,
        lines: WorkerLines,
        *,
        spawn: Callable[[Coroutine[Any, Any, None]], None],
        fetched: Callable[[str, str, bool], None],
    ) -> None:
        """Create an idle downloader. `spawn` runs a coroutine in the background. A download that a
        lost connection interrupts continues on the next connection."""
        self._cache = cache
        self._lines = lines
        self._spawn = spawn
        self._fetched = fetched
        self._under_way: dict[str, None] = {}
        self._turns = asyncio.Semaphore(AT_ONCE)

    def begin(self, hash_: str) -> None:
        if hash_ not in self._under_way:
            self._under_way[hash_] = None
            self._spawn(self._fetch(hash_))

    async def _fetch(self, hash_: str) -> None:
        part = self._cache / f"{hash_}.part"
        problem, retryable = "", True
        try:
            async with self._turns:
                await fetch_file(self._lines, hash_, part)
            part.rename(self._cache / hash_)
        except OSError as e:
            problem = disk_problem(e)
        except TitanError as e:
            local = e.__cause__
            problem, retryable = disk_problem(local) if isinstance(local, OSError) else str(e), is_retryable(e)
        finally:
            if problem:
                part.unlink(missing_ok=True)
        del self._under_way[hash_]
        self._fetched(hash_, problem, retryable)


def is_retryable(error: TitanError) -> bool:
    """Return whether a failed download may succeed later, or on another worker."""
    return error.retryable or (isinstance(error, (EnvironmentFault, PeerError)) and not isinstance(error, DamagedCopy))
