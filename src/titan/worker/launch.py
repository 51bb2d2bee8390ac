"""How attempts become processes: sandbox, environment and driver of each, and the wardens that start, watch and end them.

Owns the worker's own warden and, through `interpreters`, those of other Pythons: which attempt is with which of them, what they
report in the words of the machine, and what is to be done when one dies. It must not know the master.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import partial
from typing import Any

from titan.clock import SteadyClock
from titan.errors import TitanError
from titan.model.environment import environment_of
from titan.model.failure import OUTPUT_LOST
from titan.worker import machine as m
from titan.worker.callers import Callers
from titan.worker.cgroups import Limiter, Usage
from titan.worker.devices import VISIBLE
from titan.worker.disk import why_lost
from titan.worker.drivers import command_line, warm_script
from titan.worker.functions import FunctionDriver
from titan.worker.given_secrets import GivenSecrets, NotGiven
from titan.worker.interpreters import Interpreters, NoPython, executable_of
from titan.worker.job_files import JobFiles
from titan.worker.log_pump import LogPump
from titan.worker.sandbox import Place, Workspace
from titan.worker.secret_forms import forms_of
from titan.worker.service_driver import NULL, Awaited, ServiceDriver, Unplaced
from titan.worker.warden_link import WardenLink, kill_descendants
from titan.worker.wardens import Wardens

log = logging.getLogger("titan.worker")
SWEEP_S = 0.05
"""How soon it is tried again to remove the cgroup of an attempt whose last process has not quite ended."""

# Not worth a retry: the same command would fail in the same way anywhere on this worker.
_FINAL_ERRNOS = (errno.ENOENT, errno.EACCES, errno.ENOEXEC, errno.ENOTDIR, errno.E2BIG, errno.EINVAL, errno.ELOOP, errno.EISDIR)


class Launcher:
    """`see` takes what the machine is to hear; `work` runs a coroutine beside; `reported` is called after each batch of reports."""

    functions: FunctionDriver
    """Set before the first report."""
    files: JobFiles
    """Set before the first start."""

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
        mark: str,
        log_limit: int,
        preload: tuple[str, ...],
        limiter: Limiter,
        secrets: GivenSecrets,
        callers: Callers,
        advertised: str = "",
    ) -> None:
        """`environment` is what every job gets; `mark` the TITAN_WORKER_HOME by which its processes are known."""
        self._machine = machine
        self._workspace = workspace
        self._pump = pump
        self._clock = clock
        self._see = see
        self._work = work
        self._reported = reported
        self._environment = {**environment, "TITAN_WORKER_HOME": mark}
        self._warden_env = {**os.environ, "TITAN_WORKER_HOME": mark}
        self._log_limit = log_limit
        self._preload = preload
        self.limiter = limiter
        self._secrets = secrets
        self._callers = callers
        self._sweeping = False
        self._at: dict[int, WardenLink] = {}
        """Where the processes are, of attempts and of function runners."""
        self._own: dict[int, WardenLink] = {}
        """Wardens of one attempt or runner each: see `suspects`."""
        self._beside: dict[str, WardenLink] = {}
        """Wardens of what stays for long, runners and services: see `_warden_beside`."""
        self._runners_alone = False
        """A warden has died with runners under it."""
        self._places: dict[int, Place] = {}
        self._lost: dict[int, str] = {}
        """Attempts whose output cannot be kept -> why."""
        self.services = ServiceDriver(
            pump,
            clock,
            see=see,
            work=work,
            launch=self._launch,
            start_check=self._start_health_check,
            stop_check=self.stop_process,
            is_ending=lambda lease: (held := machine.held.get(lease)) is not None and held.stopping is not None,
            advertised=advertised,
            log_limit=log_limit,
        )
        self._interpreters = Interpreters(
            workspace.root / "interpreters",
            link=self._link,
            on_reports=self._on_reports,
            on_died=self._on_interpreter_died,
            check=self._start_check,
            stop_check=self.stop_process,
            refuse=self._refuse,
        )

    def open(self) -> None:
        self._shared = Wardens(self._launch_shared, most=min(self._machine.slots, len(os.sched_getaffinity(0))))

    def limit_by(self, limiter: Limiter) -> None:
        """Use it for the attempts to come. To be called after `open`, before the first attempt."""
        self.limiter = limiter
        self._sweep_limits()

    async def close(self) -> None:
        await asyncio.gather(self._interpreters.close(), *[link.close() for link in self._wardens()])
        await asyncio.to_thread(kill_descendants, os.getpid())
        await asyncio.to_thread(self.limiter.close)

    def _launch_shared(self) -> WardenLink:
        link = self._link(sys.executable, self._on_reports, lambda returncode: self._on_warden_died(link, returncode))
        return link

    def _link(self, python: str, on_reports: Callable[[list[Any]], None], on_died: Callable[[int], None]) -> WardenLink:
        link = WardenLink(
            on_reports=on_reports,
            on_died=on_died,
            env=self._warden_env,
            python=python,
            preload=self._preload,
            jobs_env=self._environment,
        )
        link.launch()
        return link

    # -- attempts ---------------------------------------------------------------------------------------------------------
    def start(self, it: m.Assignment, gpus: tuple[str, ...], behind: int = 0) -> None:
        """`gpus` are the devices that CUDA is to show it; one that asked for none sees what the worker sees. `behind`: once that
        attempt has ended."""
        if behind and behind in self._at and self._shared.is_crowded(self._at[behind]):
            self._see(m.AttemptWithdrawn(it.lease))  # it begins with another warden, when a slot is free
            return
        if it.template.service is not None:
            self.services.add(it, gpus)
        if it.template.archive or it.files:
            self._work(self._unpack_and_launch(it, gpus))
            return
        try:
            place = self._workspace.prepare(it)
        except OSError as e:
            self._refuse(it.lease, f"its sandbox could not be made: {e}", final=False)
            return
        self._launch(it, place, gpus, behind)

    async def _unpack_and_launch(self, it: m.Assignment, gpus: tuple[str, ...]) -> None:
        try:
            place = await asyncio.to_thread(self._workspace.prepare, it)
            if it.files:
                given = await self.files.give(it, place.cwd)
                outputs = {f"{place.cwd}/{path}" for _, path in it.template.outputs}
                place = place._replace(given=tuple([one for one in given if one.path not in outputs]))
        except (OSError, TitanError) as e:
            self._refuse(it.lease, f"its sandbox could not be made: {e}", final=False)
            return
        held = self._machine.held.get(it.lease)
        if held is None or held.stopping is not None:
            self._stopped_before(it.lease)
            return
        self._launch(it, place, gpus)

    def _launch(self, it: m.Assignment, place: Place, gpus: tuple[str, ...], behind: int = 0) -> None:
        log_limit = self._log_limit
        if self.services.is_first(it.lease):
            self._pump.open(it, place.stdout, place.stderr)
        if it.template.service is None:  # the folder of a service is its next process's
            self._places[it.lease] = place
        if it.services or it.template.service is not None:
            try:
                it, place, log_limit = self.services.prepare(it, place)
            except Awaited as e:
                self.services.launch_after(e.lease, it, place, gpus)
                return
            except Unplaced as e:
                self._refuse(it.lease, str(e), final=True)
                return
        env = {
            **environment_of(it.template),
            **({VISIBLE: ",".join(gpus)} if gpus else {}),
            "TITAN_RUN": it.run,
            "TITAN_JOB": it.job,
            "TITAN_ATTEMPT": str(it.attempt),
            "TITAN_SHARED": place.shared,
            "TITAN_LEASE": str(it.lease),
            "TITAN_CONTEXT_TOKEN": self._callers.token_of(it.lease),
        }
        how: dict[str, Any] = {
            "cwd": place.cwd,
            "env": env,
            "stdout_path": place.stdout,
            "stderr_path": place.stderr,
            "log_limit": log_limit,
            "grace_s": self._machine.grace_s,
            "behind": behind,
        }
        if it.template.secrets and not self._give_secrets(it, how):
            return
        if it.template.limits is not None and not self._limit(it, how):
            return
        if it.template.python:
            self._launch_elsewhere(it, how)
            return
        link = self._at[it.lease] = self._warden_of(it, behind)
        script = warm_script(it)
        if script is None:
            link.start(it.lease, command_line(it, place.cwd), **how)
        else:
            path, content = script
            link.script(it.lease, path, it.args, content_hash=content, **how)

    def _is_alone(self, lease: int) -> bool:
        held = self._machine.held.get(lease)
        return held is not None and held.alone

    def _warden_of(self, it: m.Assignment, behind: int) -> WardenLink:
        if self._is_alone(it.lease):
            return self._own_warden(it.lease)
        if it.template.service is not None:
            return self._warden_beside("services")
        return self._shared.choose(time.monotonic(), self._at.get(behind))

    def _wardens(self) -> list[WardenLink]:
        """All but those of other interpreters."""
        return [*self._shared.links, *self._own.values(), *self._beside.values()]

    def _warden_beside(self, kind: str) -> WardenLink:
        """One for all processes of a kind that stay for long, started with the first of them.

        A process that hides, in a session of its own and with its environment cleared, can be taken for any job's that was there
        before it. Beside a runner or a service, which may stay for weeks, it would live as long as that.
        """
        link = self._beside.get(kind)
        if link is None:
            link = self._link(sys.executable, self._on_reports, partial(self._on_beside_died, kind))
            self._beside[kind] = link
        return link

    def _own_warden(self, key: int) -> WardenLink:
        """One for it alone, that goes when it has ended."""
        link = self._own[key] = self._link(sys.executable, self._on_reports, partial(self._on_own_died, key))
        return link

    def _close_own(self, key: int) -> None:
        link = self._own.pop(key, None)
        if link is not None:
            self._work(link.close())

    def _give_secrets(self, it: m.Assignment, how: dict[str, Any]) -> bool:
        """Puts them into the environment, and what is to be masked into the order. False: it lacks one, and is refused."""
        try:
            values = self._secrets.of(it)
        except NotGiven as e:
            self._refuse(it.lease, str(e), final=e.final)
            return False
        how["env"].update({name: value.decode("utf-8", "surrogateescape") for name, value in values.items()})
        how["masks"] = forms_of(values.values())
        return True

    def _limit(self, it: m.Assignment, how: dict[str, Any]) -> bool:
        """Makes what holds the attempt to its limits. False: that failed, and it is refused."""
        assert it.template.limits is not None
        try:
            how["rlimits"] = self.limiter.prepare(it.lease, it.template.limits)
        except OSError as e:
            self._refuse(it.lease, f"its limits could not be set: {e}", final=False)
            return False
        return True

    def _end(self, lease: int, *, well: bool = False) -> Usage:
        """The attempt is over: what it used, as far as that was counted. `well`: with code 0, and left no process."""
        place = self._places.pop(lease, None)
        if well and place is not None:
            self._workspace.give_back(place, lease)
        if place is not None and place.given:
            self.files.cache.take_back(place.given)
        usage = self.limiter.end(lease)
        self._sweep_limits()
        return usage

    def _sweep_limits(self) -> None:
        if not self._sweeping and self.limiter.left:
            self._sweeping = True
            self._work(self._sweep())

    async def _sweep(self) -> None:
        """Removes in a thread what groups are left, until none is."""
        due: float | None = time.monotonic() + SWEEP_S
        while due is not None:
            await asyncio.sleep(max(SWEEP_S, due - time.monotonic()))
            due = await asyncio.to_thread(self.limiter.sweep, time.monotonic())
        self._sweeping = False

    def _launch_elsewhere(self, it: m.Assignment, how: dict[str, Any]) -> None:
        """By the interpreter that the job names: in a fork of a warm one if there can be one, else in a process of its own."""
        script = None if self._is_alone(it.lease) else warm_script(it)
        if script is not None:
            self._interpreters.use(it.lease, it.template.python, partial(self._begin_elsewhere, it, script, how))
            return
        try:
            executable, _ = executable_of(it.template.python)
        except NoPython as e:
            self._refuse(it.lease, str(e), final=True)
            return
        self._begin_elsewhere(it, ("", ""), how, None, executable)

    def _begin_elsewhere(
        self, it: m.Assignment, script: tuple[str, str], how: dict[str, Any], link: WardenLink | None, executable: str
    ) -> None:
        if link is None:
            own = self._own_warden(it.lease) if self._is_alone(it.lease) else self._shared.choose(time.monotonic())
            self._at[it.lease] = own
            own.start(it.lease, command_line(it, how["cwd"], executable), **how)
        else:
            self._at[it.lease] = link
            path, content = script
            link.script(it.lease, path, it.args, content_hash=content, **how)

    def stop(self, lease: int, grace_s: float) -> None:
        link = self._at.get(lease)
        if link is not None:
            link.stop(lease, grace_s)
        elif self.services.give_up(lease) or self._interpreters.give_up(lease):
            self._stopped_before(lease)

    def withdraw(self, lease: int) -> None:
        """Takes it away from behind another, if it still stands there."""
        link = self._at.get(lease)
        if link is not None:
            link.withdraw(lease)

    def _stopped_before(self, lease: int) -> None:
        """It was stopped before its process was there."""
        self._end(lease)
        self._see(m.AttemptExited(lease, -signal.SIGTERM, self._clock.now(), 0.0, 0))
        self._on_ended(lease)

    def _refuse(self, lease: int, text: str, *, final: bool) -> None:
        self._end(lease)
        self._see(m.AttemptRefused(lease, text, final, self._clock.now()))
        self._on_ended(lease)

    def _on_ended(self, lease: int) -> None:
        """There is no process any more; of a service another may come."""
        if not self.services.has(lease):
            self._pump.on_ended(lease)

    # -- processes that are no attempts -------------------------------------------------------------------------------------
    def start_process(
        self,
        key: int,
        argv: list[str],
        cwd: str,
        stdout: str,
        stderr: str,
        env: Mapping[str, str] | None = None,
        masks: Sequence[bytes] = (),
    ) -> None:
        """Of a function runner, or of the look at an interpreter or at the health of a service: `key` is below 0."""
        self._start_process(self._shared.links[0], key, argv, cwd, stdout, stderr, env or {}, masks)

    def _start_process(
        self,
        link: WardenLink,
        key: int,
        argv: list[str],
        cwd: str,
        stdout: str,
        stderr: str,
        env: Mapping[str, str],
        masks: Sequence[bytes] = (),
    ) -> None:
        self._at[key] = link
        link.start(
            key,
            argv,
            cwd=cwd,
            env={**env, "TITAN_LEASE": str(key), "TITAN_CONTEXT_TOKEN": self._callers.token_of(key)},
            stdout_path=stdout,
            stderr_path=stderr,
            log_limit=self._log_limit,
            grace_s=self._machine.grace_s,
            masks=masks,
        )

    def start_runner(self, key: int, argv: list[str], cwd: str, stdout: str, stderr: str) -> None:
        link = self._own_warden(key) if self._runners_alone else self._warden_beside("runners")
        self._start_process(link, key, argv, cwd, stdout, stderr, {})

    def stop_process(self, key: int) -> None:
        link = self._at.get(key)
        if link is not None:
            link.stop(key, 0.0)

    def _start_check(self, key: int, argv: list[str], base: str) -> None:
        self.start_process(key, argv, "/", f"{base}.stdout", f"{base}.stderr")

    def _start_health_check(self, key: int, it: m.Assignment, argv: list[str], cwd: str, env: dict[str, str]) -> None:
        """It has what the service has, and what it says of the service has no secret in it either."""
        how: dict[str, Any] = {"env": env, "masks": ()}
        if not it.template.secrets or self._give_secrets(it, how):
            self.start_process(key, argv, cwd, NULL, NULL, **how)

    # -- what the wardens say -----------------------------------------------------------------------------------------------
    def _on_reports(self, reports: list[tuple[Any, ...]]) -> None:
        for report in reports:
            kind, lease = report[0], report[1]
            if kind == "started":
                self._callers.began(lease, report[2])
            elif kind == "exited":
                self._callers.ended(lease)
            if lease < 0:
                self._on_process_report(report)
            elif kind == "output" and self.services.has(lease):
                lost = self.services.on_output(lease, report[2], report[4])
                if lost:
                    self._lost.setdefault(lease, lost)
            elif kind == "output":
                self._pump.on_output(lease, report[2], report[3], report[4])
            elif kind == "started":
                self._see(m.AttemptStarted(lease, self._clock.at(report[3])))
            elif kind == "exited":
                _, _, code, at, cpu_s, peak, dropped_out, dropped_err, leftover = report
                if leftover:
                    log.info("lease %d left %d processes behind; they were killed", lease, leftover)
                if dropped_out or dropped_err:
                    log.info("lease %d printed %d bytes over the limit; they were dropped", lease, dropped_out + dropped_err)
                self._at.pop(lease, None)
                self._close_own(lease)
                usage = self._end(lease, well=code == 0 and not leftover)
                lost = self._tell_lost(lease)
                peak = usage.peak_bytes or peak
                self._see(m.AttemptExited(lease, code, self._clock.at(at), cpu_s, peak, usage.over_memory, lost))
                self._on_ended(lease)
            elif kind == "withdrawn":
                self._at.pop(lease, None)
                self._end(lease, well=True)
                self._see(m.AttemptWithdrawn(lease))
            elif kind == "refused":
                _, _, number, text = report
                self._at.pop(lease, None)
                self._close_own(lease)
                self._refuse(lease, text, final=number in _FINAL_ERRNOS)
            else:
                _, _, stream, number, text = report
                self._lost.setdefault(lease, why_lost(number, text))
                log.warning("the log of lease %d, stream %d, cannot be written: %s", lease, stream, text)
        self._reported()

    def _tell_lost(self, lease: int) -> str:
        """Why output of an attempt is lost, which its log says too; "" if none is."""
        lost = self._lost.pop(lease, "")
        if lost:
            self._pump.add(lease, f"[titan: {OUTPUT_LOST}{lost}]\n".encode())
        return lost

    def _on_process_report(self, report: tuple[Any, ...]) -> None:
        kind, key = report[:2]
        if kind in ("exited", "refused"):
            self._at.pop(key, None)
            self._close_own(key)
        if self.services.on_report(report) or self._interpreters.on_report(report):
            return
        if kind == "exited":
            self.functions.on_exited(key, report[2])
        elif kind == "refused":
            self.functions.on_refused(key, report[3])

    # -- deaths -------------------------------------------------------------------------------------------------------------
    def _on_warden_died(self, dead: WardenLink, returncode: int) -> None:
        log.error("a warden died with code %d; its jobs are killed and reported, a new one starts when it is needed", returncode)
        checked = dead is self._shared.links[0]
        try:
            self._bury(dead)
            if checked:
                self.services.on_warden_died()
        finally:  # whatever fails there, a worker without a warden starts nothing any more
            self._shared.replace(dead)
        if checked:
            self._interpreters.on_checks_lost()

    def _on_interpreter_died(self, link: WardenLink, python: str, returncode: int) -> None:
        log.error("the warden of %s died with code %d; its jobs are killed and reported", python, returncode)
        self._bury(link)

    def _on_own_died(self, key: int, returncode: int) -> None:
        held = self._machine.held.get(key)
        what = f"job {held.assignment.run}/{held.assignment.job}" if held is not None else "a function runner"
        log.error("the warden of %s, which it had for itself, died with code %d", what, returncode)
        self._bury(self._own.pop(key), shared=False)

    def _on_beside_died(self, kind: str, returncode: int) -> None:
        log.error("the warden of all %s died with code %d; they are killed and reported", kind, returncode)
        self._bury(self._beside.pop(kind))

    def _bury(self, dead: WardenLink, *, shared: bool = True) -> None:
        """Its processes are this process's children now, a subreaper's, and are killed; what other wardens have is spared."""
        wardens = (*self._wardens(), *self._interpreters.links())
        kill_descendants(os.getpid(), except_pids=[link.pid for link in wardens if link is not dead])
        begun = [key for key in dead.begun() if self._at.get(key) is dead]
        self._on_reports(dead.salvage())
        leases = [key for key, link in self._at.items() if link is dead]
        for key in leases:
            del self._at[key]
            self._lost.pop(key, None)
            self._callers.ended(key)
        attempts, runners = [lease for lease in leases if lease >= 0], [key for key in leases if key < 0]
        self._see(m.WardenDied(attempts, self._clock.now(), [lease for lease in begun if lease >= 0]))
        for lease in attempts:
            self._end(lease)
            self._on_ended(lease)
        if self.functions.on_warden_died(runners, spared=shared) and shared:
            self._runners_alone = True
