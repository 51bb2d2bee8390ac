"""The warden and jobs with secrets: what is in their logs, and who makes core dumps."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import resource
import sys
import time
from collections.abc import AsyncIterator, Coroutine
from pathlib import Path
from typing import Any

import pytest
import uvloop

from support.reports import named
from titan import no_core
from titan.errors import Bug
from titan.worker.process_orders import Command, ProcessOptions, Script
from titan.worker.process_reports import Report
from titan.worker.warden_link import WardenLink

SECRET = b"tops3cret-value"


class Yard:
    def __init__(self, folder: Path, python: str | None) -> None:
        self.folder = folder
        self.reports: list[tuple[Any, ...]] = []
        self.link = WardenLink(
            on_reports=self._take,
            on_died=lambda code: None,
            python=python,
            jobs_env=os.environ,
        )

    def _take(self, reports: list[Report]) -> None:
        self.reports += named(reports)

    def options(self, key: int, **more: Any) -> ProcessOptions:
        out, err = self.log(key, 1), self.log(key, 2)
        given: dict[str, Any] = {
            "cwd": str(self.folder),
            "grace_s": 5.0,
            "log_limit": 1 << 20,
            "env": {"TITAN_LEASE": str(key), "S": SECRET.decode()},
        }
        return ProcessOptions(**{**given, "stdout_path": str(out), "stderr_path": str(err), **more})

    def sh(self, key: int, command: str, *, behind: int = 0, **more: Any) -> None:
        self.link.start(key, Command(["sh", "-c", command]), self.options(key, **more), behind=behind)

    def log(self, key: int, stream: int) -> Path:
        return self.folder / f"{key}.{stream}"

    async def end(self, key: int) -> tuple[Any, ...]:
        give_up = time.monotonic() + 10
        while not (found := [r for r in self.reports if r[0] in ("exited", "refused") and r[1] == key]):
            assert time.monotonic() < give_up, self.reports
            await asyncio.sleep(0.003)
        said = b"".join(r[4] for r in self.reports if r[:3] == ("output", key, 1))
        assert not self.log(key, 1).exists() or self.log(key, 1).read_bytes() == said
        return found[0]


@contextlib.asynccontextmanager
async def yard(folder: Path, python: str | None = None) -> AsyncIterator[Yard]:
    made = Yard(folder, python)
    made.link.launch()
    try:
        yield made
    finally:
        await made.link.close()


def run(main: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main)


def test_a_secret_in_pieces_is_masked_and_the_rest_comes_at_the_end(tmp_path: Path) -> None:
    async def main() -> None:
        async with yard(tmp_path) as y:
            y.sh(1, 'printf "a tops3"; sleep 0.1; printf "cret-value b"; printf "tops3" >&2', masks=[SECRET])
            y.sh(2, "echo $S")
            assert (await y.end(1))[2] == 0
            assert y.log(1, 1).read_bytes() == b"a *** b"
            assert y.log(1, 2).read_bytes() == b"tops3", "the beginning of one is no secret"
            assert (await y.end(2))[2] == 0
            assert y.log(2, 1).read_bytes() == SECRET + b"\n", "masks are of one job"

    run(main())


def test_the_limit_of_a_log_and_its_tail_hold_what_is_masked(tmp_path: Path) -> None:
    async def main() -> None:
        async with yard(tmp_path) as y:
            many = 'i=0; while [ $i -lt 4000 ]; do echo "$i $S"; i=$((i+1)); done'
            y.sh(1, many, masks=[SECRET], log_limit=4096)
            ended = await y.end(1)
            data = y.log(1, 1).read_bytes()
            assert len(data) <= 4096 and SECRET not in data and data.startswith(b"0 ***\n1 ***\n")
            assert data.endswith(b"3999 ***\n")
            whole = sum(len(b"%d ***\n" % i) for i in range(4000))
            marker = re.search(rb"\n\[titan: (\d+) bytes of output were dropped here; the limit is 4096 bytes\]\n", data)
            assert marker is not None and int(marker[1]) == ended[6] == whole - (len(data) - len(marker[0]))

    run(main())


@pytest.mark.parametrize("python", [None, sys.executable], ids=["plain", "warm"])
def test_who_makes_core_dumps(tmp_path: Path, python: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a job with secrets nor, from then on, the warden and its forks; others have the limit that there was."""
    monkeypatch.setattr(no_core, "_before", [])  # a vault that another test opened here may have forbidden them
    hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
    if hard == 0:
        pytest.skip("the limit on core dumps is 0 and cannot be raised")
    (tmp_path / "limit.py").write_text("import resource; print(resource.getrlimit(resource.RLIMIT_CORE)[0])")

    async def main() -> None:
        before = resource.getrlimit(resource.RLIMIT_CORE)
        resource.setrlimit(resource.RLIMIT_CORE, (4096, hard))
        try:
            async with yard(tmp_path, python) as y:
                y.sh(1, "ulimit -c")
                await y.end(1)
                y.sh(2, "ulimit -c", masks=[SECRET])
                y.sh(3, "ulimit -c")
                y.link.start(4, Script("limit.py", ()), y.options(4, masks=[SECRET]))
                y.link.start(5, Script("limit.py", ()), y.options(5))
                for key in (2, 3, 4, 5):
                    assert (await y.end(key))[0] == "exited"
                said = [int(y.log(key, 1).read_bytes()) for key in (1, 2, 3, 4, 5)]
                blocks = 4096 // 512 if said[0] == 8 else 4
                assert said == [blocks, said[1], blocks, 1, 4096 if python is None else 1] and said[1] < 2
                limits = Path(f"/proc/{y.link.pid}/limits").read_text()
                assert re.search(r"Max core file size +1 ", limits)
        finally:
            resource.setrlimit(resource.RLIMIT_CORE, before)

    run(main())


def test_a_job_that_cannot_start_leaves_no_mask_for_another(tmp_path: Path) -> None:
    async def main() -> None:
        async with yard(tmp_path) as y:
            y.link.start(1, Command(["/none"]), y.options(1, masks=[SECRET]))
            assert (await y.end(1))[0] == "refused"
            y.reports.clear()
            y.sh(1, "echo $S")
            assert (await y.end(1))[0] == "exited" and y.log(1, 1).read_bytes() == SECRET + b"\n"
            with pytest.raises(Bug, match="is ordered behind"):
                y.sh(3, "true", masks=[SECRET], behind=1)
            y.reports.clear()
            y.sh(4, "true", masks=[b"x" * (1 << 20) + b"%d" % n for n in range(65)])
            kind, _, _, why = await y.end(4)
            assert kind == "refused" and "the order to start this job takes" in why and "xxx" not in why

    run(main())
