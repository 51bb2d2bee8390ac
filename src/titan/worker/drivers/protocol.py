"""What the worker asks of a driver, and what it gives it. Must not know any driver.

    start(attempt)           then reports to `attempt.report`, as `process_reports` orders them
    stop(lease, grace_s)     the last report is "exited", also if nothing had begun yet
    withdraw(lease)          an attempt that stands behind another is forgotten; one that has begun goes on

The launcher has made the sandbox, the environment (with secrets) and the limits before `start`, and takes all three back after the
last report. A driver that cannot start an attempt reports `Refused`. It keeps the output within `options.log_limit` and free of
`options.masks`, and leaves no process of the attempt behind.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from titan.clock import SteadyClock
from titan.model.dag import JobTemplate
from titan.worker.log_pump import LogPump
from titan.worker.process_orders import ProcessOptions
from titan.worker.process_reports import Sink
from titan.worker.sandbox import Place
from titan.worker.supervisor import Supervisor, Under
from titan.worker.words import Assignment


class Attempt(NamedTuple):
    """An attempt that may begin."""

    it: Assignment
    """With every `${port}` and `${service:...}` filled in."""
    options: ProcessOptions
    report: Sink
    behind: int = 0
    """The lease of an attempt of the same warden that it begins after; 0: at once."""
    alone: bool = False
    """Its last warden died: it gets one of its own."""


class Driver(Protocol):
    def start(self, attempt: Attempt) -> None: ...

    def stop(self, lease: int, grace_s: float) -> None: ...

    def withdraw(self, lease: int) -> None: ...

    async def close(self) -> None:
        """End what the driver has beside the processes of the supervisor."""


class Launch(Protocol):
    def __call__(self, it: Assignment, place: Place, gpus: tuple[str, ...]) -> None:
        """Start a process of an attempt: make its environment and limits, then `Driver.start`."""


class RunHelper(Protocol):
    def __call__(
        self,
        key: int,
        argv: list[str],
        cwd: str,
        logs: tuple[str, str],
        report: Sink,
        under: Under,
        *,
        of: Assignment | None = None,
        env: Mapping[str, str] | None = None,
    ) -> bool:
        """Start a process that is no attempt; `key` is below 0. `logs`: the paths for stdout and stderr. `of`: it has the
        secrets of this attempt. Returns False if the attempt lacks one; the attempt is refused then."""


class Host(NamedTuple):
    """The parts of its worker that a driver may use."""

    supervisor: Supervisor
    folder: Path
    """titan_workspace: a driver may have a folder of its own in it."""
    clock: SteadyClock
    see: Callable[[Any], None]
    """Takes inputs of the worker's machine, where a report does not say it."""
    work: Callable[[Coroutine[Any, Any, None]], None]
    """Runs a coroutine beside, until the worker ends."""
    driver_of: Callable[[JobTemplate], Driver]
    run_helper: RunHelper
    launch: Launch
    pump: LogPump
    is_ending: Callable[[int], bool]
    """True while an attempt is being stopped."""
    log_limit: int
    """Bytes of each of the two logs of an attempt."""
    advertised: str
    """The host under which others reach services of this worker; "" for loopback alone."""
