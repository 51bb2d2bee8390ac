"""The drivers behind the launcher, with real processes. All drivers keep the same contract,
including a driver that only this file knows."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from support.driver import OwnDriver
from titan.host.clock import SteadyClock
from titan.model.dag import JobTemplate, Service
from titan.model.drivers import DRIVERS, DriverRow
from titan.model.states import Outcome
from titan.worker.context.callers import Callers
from titan.worker.drivers.table import CLASSES
from titan.worker.files.sandbox import Workspace
from titan.worker.launch import Launcher
from titan.worker.limits.cgroups import Limiter
from titan.worker.log_pump import LogPump
from titan.worker.requests import WorkerLines
from titan.worker.secrets import AttemptSecrets
from titan.worker.state_machine import machine as m
from titan.worker.state_machine import messages
from titan.worker.state_machine.attempt import Held, Phase
from titan.worker.value_uploads import Values

DEADLINE_S = 10.0
LEASE = 7


@pytest.fixture(autouse=True)
def own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Add a driver as a developer would: by a row in each of the two tables."""
    monkeypatch.setitem(DRIVERS, "own", DriverRow("of this file", runs=("command",)))
    monkeypatch.setitem(CLASSES, "own", OwnDriver)


class Bench:
    """Launcher with the inputs that it gives to the state machine. The state machine itself does
    nothing."""

    def __init__(self, folder: Path) -> None:
        self.seen: list[Any] = []
        self.outputs: dict[str, dict[int, bytes]] = {}
        self.tasks: set[asyncio.Task[None]] = set()
        self.machine = m.WorkerMachine(2)
        self.workspace = Workspace(folder)
        self.pump = LogPump(lambda: True, self._send, lambda lease: None, lambda: None)
        self.launcher = Launcher(
            self.machine,
            self.workspace,
            self.pump,
            SteadyClock(),
            see=self.seen.append,
            work=self._work,
            reported=lambda: None,
            environment={"PATH": os.environ["PATH"], "TITAN_WORKER_HOME": str(folder)},
            log_limit=1 << 20,
            preload=(),
            limiter=Limiter({}),
            secrets=AttemptSecrets(),
            callers=Callers(b"k" * 32),
            values=Values(
                self.workspace.cache,
                lines=WorkerLines(lambda: None, lambda: 1),
                on_stored=lambda lease: None,
                in_use=list,
                on_dropped=lambda hash_: None,
            ),
        )

    def _work(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def _send(self, message: Any, data: bytes) -> None:
        for job, stream, offset, size in zip(message.jobs, message.streams, message.offsets, message.sizes, strict=True):
            output = self.outputs.setdefault(job, {1: b"", 2: b""})
            assert offset == len(output[stream])
            output[stream] += data[:size]
            data = data[size:]

    @property
    def printed(self) -> dict[int, bytes]:
        return self.outputs.get(f"j{LEASE}", {1: b"", 2: b""})

    def start(self, template: JobTemplate, *args: str, lease: int = LEASE, job: str = "") -> None:
        self.launcher.start(m.Assignment(lease, "r", job or f"j{lease}", lease, template, args), ())

    def order(self, instruction: Any) -> None:
        self.launcher.orders[type(instruction)](instruction)

    def script(self, text: str) -> str:
        """Put a script with this text into the worker's cache, and return its hash."""
        hash_ = hashlib.sha256(text.encode()).hexdigest()
        (self.workspace.cache / hash_).write_text(text)
        return hash_

    def of(self, kind: type[Any], lease: int = LEASE) -> Any:
        return next((seen for seen in self.seen if isinstance(seen, kind) and seen.lease == lease), None)

    async def until(self, condition: Callable[[], Any], what: str) -> Any:
        give_up = time.monotonic() + DEADLINE_S
        while not (value := condition()):
            assert time.monotonic() < give_up, f"not in {DEADLINE_S} s: {what}; {self.seen}, {self.printed}"
            await asyncio.sleep(0.002)
            self.pump.flush()
        return value

    async def exit(self, lease: int = LEASE) -> m.AttemptExited:
        found: m.AttemptExited = await self.until(lambda: self.of(m.AttemptExited, lease), f"the end of {lease}")
        return found


@contextlib.asynccontextmanager
async def bench(folder: Path) -> AsyncIterator[Bench]:
    made = Bench(folder)
    made.launcher.open()
    try:
        yield made
    finally:
        await made.launcher.close()
        for task in made.tasks:
            task.cancel()


def runs(b: Bench, driver: str, command: str) -> None:
    """Start the shell command by this driver."""
    shell = b.script("import os, sys\nos.execv('/bin/sh', ['/bin/sh', '-c', sys.argv[1]])\n")
    python = JobTemplate(file="x.py", file_hash=shell)
    match driver:
        case "own":
            b.start(JobTemplate(command=command, driver="own"))
        case "process":
            b.start(JobTemplate(command=command))
        case "service":
            b.start(JobTemplate(command=command, service=Service(health="none")))
        case "python":
            b.start(python, command)
        case "named python":
            b.start(JobTemplate(file="x.py", file_hash=shell, python=sys.executable), command)


EACH = pytest.mark.parametrize("driver", ["own", "process", "python", "named python", "service"])


@EACH
def test_a_job_starts_prints_and_ends_with_its_code(tmp_path: Path, driver: str) -> None:
    async def main() -> None:
        async with bench(tmp_path) as b:
            runs(b, driver, 'echo "$TITAN_JOB $TITAN_LEASE"; echo err >&2; exit 3')
            ended = await b.exit()
            assert ended.exit_code == 3
            assert b.seen.index(b.of(m.AttemptStarted)) < b.seen.index(ended)
            await b.until(lambda: b.printed == {1: b"j7 7\n", 2: b"err\n"}, "all output was sent")
            log = f"{b.workspace.jobs}/r/j7.7"
            assert (Path(f"{log}.stdout").read_bytes(), Path(f"{log}.stderr").read_bytes()) == (b"j7 7\n", b"err\n")
            assert not b.launcher._started and not b.launcher._places

    asyncio.run(main())


@EACH
@pytest.mark.parametrize(("trap", "grace_s", "code"), [("exit 5", 30.0, 5), ("", 0.1, -signal.SIGKILL)])
def test_a_job_that_is_stopped_has_its_grace(tmp_path: Path, driver: str, trap: str, grace_s: float, code: int) -> None:
    async def main() -> None:
        async with bench(tmp_path) as b:
            runs(b, driver, f"trap '{trap}' TERM; echo ready; while :; do sleep 0.01; done")
            await b.until(lambda: b.printed[1] == b"ready\n", "it runs")
            began = time.monotonic()
            b.launcher.stop(LEASE, grace_s)
            assert (await b.exit()).exit_code == code
            assert code == 5 or time.monotonic() - began >= grace_s
            assert b.launcher._started == {}

    asyncio.run(main())


def taken_port() -> socket.socket:
    taken = socket.socket()
    taken.bind(("0.0.0.0", 0))
    return taken


@pytest.mark.parametrize("driver", ["own", "process", "python", "service"])
def test_a_job_that_cannot_start_is_refused_for_good(tmp_path: Path, driver: str) -> None:
    async def main() -> None:
        with taken_port() as taken:
            taken.listen()
            template, text = {
                "own": (JobTemplate(command="nothing", driver="own"), "own: there is no such command"),
                "process": (JobTemplate(argv=("/no/such/program",)), "/no/such/program"),
                "python": (JobTemplate(file="x.py", file_hash="", python="/no/python"), "/no/python does not exist on this worker"),
                "service": (JobTemplate(command="true", service=Service(port=taken.getsockname()[1])), "by another program"),
            }[driver]
            async with bench(tmp_path) as b:
                b.start(template)
                refused = await b.until(lambda: b.of(m.AttemptRefused), "a refusal")
                assert refused.final and text in refused.message
                assert b.of(m.AttemptStarted) is None and not b.launcher._started and not b.launcher._places

    asyncio.run(main())


def test_a_script_is_stopped_while_its_interpreter_is_looked_at(tmp_path: Path) -> None:
    async def main() -> None:
        async with bench(tmp_path) as b:
            runs(b, "named python", "sleep 600")
            b.launcher.stop(LEASE, 30.0)
            assert (await b.exit()).exit_code == -signal.SIGTERM and b.of(m.AttemptStarted) is None
            runs(b, "named python", "true")  # the check of the interpreter continues and serves the next script
            await b.until(lambda: sum(isinstance(seen, m.AttemptExited) for seen in b.seen) == 2, "the next script")
            assert b.seen[-1].exit_code == 0

    asyncio.run(main())


def test_every_service_runs_under_the_warden_of_services_with_each_driver(tmp_path: Path) -> None:
    async def main() -> None:
        async with bench(tmp_path) as b:
            hash_ = b.script("import os\nprint(os.getppid())\n")
            plain = JobTemplate(file="x.py", file_hash=hash_)
            service = Service(health="none")
            templates = (
                plain,
                JobTemplate(file="x.py", file_hash=hash_, service=service),
                JobTemplate(file="x.py", file_hash=hash_, driver="process", service=service),
                JobTemplate(file="x.py", file_hash=hash_, driver="process", python=sys.executable, service=service),
            )
            wardens = []
            for lease, template in enumerate(templates, 1):
                b.start(template, lease=lease)
                assert (await b.exit(lease)).exit_code == 0
                wardens.append(Path(f"{b.workspace.jobs}/r/j{lease}.{lease}.stdout").read_text())
            assert wardens[0] != wardens[1] == wardens[2] == wardens[3]

    asyncio.run(main())


def test_a_template_of_a_driver_that_the_worker_lacks_is_refused_and_may_go_elsewhere(tmp_path: Path) -> None:
    """Earlier, such a template ran as a plain process, although it asked for another driver."""

    async def main() -> None:
        async with bench(tmp_path) as b:
            b.start(JobTemplate(command="touch ran", driver="container"))
            refused = b.of(m.AttemptRefused)
            assert not refused.final and "no driver 'container'" in refused.message
            assert not b.launcher._started and not b.launcher._places

    asyncio.run(main())


@pytest.mark.parametrize("stopped", [False, True])
def test_a_service_waits_for_its_port_while_its_former_attempt_holds_it(tmp_path: Path, *, stopped: bool) -> None:
    async def main() -> None:
        with taken_port() as free:
            port = free.getsockname()[1]
        service = JobTemplate(command="exec sleep 600", service=Service(port=port, health="none"))
        async with bench(tmp_path) as b:
            b.start(service, lease=1, job="s")
            await b.until(lambda: b.of(m.AttemptStarted, 1), "the first attempt")
            b.machine.held[1] = Held(m.Assignment(1, "r", "s", 1, service, ()), Phase.RUNNING, stopping=Outcome.STOPPED)
            b.start(service, lease=2, job="s")
            assert b.of(m.AttemptRefused, 2) is None and b.of(messages.PortChosen, 2) is None
            if stopped:
                b.launcher.stop(2, 30.0)
                assert b.of(m.AttemptExited, 2).exit_code == -signal.SIGTERM
                b.order(messages.CloseService(2))
            b.launcher.stop(1, 0.0)
            await b.exit(1)
            b.order(messages.CloseService(1))
            if stopped:
                assert b.of(messages.PortChosen, 2) is None
            else:
                await b.until(lambda: b.of(m.AttemptStarted, 2), "the second attempt")
                assert b.of(messages.PortChosen, 2).port == port
                b.launcher.stop(2, 0.0)
                await b.exit(2)
            assert b.launcher._started == {} and b.launcher._places == {}

    asyncio.run(main())
