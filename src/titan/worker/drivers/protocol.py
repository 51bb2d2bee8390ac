"""What the worker asks of a driver, and what it gives it. Must not know any driver.

A driver of attempts is an `AttemptDriver`. The launcher calls, for each attempt:

    admit(it, gpus, report)  the attempt is the driver's from here on
    prepare(start)           what only the driver knows of the start is filled in, or the start is put off
    start(attempt)           then the driver reports to `attempt.report`, as `process_reports` orders them
    stop(lease, grace_s)     the last report is "exited", also if nothing had begun yet; not called before `prepare`
    withdraw(lease)          an attempt that stands behind another is forgotten; one that has begun goes on

The launcher has made the sandbox, the environment (with secrets) and the limits before `start`, and
takes all three back after the last report. A driver that cannot start an attempt reports `Refused`.
It keeps the output within `options.log_limit` and free of `options.masks`, and leaves no process of
the attempt behind.

What else the worker's machine orders is in `orders`: instructions that one driver alone follows, by
their type. A driver whose work has no sandbox and no process for each attempt, as calls of
functions, is a plain `Driver`: all that it does is in its orders.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

from titan.host.clock import SteadyClock
from titan.model.dag import JobTemplate
from titan.worker.context.callers import Callers
from titan.worker.files.sandbox import Place, Workspace
from titan.worker.log_pump import LogPump
from titan.worker.processes.orders import ProcessOptions
from titan.worker.processes.reports import Sink
from titan.worker.processes.supervisor import Supervisor, Under
from titan.worker.state_machine.attempt import Held
from titan.worker.state_machine.messages import Assignment
from titan.worker.value_uploads import Values

Orders = Mapping[type, Callable[[Any], None]]
"""Type of an instruction -> what is done at one of them."""


class CannotStart(Exception):
    """An attempt lacks something. The message is for the user; `final`: no retry helps."""

    def __init__(self, text: str, *, final: bool) -> None:
        super().__init__(text)
        self.final = final


class Start(NamedTuple):
    """A process of an attempt that is to be started: what its environment and limits are made for."""

    it: Assignment
    """With every `${service:...}` filled in."""
    place: Place
    log_limit: int
    """Bytes of each of the two logs."""


class Attempt(NamedTuple):
    """An attempt that may begin."""

    it: Assignment
    """As `prepare` returned it."""
    options: ProcessOptions
    report: Sink
    behind: int = 0
    """The lease of an attempt of the same warden that it begins after; 0: at once."""
    alone: bool = False
    """Its last warden died: it gets one of its own."""


class Driver(Protocol):
    @property
    def orders(self) -> Orders:
        """The instructions that this driver follows, and no other."""

    def open(self) -> None:
        """Begin. Called once, before the first attempt."""

    async def close(self) -> None:
        """End what the driver has beside the processes of the supervisor."""


@runtime_checkable
class AttemptDriver(Driver, Protocol):
    def admit(self, assignment: Assignment, gpus: tuple[str, ...], report: Sink) -> None:
        """Take an attempt that is to be started with these devices."""

    def keeps(self, lease: int) -> bool:
        """Return whether another process of the attempt may come: its folder and its logs stay."""

    def prepare(self, start: Start) -> Start | None:
        """Return `start` with all places filled in. None: not yet; the driver calls `Host.launch`
        in time. Raises CannotStart."""

    def start(self, attempt: Attempt) -> None: ...

    def stop(self, lease: int, grace_s: float) -> None: ...

    def withdraw(self, lease: int) -> None: ...


class OneProcess:
    """Base of a driver whose attempts have one process each, which starts at once."""

    orders: Orders = {}

    def open(self) -> None:
        """There is nothing to begin."""

    async def close(self) -> None:
        """The supervisor has all of it."""

    def admit(self, assignment: Assignment, gpus: tuple[str, ...], report: Sink) -> None:
        """`start` says all there is to know."""

    def keeps(self, lease: int) -> bool:
        return False

    def prepare(self, start: Start) -> Start | None:
        return start

    def withdraw(self, lease: int) -> None:
        """Nothing stands behind an attempt of this driver."""


class Launch(Protocol):
    def __call__(self, assignment: Assignment, place: Place, gpus: tuple[str, ...]) -> None:
        """Start a process of an attempt: `prepare`, make its environment and limits, then `start`."""


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
        """Start a process that is no attempt; `key` is below 0. `logs`: the paths for stdout and
        stderr. `of`: it has the secrets of this attempt. Returns False if the attempt lacks one;
        the attempt is refused then."""


class Host(NamedTuple):
    """The parts of its worker that a driver may use."""

    supervisor: Supervisor
    workspace: Workspace
    """A driver may have a folder of its own in its `root`."""
    clock: SteadyClock
    see: Callable[[Any], None]
    """Takes inputs of the worker's machine, where a report does not say it."""
    work: Callable[[Coroutine[Any, Any, None]], None]
    """Runs a coroutine beside, until the worker ends."""
    driver_of: Callable[[JobTemplate], AttemptDriver]
    """Raises CannotStart."""
    run_helper: RunHelper
    launch: Launch
    pump: LogPump
    values: Values
    callers: Callers
    held: Mapping[int, Held]
    """The attempts of the worker, by lease. For reading alone."""
    log_limit: int
    """Bytes of each of the two logs of an attempt."""
    advertised: str
    """The host under which others reach services of this worker; "" for loopback alone."""

    @property
    def folder(self) -> Path:
        """titan_workspace."""
        return self.workspace.root
