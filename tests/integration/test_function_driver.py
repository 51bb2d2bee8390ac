"""The function driver when a runner does not come up. The driver reports the runner's calls, so
they are not forgotten."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from titan.host.clock import SteadyClock
from titan.model.dag import JobTemplate
from titan.worker.context.callers import Callers
from titan.worker.drivers.function import FunctionDriver
from titan.worker.drivers.protocol import Host
from titan.worker.files.sandbox import Workspace
from titan.worker.processes.reports import Exited, Lost, Refused
from titan.worker.requests import WorkerLines
from titan.worker.state_machine import messages
from titan.worker.value_uploads import Values

CALL = messages.Assignment(1, "r", "j", 1, JobTemplate(function="f" * 64), (), b"\x80\x05)\x94.")


def ended_by(
    folder: Path, what: Callable[[FunctionDriver], object], before: Callable[[], object] = lambda: None
) -> messages.RunnerEnded:
    """Call `before`, order a runner, call `what`, and return the report of the runner's end. The
    runner never connects."""
    seen: list[Any] = []

    async def run() -> None:
        folder.mkdir(parents=True)
        (folder / CALL.template.function).write_bytes(b"")
        store = Values(
            folder,
            lines=WorkerLines(lambda: None, lambda: 1),
            on_stored=lambda lease: None,
            in_use=list,
            on_dropped=lambda hash_: None,
        )
        fakes: Any = SimpleNamespace(stop=lambda key, grace_s: None)
        host = Host(
            supervisor=fakes,
            workspace=Workspace(folder),
            clock=SteadyClock(),
            see=seen.append,
            work=lambda work: None,
            driver_of=fakes,
            run_helper=lambda *args, **more: True,
            launch=fakes,
            pump=fakes,
            values=store,
            callers=Callers(b"k" * 32),
            held={},
            log_limit=1 << 20,
            advertised="",
        )
        driver = FunctionDriver(host)
        driver.open()
        before()
        driver.call(0, [CALL])
        what(driver)
        await driver.close()

    asyncio.run(run())
    (ended,) = seen
    assert isinstance(ended, messages.RunnerEnded) and (ended.runner, ended.ran) == (0, 0)
    return ended


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        (lambda driver: driver.on_report(Exited(-1, 3, 0.0)), "ended with code 3 before it was ready"),
        (lambda driver: driver.on_report(Refused(-1, 2, "no such file")), "could not be started: no such file"),
    ],
)
def test_a_runner_that_cannot_start_fails_its_calls(tmp_path: Path, what: Callable[[FunctionDriver], object], reason: str) -> None:
    ended = ended_by(tmp_path / "runners", what)
    assert ended.unfit and reason in ended.reason


def test_calls_of_a_runner_that_died_with_the_warden_before_it_was_ready_run_again(tmp_path: Path) -> None:
    assert not ended_by(tmp_path / "runners", lambda driver: driver.on_report(Lost(-1, spared=True))).unfit


def test_a_runner_whose_folder_cannot_be_made_leaves_no_descriptor_behind(tmp_path: Path) -> None:
    folder = tmp_path / "runners"
    counts = []

    def again(driver: FunctionDriver) -> None:
        counts.append(open_files())

    def before() -> None:
        counts.append(open_files())
        (folder / "titan_workspace" / "runners" / "1").touch()

    ended = ended_by(folder, again, before)
    assert ended.unfit and "File exists" in ended.reason
    assert counts[0] == counts[1]


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))
