"""Celery with Redis as its broker and result backend, one worker of two processes.
https://docs.celeryq.dev"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from importlib import metadata

from benchmarks.compare.peer import SLOTS, Peer, await_true, stop


class Celery(Peer):
    title = "Celery, Redis"
    distribution = "celery"
    module = "celery"

    @classmethod
    def absent(cls) -> str:
        try:
            metadata.version("redis")
        except metadata.PackageNotFoundError:
            return "redis for Python is not installed"
        return super().absent() or ("" if shutil.which("redis-server") else "there is no redis-server here")

    @classmethod
    def version(cls) -> str:
        said = subprocess.run(["redis-server", "--version"], capture_output=True, text=True, check=False).stdout
        server = next((word.removeprefix("v=") for word in said.split() if word.startswith("v=")), "?")
        return f"{super().version()}, redis-server {server}"

    def start(self) -> None:
        redis = self.home / "redis.sock"
        server = self._start("redis-server", "--port", "0", "--unixsocket", str(redis), "--dir", str(self.home))
        await_true(lambda: _alive(server) and redis.exists())
        # otherwise Celery refuses pickled results as root; only processes in this network can reach
        # this Redis
        os.environ["C_FORCE_ROOT"] = "true"
        os.environ["BENCH_REDIS"] = f"redis+socket://{redis}"
        from benchmarks.compare.peers import celery_tasks

        self.app = celery_tasks
        words = ("-A", celery_tasks.__name__, "worker", f"--concurrency={SLOTS}", "--loglevel=WARNING")
        worker = self._start(sys.executable, "-m", "celery", *words)
        await_true(lambda: _alive(worker) and celery_tasks.app.control.ping(timeout=0.2))
        self.stack.callback(celery_tasks.app.close)

    def _start(self, *command: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        self.stack.callback(stop, process)
        return process

    def functions(self, count: int) -> Iterable[int]:
        from celery import group

        results: list[int] = group(self.app.same.s(i) for i in range(count))().get()
        return results

    def call(self, x: int) -> int:
        result: int = self.app.same.delay(x).get()
        return result

    def chain(self, length: int) -> int:
        from celery import chain

        rest = [self.app.inc.s() for _ in range(length - 1)]
        result: int = chain(self.app.inc.s(0), *rest)().get()
        return result

    def blobs(self, count: int, size: int) -> Iterable[bytes]:
        for result in [self.app.blob.delay(i, size) for i in range(count)]:
            yield result.get()
            result.forget()


def _alive(process: subprocess.Popen[bytes]) -> bool:
    if process.poll() is not None:
        raise RuntimeError(f"{process.args!r} ended with code {process.returncode}")
    return True
