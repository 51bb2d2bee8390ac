"""A warden for one test, its link, and all reports about its jobs."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any

import uvloop

from support.reports import named
from support.waiting import until_async
from titan.worker.processes.orders import Command, ProcessOptions, Script
from titan.worker.processes.reports import Report
from titan.worker.processes.warden_link import WardenLink

LOG_LIMIT = 8 * 1024 * 1024
"""Maximum bytes of each stream's log, unless a test sets another limit."""
DEADLINE_S = 10.0
NONE: Mapping[str, Any] = {}
PATH_ONLY = {"PATH": os.environ["PATH"]}


class WardenBench:
    """A link and its reports.

    `env` is the environment of the jobs, to which TITAN_LEASE is added. `link` has options of the
    link. Jobs run in `folder`, and their logs are `KEY.1` (stdout) and `KEY.2` (stderr) there.
    """

    def __init__(self, folder: Path, *, env: Mapping[str, str] = PATH_ONLY, link: Mapping[str, Any] = NONE) -> None:
        self.folder = folder
        self.env = dict(env)
        self.reports: list[tuple[Any, ...]] = []
        self.exits: dict[int, tuple[Any, ...]] = {}
        self.content: dict[tuple[int, int], bytearray] = {}
        self.skipped: dict[tuple[int, int], int] = {}
        """Key and stream -> number of bytes of the stream that were dropped before the newest
        piece."""
        self.returncodes: list[int] = []
        self.link = self.make_link(**link)
        self.on_exit: Callable[[int], None] = lambda key: None

    def make_link(self, **options: Any) -> WardenLink:
        return WardenLink(on_reports=self._take, on_died=self.returncodes.append, **options)

    def _take(self, reports: list[Report]) -> None:
        """Keep reports. Also check that each piece of output begins at the end of the previous
        piece."""
        self.reports += named(reports)
        for report in named(reports):
            if report[0] == "output":
                _, key, stream, offset, skipped, data = report
                if skipped:
                    self.skipped[key, stream] = skipped
                content = self.content.setdefault((key, stream), bytearray())
                assert offset == len(content)
                content += data
            elif report[0] == "exited":
                self.exits[report[1]] = report
                self.on_exit(report[1])

    # -- orders ------------------------------------------------------------------------------------
    def options(self, key: int, *, env: Mapping[str, str] | None = None, **more: Any) -> ProcessOptions:
        """Return the options of a job. `env` replaces the whole environment, including
        TITAN_LEASE."""
        chosen: dict[str, Any] = {"cwd": str(self.folder), "grace_s": 5.0, "log_limit": LOG_LIMIT, **more}
        environment = {**self.env, "TITAN_LEASE": str(key)} if env is None else env
        return ProcessOptions(env=environment, stdout_path=str(self.log(key, 1)), stderr_path=str(self.log(key, 2)), **chosen)

    def start(self, key: int, *argv: str, behind: int = 0, **options: Any) -> None:
        self.link.start(key, Command(argv), self.options(key, **options), behind=behind)

    def sh(self, key: int, command: str, *, behind: int = 0, **options: Any) -> None:
        self.start(key, "sh", "-c", command, behind=behind, **options)

    def script(self, key: int, path: str, *args: str, content_hash: str = "", **options: Any) -> None:
        self.link.start(key, Script(path, args, content_hash), self.options(key, **options))

    # -- reports -----------------------------------------------------------------------------------
    def log(self, key: int, stream: int) -> Path:
        return self.folder / f"{key}.{stream}"

    def of(self, name: str, key: int) -> list[tuple[Any, ...]]:
        """Return the reports with this name about a job."""
        return [report for report in self.reports if report[:2] == (name, key)]

    def streamed(self, key: int, stream: int) -> bytes:
        """Return the output that was reported so far."""
        return bytes(self.content.get((key, stream), b""))

    async def until(self, condition: Callable[[], object], what: str = "", deadline_s: float = DEADLINE_S) -> None:
        await until_async(condition, what, deadline_s, context=lambda: f"last: {self.reports[-3:]}")

    async def exited(self, key: int) -> tuple[Any, ...]:
        """Wait for the report of a job's end and return it. Fails if the job was refused."""
        await self.until(lambda: key in self.exits or self.of("refused", key), f"the end of job {key}")
        assert key in self.exits, self.reports
        return self.exits[key]

    async def ended(self, key: int) -> tuple[int, bytes, bytes]:
        """Wait for the end of a job. Return (exit code, stdout, stderr)."""
        return (await self.exited(key))[2], self.streamed(key, 1), self.streamed(key, 2)

    async def refused(self, key: int) -> tuple[int, str]:
        """Wait for the refusal of a job. Return (errno, text)."""
        await self.until(lambda: self.of("refused", key), f"refusal of job {key}")
        errno, text = self.of("refused", key)[0][2:]
        return errno, text

    async def pid_in(self, name: str) -> int:
        """Wait for a pid that a job writes to a file, and return the pid."""
        path = self.folder / name
        await self.until(lambda: path.exists() and path.read_text().endswith("\n"), f"a pid in {name}")
        return int(path.read_text())

    def is_fork(self, key: int) -> bool:
        """Return whether a running job is a fork of the warden."""
        (report,) = self.of("started", key)
        return Path(f"/proc/{report[2]}/cmdline").read_bytes() == Path(f"/proc/{self.link.pid}/cmdline").read_bytes()


@contextlib.asynccontextmanager
async def running_warden(
    folder: Path, *, env: Mapping[str, str] = PATH_ONLY, link: Mapping[str, Any] = NONE
) -> AsyncIterator[WardenBench]:
    bench = WardenBench(folder, env=env, link=link)
    bench.link.launch()
    try:
        yield bench
    finally:
        await bench.link.close()


def run_in_loop(main: Coroutine[Any, Any, None], *, on: str = "uvloop") -> None:
    """Run a test in an event loop: "uvloop", which workers use, or "asyncio"."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop if on == "uvloop" else None) as runner:
        runner.run(main)
