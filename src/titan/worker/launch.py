"""Launcher: the sandbox, environment, limits and driver of each attempt.

The launcher creates the sandbox, environment and limits of an attempt, and hands the attempt to its
driver. It turns the driver's reports into inputs of the state machine. After the end of the attempt
it removes the sandbox's inputs and the limits. `drivers.table` selects the driver. The launcher
must not know the master.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import signal
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from titan.errors import TitanError
from titan.host.clock import SteadyClock
from titan.model.dag import JobTemplate
from titan.model.environment import environment_of
from titan.model.failure import OUTPUT_LOST
from titan.model.files import SCRIPT_FOLDER, SHARED_FOLDER
from titan.model.patterns import is_pattern, matches
from titan.worker.context.callers import Callers
from titan.worker.devices import VISIBLE
from titan.worker.drivers.addresses import with_addresses, with_results
from titan.worker.drivers.protocol import Attempt, AttemptDriver, CannotStart, Host, Orders, Start
from titan.worker.drivers.table import Drivers
from titan.worker.files.cache import PlacedFile
from titan.worker.files.disk import why_lost
from titan.worker.files.job_files import JobFiles
from titan.worker.files.sandbox import Place, Workspace
from titan.worker.limits.cgroups import Limiter, Usage
from titan.worker.log_pump import LogPump
from titan.worker.processes.orders import Command, ProcessOptions
from titan.worker.processes.reports import Exited, LogFailed, Output, Refused, Report, Sink, Started, Withdrawn
from titan.worker.processes.supervisor import Supervisor, Under
from titan.worker.processes.warden_link import kill_descendants
from titan.worker.secret_forms import forms_of
from titan.worker.secrets import AttemptSecrets, MissingSecret
from titan.worker.state_machine import machine as m
from titan.worker.syntax import syntax_error
from titan.worker.value_uploads import Values

log = logging.getLogger("titan.worker")
SWEEP_S = 0.05
"""Shortest pause before the launcher tries again to remove the cgroup of an ended attempt. A retry
is needed because the last process of the attempt may not have ended completely."""

# Errors that a retry does not help: the same command would fail again on this worker.
_FINAL_ERRNOS = (errno.ENOENT, errno.EACCES, errno.ENOEXEC, errno.ENOTDIR, errno.E2BIG, errno.EINVAL, errno.ELOOP, errno.EISDIR)


class Launcher:
    """Starter of attempts. `see` takes inputs of the state machine. `work` runs a coroutine in the
    background. `reported` is called after each batch of reports from a warden."""

    files: JobFiles
    """File transfers of the worker. The shell sets this field before the first start."""

    def __init__(
        self,
        machine: m.WorkerMachine,
        workspace: Workspace,
        pump: LogPump,
        clock: SteadyClock,
        *,
        see: Callable[[Any], None],
        work: Callable[[Coroutine[Any, Any, None]], None],
        reported: Callable[[], None],
        environment: Mapping[str, str],
        log_limit: int,
        preload: tuple[str, ...],
        limiter: Limiter,
        secrets: AttemptSecrets,
        callers: Callers,
        values: Values,
        advertised: str = "",
    ) -> None:
        """Create a launcher. `environment` has the variables of every job, among them
        TITAN_WORKER_HOME."""
        self._machine = machine
        self._workspace = workspace
        self._pump = pump
        self._clock = clock
        self._see = see
        self._work = work
        self._log_limit = log_limit
        self.limiter = limiter
        self._secrets = secrets
        self._callers = callers
        self._sweeping = False
        self._started: dict[int, AttemptDriver] = {}
        """lease -> driver of the attempt."""
        self._places: dict[int, Place] = {}
        self._lost: dict[int, str] = {}
        """lease -> reason why some output of the attempt is lost."""
        self._supervisor = Supervisor(
            most=min(machine.slots, len(os.sched_getaffinity(0))),
            environment=environment,
            preload=preload,
            callers=callers,
            work=work,
            reported=reported,
            on_attempts_lost=self._on_attempts_lost,
            name_of=self._name_of,
        )
        host = Host(
            supervisor=self._supervisor,
            workspace=workspace,
            clock=clock,
            see=see,
            work=work,
            driver_of=self._driver_of,
            run_helper=self._run_helper,
            launch=self._launch,
            pump=pump,
            values=values,
            callers=callers,
            held=machine.held,
            log_limit=log_limit,
            advertised=advertised,
        )
        self._drivers = Drivers(host)
        self.orders: Orders = self._drivers.orders
        """Instruction type -> function of the driver that follows such instructions."""

    def open(self) -> None:
        self._supervisor.open()
        self._drivers.open()

    def limit_by(self, limiter: Limiter) -> None:
        """Use this limiter for all attempts. The shell calls this method after `open` and before
        the first attempt."""
        self.limiter = limiter
        self._sweep_limits()

    async def close(self) -> None:
        await asyncio.gather(self._drivers.close(), self._supervisor.close())
        await asyncio.to_thread(kill_descendants, os.getpid())
        await asyncio.to_thread(self.limiter.close)

    def _driver_of(self, template: JobTemplate) -> AttemptDriver:
        return self._drivers.of(template)

    # -- attempts ----------------------------------------------------------------------------------
    def start(self, assignment: m.Assignment, gpus: tuple[str, ...], behind: int = 0) -> None:
        """Start an attempt. `behind` is the lease of an attempt that has to end first, 0 to start
        now. `gpus` are the devices that CUDA shows to the attempt. An attempt that asked for no
        GPUs sees all devices of the worker.
        """
        if behind and self._supervisor.is_crowded(behind):
            # The state machine starts the attempt later, under another warden, when a slot is free.
            self._see(m.AttemptWithdrawn(assignment.lease))
            return
        try:
            driver = self._drivers.of(assignment.template)
        except CannotStart as e:
            self._refuse(assignment.lease, str(e), final=e.final)
            return
        driver.admit(assignment, gpus, self._on_report)
        if assignment.template.archive or assignment.files:
            self._work(self._unpack_and_launch(driver, assignment, gpus))
            return
        try:
            place = self._workspace.prepare(assignment)
        except OSError as e:
            self._refuse(assignment.lease, f"the sandbox of the attempt could not be created: {e}", final=False, driver=driver)
            return
        self._launch(assignment, place, gpus, behind)

    async def _unpack_and_launch(self, driver: AttemptDriver, assignment: m.Assignment, gpus: tuple[str, ...]) -> None:
        placed: tuple[PlacedFile, ...] = ()
        try:
            place = await asyncio.to_thread(self._workspace.prepare, assignment)
            if assignment.files:
                placed = await self.files.give(assignment, place.cwd)
                place = place._replace(placed=tuple([file for file in placed if not _is_output(assignment.template, place, file)]))
            await asyncio.to_thread(self._workspace.note, place)
        except (OSError, TitanError) as e:
            self.files.cache.take_back(placed)
            await asyncio.to_thread(self._workspace.discard, assignment)
            self._refuse(assignment.lease, f"the sandbox of the attempt could not be created: {e}", final=False, driver=driver)
            return
        held = self._machine.held.get(assignment.lease)
        if held is None or held.stopping is not None:
            self.files.cache.take_back(placed)
            self._stopped_before(driver, assignment.lease)
            return
        self._launch(assignment, place, gpus)

    def _launch(self, assignment: m.Assignment, place: Place, gpus: tuple[str, ...], behind: int = 0) -> None:
        """Start the first or a later process of an attempt."""
        lease, driver = assignment.lease, self._drivers.of(assignment.template)
        lasts = driver.keeps(lease)
        if not lasts or self._pump.paths(lease) is None:
            self._pump.open(assignment, place.stdout, place.stderr)
        if not lasts:  # the folder of a service stays, because its next process needs it
            self._places[lease] = place
        self._started[lease] = driver
        try:
            log_limit = assignment.template.log_limit or self._log_limit
            start = driver.prepare(Start(self._with_paths(with_results(with_addresses(assignment)), place), place, log_limit))
            if start is None:
                return
            options = self._options(start, gpus)
        except CannotStart as e:
            self._refuse(lease, str(e), final=e.final)
            return
        held = self._machine.held.get(lease)
        driver.start(Attempt(start.assignment, options, self._on_report, behind, held is not None and held.alone))

    def _with_paths(self, assignment: m.Assignment, place: Place) -> m.Assignment:
        """Return the assignment with paths in place of content: of its standard input, and of its
        file if the job names its working directory."""
        template = assignment.template
        if template.cwd and template.file:
            template = replace(template, file=f"{place.cwd}/{template.file}")
        if template.stdin and not template.stdin.startswith("/"):
            template = replace(template, stdin=str(self._workspace.cache / template.stdin))
        return assignment if template is assignment.template else replace(assignment, template=template)

    def _options(self, start: Start, gpus: tuple[str, ...]) -> ProcessOptions:
        """Return the environment and limits of an attempt. `gpus` are the devices that the attempt
        may use. Raises CannotStart."""
        assignment, place, log_limit = start
        env = {
            **environment_of(assignment.template),
            **({VISIBLE: ",".join(gpus)} if gpus else {}),
            "TITAN_RUN": assignment.run,
            "TITAN_JOB": assignment.job,
            "TITAN_ATTEMPT": str(assignment.attempt),
            "TITAN_SHARED": place.shared,
            "TITAN_LEASE": str(assignment.lease),
            "TITAN_CONTEXT_TOKEN": self._callers.token_of(assignment.lease),
        }
        masks = self._give_secrets(assignment, env) if assignment.template.secrets else ()
        limits = self._limits(assignment) if assignment.template.limits is not None else None
        cwd = _working_directory(assignment.template, place)
        return ProcessOptions(cwd, env, place.stdout, place.stderr, log_limit, self._machine.grace_s, limits, masks)

    def _give_secrets(self, assignment: m.Assignment, env: dict[str, str]) -> Sequence[bytes]:
        """Put the attempt's secrets into `env`. Return the byte strings that must be masked in the
        output. Raises CannotStart."""
        try:
            values = self._secrets.of(assignment)
        except MissingSecret as e:
            raise CannotStart(str(e), final=e.final) from e
        env.update({name: value.decode("utf-8", "surrogateescape") for name, value in values.items()})
        return forms_of(values.values())

    def _limits(self, assignment: m.Assignment) -> dict[str, Any]:
        """Prepare the attempt's limits (see `Limiter.prepare`) and return the setup for its warden.
        Raises CannotStart."""
        assert assignment.template.limits is not None
        try:
            return self.limiter.prepare(assignment.lease, assignment.template.limits)
        except OSError as e:
            raise CannotStart(f"the limits of the attempt could not be set: {e}", final=False) from e

    def _end(self, lease: int, *, well: bool = False) -> Usage:
        """Remove the inputs and cgroups of an attempt that is over, and offer its folder for reuse.
        Return the resource usage that the cgroups counted. `well` means that the attempt ended with
        code 0 and left no process."""
        place = self._places.pop(lease, None)
        if well and place is not None:
            self._workspace.give_back(place, lease)
        if place is not None and place.placed:
            self.files.cache.take_back(place.placed)
        usage = self.limiter.end(lease)
        self._sweep_limits()
        return usage

    def _sweep_limits(self) -> None:
        if not self._sweeping and self.limiter.left:
            self._sweeping = True
            self._work(self._sweep())

    async def _sweep(self) -> None:
        """Remove leftover cgroups in a thread, until none is left."""
        due: float | None = time.monotonic() + SWEEP_S
        while due is not None:
            await asyncio.sleep(max(SWEEP_S, due - time.monotonic()))
            due = await asyncio.to_thread(self.limiter.sweep, time.monotonic())
        self._sweeping = False

    def stop(self, lease: int, grace_s: float) -> None:
        driver = self._started.get(lease)
        if driver is not None:
            driver.stop(lease, grace_s)

    def withdraw(self, lease: int) -> None:
        """Withdraw an attempt that is still queued behind another attempt."""
        driver = self._started.get(lease)
        if driver is not None:
            driver.withdraw(lease)

    def _stopped_before(self, driver: AttemptDriver, lease: int) -> None:
        """Report the end of an attempt that was stopped before it had a process."""
        self._end(lease)
        self._see(m.AttemptExited(lease, -signal.SIGTERM, self._clock.now(), 0.0, 0))
        self._on_ended(lease, driver)

    def _refuse(self, lease: int, text: str, *, final: bool, driver: AttemptDriver | None = None) -> None:
        """Report that an attempt cannot start. `driver` is the driver of an attempt that was
        admitted but not launched yet."""
        driver = self._started.pop(lease, driver)
        self._end(lease)
        self._see(m.AttemptRefused(lease, text, final, self._clock.now()))
        self._on_ended(lease, driver)

    def _on_ended(self, lease: int, driver: AttemptDriver | None) -> None:
        """Note that the attempt has no process any more. No output follows, unless the attempt gets
        another process."""
        if driver is None or not driver.keeps(lease):
            self._pump.on_ended(lease)

    # -- processes that are not attempts -----------------------------------------------------------
    def _run_helper(
        self,
        key: int,
        argv: list[str],
        cwd: str,
        logs: tuple[str, str],
        report: Sink,
        under: Under,
        *,
        of: m.Assignment | None = None,
        env: Mapping[str, str] | None = None,
    ) -> bool:
        all_env = dict(env or {})
        masks: Sequence[bytes] = ()
        if of is not None and of.template.secrets:
            try:
                masks = self._give_secrets(of, all_env)
            except CannotStart as e:
                self._refuse(of.lease, str(e), final=e.final, driver=self._drivers.of(of.template))
                return False
        all_env |= {"TITAN_LEASE": str(key), "TITAN_CONTEXT_TOKEN": self._callers.token_of(key)}
        options = ProcessOptions(cwd, all_env, *logs, self._log_limit, self._machine.grace_s, masks=masks)
        self._supervisor.start(key, Command(argv), options, report, under=under)
        return True

    # -- reports -----------------------------------------------------------------------------------
    def _on_report(self, report: Report) -> None:
        """Handle a driver's report about an attempt."""
        lease = report.key
        match report:
            case Exited():
                self._on_exited(report)
            case Started():
                self._see(m.AttemptStarted(lease, self._clock.at(report.at_s)))
            case Output():
                self._pump.on_output(lease, report.stream, report.offset, report.data, report.skipped)
            case Withdrawn():
                self._started.pop(lease, None)
                self._end(lease, well=True)
                self._see(m.AttemptWithdrawn(lease))
            case Refused():
                final = report.errno in _FINAL_ERRNOS if report.final is None else report.final
                self._refuse(lease, report.text, final=final)
            case LogFailed():
                self._lost.setdefault(lease, why_lost(report.errno, report.text))
                log.warning("the log of lease %d, stream %d, cannot be written: %s", lease, report.stream, report.text)

    def _on_exited(self, report: Exited) -> None:
        lease = report.key
        if report.leftover:
            log.info("lease %d left %d processes behind; they were killed", lease, report.leftover)
        dropped = report.dropped_stdout + report.dropped_stderr
        if dropped:
            log.info("lease %d printed %d bytes over the limit; they were dropped", lease, dropped)
        driver = self._started.pop(lease, None)
        final = self._syntax_error(lease) if report.code == 1 else ""
        usage = self._end(lease, well=report.code == 0 and not report.leftover)
        lost = self._report_lost(lease)
        peak = usage.peak_bytes or report.peak_bytes
        at = self._clock.at(report.at_s)
        self._see(m.AttemptExited(lease, report.code, at, report.cpu_s, peak, usage.over_memory, lost, final))
        self._on_ended(lease, driver)

    def _syntax_error(self, lease: int) -> str:
        """Return the syntax error of a failed attempt's own Python script, "" if it has none. With
        an interpreter of the job's own, the syntax of this interpreter does not matter."""
        held, place = self._machine.held.get(lease), self._places.get(lease)
        if held is None or place is None:
            return ""
        template = held.assignment.template
        if template.python or template.service is not None or not template.file.endswith(".py"):
            return ""
        return syntax_error(f"{place.cwd}/{template.file}", template.file)

    def _report_lost(self, lease: int) -> str:
        """Return the reason why some output of an attempt is lost, "" if no output is lost. Add the
        reason to the attempt's log."""
        lost = self._lost.pop(lease, "")
        if lost:
            self._pump.add(lease, f"[titan: {OUTPUT_LOST}{lost}]\n".encode())
        return lost

    def _on_attempts_lost(self, leases: list[int], begun: list[int]) -> None:
        """Handle the death of a warden. `leases` are its attempts, whose processes are killed.
        `begun` are those that had a process."""
        drivers = [self._started.pop(lease, None) for lease in leases]
        for lease in leases:
            self._report_lost(lease)
        self._see(m.WardenDied(leases, self._clock.now(), begun))
        for lease, driver in zip(leases, drivers, strict=True):
            self._end(lease)
            self._on_ended(lease, driver)

    def _name_of(self, key: int) -> str:
        held = self._machine.held.get(key)
        return f"job {held.assignment.run}/{held.assignment.job}" if held is not None else "a function runner"


def _working_directory(template: JobTemplate, place: Place) -> str:
    """Return the folder in which a process of the job starts."""
    if template.cwd == SHARED_FOLDER:
        return place.shared
    if template.cwd == SCRIPT_FOLDER:
        return os.path.dirname(os.path.join(place.cwd, template.file))
    return template.cwd or place.cwd


def _is_output(template: JobTemplate, place: Place, file: PlacedFile) -> bool:
    path = file.path.removeprefix(f"{place.cwd}/")
    return any(path == output or (is_pattern(output) and matches(output, path)) for _, output in template.outputs)
