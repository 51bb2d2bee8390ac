"""HyperQueue through its Python package: a server and a worker of two cores.
https://it4innovations.github.io/hyperqueue

Its client checks only once a second whether a job is over. So the end of a round is the time of the
newest output file of a task, and a single task is not timed.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from benchmarks.compare.peer import SLOTS, Peer


class HyperQueue(Peer):
    title = "HyperQueue"
    distribution = "hyperqueue"
    module = "hyperqueue"
    loopback = False

    def start(self) -> None:
        from hyperqueue import LocalCluster
        from hyperqueue.cluster import WorkerConfig

        cluster = self.stack.enter_context(LocalCluster(str(self.home / "server"), WorkerConfig(cores=SLOTS)))
        self.client = cluster.client()
        self.rounds = 0

    def scripts(self, script: Path, count: int) -> float:
        return self._run([sys.executable, str(script)], count)

    def processes(self, count: int) -> float:
        return self._run(["true"], count)

    def _run(self, command: list[str], count: int) -> float:
        from hyperqueue import Job

        self.rounds += 1
        folder = self.home / f"round-{self.rounds}"
        folder.mkdir()
        began = time.time()
        job = Job(default_workdir=folder)
        for _ in range(count):
            job.program(command)
        self.client.wait_for_jobs([self.client.submit(job)])
        with os.scandir(folder) as entries:
            ended = [entry.stat().st_mtime for entry in entries if entry.name.endswith(".stderr")]
        if len(ended) != count:
            raise RuntimeError(f"{len(ended)} of {count} tasks left an output")
        return max(ended) - began
