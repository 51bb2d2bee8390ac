"""Ray tasks on a cluster of this machine with two CPUs. https://docs.ray.io"""

from __future__ import annotations

import os
from collections.abc import Iterable

from benchmarks.compare import tasks
from benchmarks.compare.peer import SLOTS, Peer


class Ray(Peer):
    title = "Ray"
    distribution = "ray"
    module = "ray"
    loopback = False

    def start(self) -> None:
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        import ray

        self.ray = ray
        ray.init(
            num_cpus=SLOTS,
            include_dashboard=False,
            log_to_driver=False,
            _node_ip_address="127.0.0.1",
            _temp_dir=str(self.home),
        )
        self.stack.callback(ray.shutdown)
        self.same, self.inc, self.blob = (ray.remote(each) for each in (tasks.same, tasks.inc, tasks.blob))

    def functions(self, count: int) -> Iterable[int]:
        results: list[int] = self.ray.get([self.same.remote(i) for i in range(count)])
        return results

    def call(self, x: int) -> int:
        result: int = self.ray.get(self.same.remote(x))
        return result

    def chain(self, length: int) -> int:
        ref = self.inc.remote(0)
        for _ in range(length - 1):
            ref = self.inc.remote(ref)
        result: int = self.ray.get(ref)
        return result

    def blobs(self, count: int, size: int) -> Iterable[bytes]:
        refs = [self.blob.remote(i, size) for i in range(count)]
        while refs:
            ready, refs = self.ray.wait(refs)
            yield self.ray.get(ready.pop())
