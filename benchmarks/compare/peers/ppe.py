"""concurrent.futures.ProcessPoolExecutor of the standard library, at its chunk size of 1. No
dependencies, no scripts, no log."""

from __future__ import annotations

import platform
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor

from benchmarks.compare import tasks
from benchmarks.compare.peer import SLOTS, Peer


class ProcessPool(Peer):
    title = f"ProcessPoolExecutor({SLOTS})"

    @classmethod
    def version(cls) -> str:
        return f"Python {platform.python_version()}"

    def start(self) -> None:
        self.pool = self.stack.enter_context(ProcessPoolExecutor(SLOTS))

    def functions(self, count: int) -> Iterable[int]:
        return self.pool.map(tasks.same, range(count))

    def call(self, x: int) -> int:
        return self.pool.submit(tasks.same, x).result()

    def blobs(self, count: int, size: int) -> Iterable[bytes]:
        return self.pool.map(tasks.blob, range(count), [size] * count)
