"""The pool of interpreters over real wardens: the number of interpreters, and how long each is
kept."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from support.waiting import until_async
from titan.worker.processes.interpreters import Interpreters
from titan.worker.processes.orders import Command, ProcessOptions, Program, Script
from titan.worker.processes.reports import Exited, Lost, Report, Sink
from titan.worker.processes.warden_link import WardenLink

DEADLINE_S = 10.0


class Pool:
    """Pool of interpreters, with the link and the executable that each script got."""

    def __init__(self, folder: Path, **limits: Any) -> None:
        self.folder = folder
        self.begun: dict[int, tuple[WardenLink | None, str]] = {}
        self.refused: dict[int, tuple[str, bool]] = {}
        self.ended: list[int] = []
        self.died: list[str] = []
        self.main = WardenLink(on_reports=self._on_main, on_died=lambda _: None)
        self.main.launch()
        self.all = Interpreters(
            folder / "interpreters",
            link=self._link,
            on_reports=lambda reports: self.ended.extend([r.key for r in reports if isinstance(r, Exited)]),
            on_died=lambda link, python, code: self.died.append(python),
            check=self._check,
            stop_check=lambda key: self.main.stop(key, 0.0),
            refuse=self._refuse,
            **limits,
        )

    def _on_main(self, reports: list[Report]) -> None:
        for report in reports:
            self.all.on_report(report)

    def _link(self, python: str, on_reports: Callable[[list[Report]], None], on_died: Callable[[int], None]) -> WardenLink:
        link = WardenLink(on_reports=on_reports, on_died=on_died, python=python, jobs_env=os.environ)
        link.launch()
        return link

    def _check(self, key: int, argv: list[str], base: str, report: Sink) -> None:
        self._begin(self.main, key, Command(argv), base)

    def _begin(self, link: WardenLink, key: int, program: Program, base: str) -> None:
        """Start a program. `base` is the beginning of the names of its logs."""
        link.start(key, program, ProcessOptions("/", dict(os.environ), f"{base}.stdout", f"{base}.stderr", 10000, 0.0))

    def _refuse(self, lease: int, text: str, *, final: bool) -> None:
        self.refused[lease] = (text, final)

    async def use(self, lease: int, python: Path | str) -> WardenLink | None:
        self.all.use(lease, str(python), lambda *it: self.begun.__setitem__(lease, it))
        await until_async(lambda: lease in self.begun, f"{lease} begins")
        return self.begun[lease][0]

    async def run(self, lease: int, text: str = "") -> None:
        """Run the script of a lease to its end."""
        path = self.folder / f"{lease}.py"
        path.write_text(text)
        link = self.begun[lease][0]
        assert link is not None
        self._begin(link, lease, Script(str(path), ()), str(self.folder / str(lease)))
        await until_async(lambda: lease in self.ended, f"{lease} ends")


@contextlib.asynccontextmanager
async def pool(folder: Path, **limits: Any) -> AsyncIterator[Pool]:
    made = Pool(folder, **limits)
    try:
        yield made
    finally:
        await made.all.close()
        await made.main.close()


def pythons(folder: Path, count: int) -> list[Path]:
    paths = [folder / f"python{i}" for i in range(count)]
    for path in paths:
        path.symlink_to(sys.executable)
    return paths


def test_an_idle_interpreter_is_ended_and_started_again_on_demand(tmp_path: Path) -> None:
    (python,) = pythons(tmp_path, 1)

    async def main() -> None:
        async with pool(tmp_path, idle_s=0.02) as p:
            first = await p.use(1, python)
            assert first is not None
            assert [link.pid for link in p.all.links()] == [first.pid]
            await p.run(1)
            await until_async(lambda: not Path(f"/proc/{first.pid}").exists(), "it is ended")
            second = await p.use(2, python)
            assert second is not None
            later = time.monotonic() + 0.05
            await until_async(lambda: time.monotonic() > later, "more than idle_s: it has work")
            assert p.all.links() == [second] != [first]
            assert (p.died, p.refused) == ([], {})

    asyncio.run(main())


def test_above_the_limit_an_idle_interpreter_is_ended_or_else_scripts_run_in_new_processes(tmp_path: Path) -> None:
    a, b, c = pythons(tmp_path, 3)

    async def main() -> None:
        async with pool(tmp_path, most=1) as p:
            busy = await p.use(1, a)
            assert busy is not None
            assert await p.use(2, b) is None
            assert p.begun[2][1] == str(b)
            await p.run(1)
            other = await p.use(3, c)
            assert other is not None
            await until_async(lambda: not Path(f"/proc/{busy.pid}").exists(), "the idle one is ended")
            assert p.all.links() == [other]

    asyncio.run(main())


def test_scripts_wait_while_their_interpreter_is_checked_and_the_check_leaves_no_file(tmp_path: Path) -> None:
    (python,) = pythons(tmp_path, 1)

    async def main() -> None:
        async with pool(tmp_path) as p:
            links = await asyncio.gather(*(p.use(lease, python) for lease in range(1, 6)))
            assert len(set(links)) == len(p.all.links()) == 1
            assert os.listdir(tmp_path / "interpreters") == []

    asyncio.run(main())


def test_a_check_lost_with_its_warden_is_repeated(tmp_path: Path) -> None:
    (python,) = pythons(tmp_path, 1)

    async def main() -> None:
        async with pool(tmp_path) as p:
            waiting = asyncio.ensure_future(p.use(1, python))
            await asyncio.sleep(0)  # the check of the interpreter has been ordered
            p.all.on_report(Lost(next(iter(p.all._checks)), spared=True))
            assert await waiting is not None

    asyncio.run(main())


def test_an_interpreter_killed_during_its_check_is_not_refused_finally(tmp_path: Path) -> None:
    python = tmp_path / "killed"
    python.write_text("#!/bin/sh\nkill -9 $$\n")
    python.chmod(0o755)

    async def main() -> None:
        async with pool(tmp_path) as p:
            p.all.use(1, str(python), lambda *_: None)
            await until_async(lambda: p.refused, "a refusal")
            text, final = p.refused[1]
            assert "is no Python that works on this worker (the check of its version ended with code -9)" in text
            assert not final

    asyncio.run(main())
