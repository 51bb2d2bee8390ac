"""Titan: a private cluster of this machine as the `titan` command starts it. Every decision is
synced, logs are kept, and jobs have sandboxes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import titan
from benchmarks.compare import tasks
from benchmarks.compare.peer import SLOTS, Peer, Unavailable, await_true, stop
from titan import DAG, Client, Job
from titan.cli.local_cluster import LocalCluster


class Titan(Peer):
    title = "Titan"

    @classmethod
    def version(cls) -> str:
        return str(titan.__version__)

    def start(self) -> None:
        cluster = self.stack.enter_context(LocalCluster(self.home / "master", workers=0, fsync="always"))
        for n in range(SLOTS):
            self.stack.callback(stop, self._worker(cluster.address, n))
        self.client = self.stack.enter_context(Client(cluster.address))
        await_true(lambda: sum(each.state == "ALIVE" for each in self.client.workers()) == SLOTS)

    def _worker(self, address: str, n: int) -> subprocess.Popen[bytes]:
        more = ["--preload", "numpy"] if self.workload == "numpy" else []
        command = [sys.executable, "-m", "titan", "worker", "--master", address, "--name", f"w{n}", "--slots", "1", "--quiet"]
        folders = ["--home", str(self.home / f"worker-{n}"), "--shared", str(self.home / "shared")]
        return subprocess.Popen([*command, *folders, *more], stdin=subprocess.DEVNULL)

    def functions(self, count: int) -> Iterable[int]:
        return self.client.map(tasks.same, range(count))

    def call(self, x: int) -> int:
        return self.client.call(tasks.same, x).result()

    def chain(self, length: int) -> int:
        if not hasattr(titan, "task"):
            raise Unavailable("this version has no titan.task")
        inc = titan.task(tasks.inc)
        node = inc(0)
        for _ in range(length - 1):
            node = inc(node)
        result: int = self.client.compute(node).result()  # type: ignore[attr-defined, unused-ignore]
        return result

    def blobs(self, count: int, size: int) -> Iterable[bytes]:
        return self.client.map(tasks.blob, range(count), [size] * count)

    def scripts(self, script: Path, count: int) -> None:
        self._run([Job(f"job-{i}", file=script) for i in range(count)])

    def processes(self, count: int) -> None:
        self._run([Job(f"job-{i}", command=["true"]) for i in range(count)])

    def script(self, script: Path) -> None:
        self._run([Job("job", file=script)])

    def _run(self, jobs: list[Job]) -> None:
        summary = self.client.submit(DAG("bench", jobs)).wait()
        if not summary.ok:
            raise RuntimeError(f"the run ended {summary.state}")
