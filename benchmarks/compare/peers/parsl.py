"""Parsl's HighThroughputExecutor with one block of two workers on this machine.
https://parsl.readthedocs.io"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

from benchmarks.compare import tasks
from benchmarks.compare.peer import SLOTS, Peer


class Parsl(Peer):
    """`prefetch_capacity`: Parsl's documentation recommends 0 for few or long tasks, and these
    tasks are neither."""

    title = "Parsl"
    distribution = "parsl"
    module = "parsl"

    def start(self) -> None:
        import parsl
        from parsl.config import Config
        from parsl.executors import HighThroughputExecutor
        from parsl.providers import LocalProvider

        executor = HighThroughputExecutor(
            label="bench",
            address="127.0.0.1",
            max_workers_per_node=SLOTS,
            prefetch_capacity=100,
            encrypted=False,
            provider=LocalProvider(init_blocks=1, min_blocks=1, max_blocks=1),
        )
        self.stack.enter_context(parsl.load(Config(executors=[executor], run_dir=str(self.home / "runinfo"), usage_tracking=0)))
        self.same, self.inc, self.blob = (parsl.python_app(each) for each in (tasks.same, tasks.inc, tasks.blob))
        self.bash = parsl.bash_app(run)
        self.same(0).result()

    def functions(self, count: int) -> Iterable[int]:
        return [future.result() for future in [self.same(i) for i in range(count)]]

    def call(self, x: int) -> int:
        result: int = self.same(x).result()
        return result

    def chain(self, length: int) -> int:
        future = self.inc(0)
        for _ in range(length - 1):
            future = self.inc(future)
        result: int = future.result()
        return result

    def blobs(self, count: int, size: int) -> Iterable[bytes]:
        futures = [self.blob(i, size) for i in range(count)]
        futures.reverse()
        while futures:
            yield futures.pop().result()

    def scripts(self, script: Path, count: int) -> None:
        self._run([f"{sys.executable} {script}"] * count)

    def processes(self, count: int) -> None:
        self._run(["true"] * count)

    def script(self, script: Path) -> None:
        self._run([f"{sys.executable} {script}"])

    def _run(self, commands: list[str]) -> None:
        for future in [self.bash(command) for command in commands]:
            future.result()


def run(command: str) -> str:
    """Return the command line: this is the body of a bash app."""
    return command
