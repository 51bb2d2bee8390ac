"""Dask's distributed scheduler with two worker processes of one thread.
https://distributed.dask.org"""

from __future__ import annotations

from collections.abc import Iterable

from benchmarks.compare import tasks
from benchmarks.compare.peer import SLOTS, Peer


class Dask(Peer):
    title = "Dask distributed"
    distribution = "distributed"
    module = "distributed"

    def start(self) -> None:
        from distributed import Client, LocalCluster

        cluster = LocalCluster(
            n_workers=SLOTS,
            threads_per_worker=1,
            host="127.0.0.1",
            dashboard_address=None,
            local_directory=str(self.home),
        )
        self.stack.enter_context(cluster)
        self.client = self.stack.enter_context(Client(cluster))

    def functions(self, count: int) -> Iterable[int]:
        futures = self.client.map(tasks.same, range(count), pure=False)
        results: list[int] = self.client.gather(futures)
        return results

    def call(self, x: int) -> int:
        result: int = self.client.submit(tasks.same, x, pure=False).result()
        return result

    def chain(self, length: int) -> int:
        future = self.client.submit(tasks.inc, 0, pure=False)
        for _ in range(length - 1):
            future = self.client.submit(tasks.inc, future, pure=False)
        result: int = future.result()
        return result

    def blobs(self, count: int, size: int) -> Iterable[bytes]:
        from distributed import as_completed

        futures = self.client.map(tasks.blob, range(count), [size] * count, pure=False)
        arriving = as_completed(futures, with_results=True)
        del futures
        for _, data in arriving:
            yield data
