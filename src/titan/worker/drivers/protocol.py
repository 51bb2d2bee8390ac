"""Interface between the worker and its drivers. This module must not know any driver.

For each attempt the launcher calls these methods of its `AttemptDriver`:

    admit(assignment, gpus, report)
                           Accept the attempt.
    prepare(start)         Replace the placeholders that only the driver can replace, or delay the
                           start.
    start(attempt)         Start the attempt, and report to `attempt.report` from now on.
                           `processes.reports` describes the order of reports.
    stop(lease, grace_s)   Stop the attempt. The last report is `Exited`, even if the attempt had no
                           process yet. Not called before `prepare`.
    withdraw(lease)        Drop an attempt that is queued behind another attempt. If it has begun,
                           it goes on.

The launcher creates the sandbox, the environment (with secrets) and the limits before `start`, and
removes all three after the last report. A driver that cannot start an attempt reports `Refused`. A
driver keeps the output within `options.log_limit`, masks `options.masks` in the output, and leaves
no process of the attempt behind.

`orders` maps the types of other state machine instructions to the driver's functions for them. No
two drivers follow instructions of the same type. A driver whose attempts have no sandbox and no
process of their own, such as function calls, is a plain `Driver`: it acts only on its `orders`.
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
"""Type of an instruction -> function that carries out the instruction."""


class CannotStart(Exception):
    """An attempt cannot start. The message is for the user. `final` is True if no retry helps."""

    def __init__(self, text: str, *, final: bool) -> None:
        super().__init__(text)
        self.final = final


class Start(NamedTuple):
    """A process of an attempt, before it is started. The launcher derives the environment and the
    limits of the process from these values."""

    assignment: Assignment
    """Assignment in which every `${service:...}` is replaced by the address of the service."""
    place: Place
    log_limit: int
    """Bytes, for each of the two logs."""


class Attempt(NamedTuple):
    """An attempt that is ready to start."""

    assignment: Assignment
    """Assignment as `prepare` returned it."""
    options: ProcessOptions
    report: Sink
    behind: int = 0
    """Lease of the attempt under the same warden that has to end first. 0: start at once."""
    alone: bool = False
    """True if the job's last warden died, so that this attempt gets a warden of its own."""


class Driver(Protocol):
    @property
    def orders(self) -> Orders:
        """Type of an instruction -> function of this driver. No other driver has the same types."""

    def open(self) -> None:
        """Start the driver. Called once, before the first attempt."""

    async def close(self) -> None:
        """End everything that the driver started, except processes of the supervisor."""


@runtime_checkable
class AttemptDriver(Driver, Protocol):
    def admit(self, assignment: Assignment, gpus: tuple[str, ...], report: Sink) -> None:
        """Accept an attempt, which will use these GPUs. The driver reports to `report`."""

    def keeps(self, lease: int) -> bool:
        """Return whether the attempt may get another process. Its folder and logs then stay."""

    def prepare(self, start: Start) -> Start | None:
        """Return `start` with all placeholders replaced. Return None to delay the start: the driver
        then calls `Host.launch` later. Raises CannotStart."""

    def start(self, attempt: Attempt) -> None: ...

    def stop(self, lease: int, grace_s: float) -> None: ...

    def withdraw(self, lease: int) -> None: ...


class OneProcess:
    """Base of a driver whose attempts have one process each, which starts at once."""

    orders: Orders = {}

    def open(self) -> None:
        """Do nothing: there is nothing to start."""

    async def close(self) -> None:
        """Do nothing: the supervisor ends all processes."""

    def admit(self, assignment: Assignment, gpus: tuple[str, ...], report: Sink) -> None:
        """Do nothing: `start` gets all arguments again."""

    def keeps(self, lease: int) -> bool:
        return False

    def prepare(self, start: Start) -> Start | None:
        return start

    def withdraw(self, lease: int) -> None:
        """Do nothing: no attempt of this driver is queued behind another."""


class Launch(Protocol):
    def __call__(self, assignment: Assignment, place: Place, gpus: tuple[str, ...]) -> None:
        """Start a process of an attempt: call the driver's `prepare`, create environment and
        limits, then call the driver's `start`."""


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
        """Start a helper process, which is not an attempt. `key` is below 0.

        `logs` are the paths for stdout and stderr. With `of` the process gets the secrets of that
        attempt. If the attempt lacks a secret, the attempt is refused and the method returns False.
        """


class Host(NamedTuple):
    """The parts of a worker that a driver may use."""

    supervisor: Supervisor
    workspace: Workspace
    """A driver may create a folder of its own in `workspace.root`."""
    clock: SteadyClock
    see: Callable[[Any], None]
    """Takes an input of the state machine that no report can express."""
    work: Callable[[Coroutine[Any, Any, None]], None]
    """Runs a coroutine in the background. The end of the worker cancels it."""
    driver_of: Callable[[JobTemplate], AttemptDriver]
    """Returns the driver of a template. Raises CannotStart."""
    run_helper: RunHelper
    launch: Launch
    pump: LogPump
    values: Values
    callers: Callers
    held: Mapping[int, Held]
    """The attempts of the worker, by lease. Read-only."""
    log_limit: int
    """Bytes, for each of the two logs of an attempt."""
    advertised: str
    """Host name under which other machines reach services of this worker, "" if none was set.
    Health checks then use only loopback."""

    @property
    def folder(self) -> Path:
        """The folder titan_workspace."""
        return self.workspace.root
