"""Supervisor of a worker's wardens. It records the warden and the report sink of each process, and
cleans up after a dead warden.

A driver asks for a process (`start`) and chooses its warden (`Under`). Every process has a key: a
lease, or a negative number for a helper. A helper is a function runner, a health check or a check
of an interpreter. The caller of `start` also passes the sink of the reports.

When a warden dies, the supervisor kills all its processes. Then it reports the output that these
processes had written (`Output`), calls `on_attempts_lost` once for all attempts, and sends `Lost`
for each helper to the helper's sink. Lost attempts are reported together, because it matters which
of them had begun: one of those may have killed the warden.

The supervisor must not know what a process is for, nor the master.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import time
from collections.abc import Callable, Coroutine, Mapping
from enum import Enum
from functools import partial
from typing import Any, Protocol

from titan.worker.context.callers import Callers
from titan.worker.processes.orders import ProcessOptions, Program
from titan.worker.processes.reports import LAST, Lost, Report, Sink, Started
from titan.worker.processes.warden_link import WardenLink, kill_descendants
from titan.worker.processes.warden_pool import Wardens

log = logging.getLogger("titan.worker")


class Under(Enum):
    """Choice of the warden for a process."""

    SHARED = "shared"
    """The least loaded of the wardens that attempts share."""
    FIRST = "first"
    """The first of the shared wardens, which always exists."""
    OWN = "own"
    """A warden for this process alone, which ends with the process."""
    RUNNERS = "runners"
    """One warden for all function runners, separate from the wardens of attempts.

    Reason: a process of a job can hide by a new session and a cleared environment. The warden
    cannot tell the job of such a process, and kills it only when all jobs have ended that ran when
    it was born. Under one warden with a runner or a service, which may run for weeks, the process
    would live as long."""
    SERVICES = "services"
    """One warden for all services, for the same reason."""


class AttemptsLost(Protocol):
    def __call__(self, leases: list[int], begun: list[int]) -> None:
        """Handle the loss of the attempts `leases`. `begun` are those that had a process when their
        warden died."""


class Supervisor:
    def __init__(
        self,
        *,
        most: int,
        environment: Mapping[str, str],
        preload: tuple[str, ...],
        callers: Callers,
        work: Callable[[Coroutine[Any, Any, None]], None],
        reported: Callable[[], None],
        on_attempts_lost: AttemptsLost,
        name_of: Callable[[int], str],
    ) -> None:
        """Create a supervisor without wardens.

        `most` limits the number of wardens that attempts share. `environment` is passed to every
        process. By the TITAN_WORKER_HOME in it, a later worker finds processes that this worker
        left behind. `work` runs a coroutine in the background. `reported` is called after each
        batch of reports. `name_of(key)` returns the name of a process for log texts.
        """
        self._most = most
        self._environment = environment
        self._warden_env = {**os.environ, "TITAN_WORKER_HOME": environment["TITAN_WORKER_HOME"]}
        self._preload = preload
        self._callers = callers
        self._work = work
        self._reported = reported
        self._on_attempts_lost = on_attempts_lost
        self._name_of = name_of
        self._at: dict[int, tuple[WardenLink, Sink]] = {}
        self._own: dict[int, WardenLink] = {}
        self._beside: dict[Under, WardenLink] = {}
        """Wardens of long-lived processes. Each warden is started with its first process."""
        self._runners_apart = False
        """True after a warden with runners under it has died. Each new runner then gets a warden of
        its own."""
        self.others: Callable[[], list[WardenLink]] = list
        """Returns the wardens of other interpreters, which `Interpreters` owns. The cleanup after a
        dead warden must not kill them."""

    def open(self) -> None:
        self._shared = Wardens(self._launch_shared, most=self._most)

    async def close(self) -> None:
        await asyncio.gather(*[link.close() for link in self._wardens()])

    # -- processes ---------------------------------------------------------------------------------
    def start(
        self, key: int, program: Program, options: ProcessOptions, report: Sink, *, under: Under = Under.SHARED, behind: int = 0
    ) -> None:
        """Start a process. `behind` is the lease of an attempt that has to end first. The process
        then gets the same warden as that attempt."""
        if under is Under.SHARED:
            front = self._at.get(behind)
            link = self._shared.choose(time.monotonic(), front[0] if front is not None else None)
        elif under is Under.FIRST:
            link = self._shared.links[0]
        elif under is Under.OWN or (under is Under.RUNNERS and self._runners_apart):
            link = self._own[key] = self.launch(sys.executable, self.take, partial(self._on_own_died, key))
        else:
            link = self._warden_beside(under)
        self._at[key] = (link, report)
        link.start(key, program, options, behind=behind)

    def start_at(self, link: WardenLink, key: int, program: Program, options: ProcessOptions, report: Sink) -> None:
        """Start a process under a warden that the caller got from `launch`."""
        self._at[key] = (link, report)
        link.start(key, program, options)

    def stop(self, key: int, grace_s: float) -> None:
        """Send SIGTERM to a process, and SIGKILL after the grace period. A grace period of 0 kills
        at once. An unknown key is ignored."""
        at = self._at.get(key)
        if at is not None:
            at[0].stop(key, grace_s)

    def withdraw(self, key: int) -> None:
        """Withdraw an attempt that is still queued behind another attempt."""
        at = self._at.get(key)
        if at is not None:
            at[0].withdraw(key)

    def is_crowded(self, key: int) -> bool:
        """Return True if no attempt should be queued behind this attempt, because another warden
        has far fewer jobs."""
        at = self._at.get(key)
        return at is not None and self._shared.is_crowded(at[0])

    # -- wardens -----------------------------------------------------------------------------------
    def launch(self, python: str, on_reports: Callable[[list[Report]], None], on_died: Callable[[int], None]) -> WardenLink:
        """Launch a warden for the interpreter `python`. Raises EnvironmentFault on failure."""
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

    def _launch_shared(self) -> WardenLink:
        link = self.launch(sys.executable, self.take, lambda returncode: self._on_shared_died(link, returncode))
        return link

    def _warden_beside(self, under: Under) -> WardenLink:
        link = self._beside.get(under)
        if link is None:
            link = self._beside[under] = self.launch(sys.executable, self.take, partial(self._on_beside_died, under))
        return link

    def _wardens(self) -> list[WardenLink]:
        return [*self._shared.links, *self._own.values(), *self._beside.values()]

    # -- reports -----------------------------------------------------------------------------------
    def take(self, reports: list[Report]) -> None:
        """Pass a warden's reports to the sinks."""
        for report in reports:
            key = report.key
            if isinstance(report, LAST):
                self._callers.ended(key)
                entry = self._at.pop(key, None)
                if self._own:
                    self._close_own(key)
            else:
                entry = self._at.get(key)
                if isinstance(report, Started):
                    self._callers.began(key, report.pid)
            if entry is not None:
                entry[1](report)
        self._reported()

    def _close_own(self, key: int) -> None:
        link = self._own.pop(key, None)
        if link is not None:
            self._work(link.close())

    # -- deaths ------------------------------------------------------------------------------------
    def _on_shared_died(self, dead: WardenLink, returncode: int) -> None:
        log.error("a warden died with code %d; its jobs are killed and reported, a new warden starts when it is needed", returncode)
        helpers: list[tuple[int, Sink]] = []
        try:
            helpers = self._bury(dead)
        finally:  # even if the cleanup failed: without a warden the worker could not start any process
            self._shared.replace(dead)
        _tell(helpers, spared=True)

    def _on_own_died(self, key: int, returncode: int) -> None:
        log.error("the dedicated warden of %s died with code %d", self._name_of(key), returncode)
        _tell(self._bury(self._own.pop(key)), spared=False)

    def _on_beside_died(self, under: Under, returncode: int) -> None:
        log.error("the warden of all %s died with code %d; they are killed and reported", under.value, returncode)
        helpers = self._bury(self._beside.pop(under))
        self._runners_apart = self._runners_apart or (under is Under.RUNNERS and bool(helpers))
        _tell(helpers, spared=True)

    def on_other_died(self, dead: WardenLink, python: str, returncode: int) -> None:
        """Handle the death of a warden that another owner got from `launch`."""
        log.error("the warden of %s died with code %d; its jobs are killed and reported", python, returncode)
        _tell(self._bury(dead), spared=True)

    def _bury(self, dead: WardenLink) -> list[tuple[int, Sink]]:
        """Kill the processes of a dead warden and report their remaining output. Return the keys
        and sinks of its helpers.

        This process is a subreaper, so the dead warden's processes are its children now.
        """
        wardens = (*self._wardens(), *self.others())
        kill_descendants(os.getpid(), except_pids=[link.pid for link in wardens if link is not dead])
        begun = [key for key in dead.begun() if key in self._at and self._at[key][0] is dead]
        self.take(dead.salvage())
        lost = {key: sink for key, (link, sink) in self._at.items() if link is dead}
        for key in lost:
            del self._at[key]
            self._callers.ended(key)
        self._on_attempts_lost([key for key in lost if key >= 0], [key for key in begun if key >= 0])
        return [(key, sink) for key, sink in lost.items() if key < 0]


def _tell(helpers: list[tuple[int, Sink]], *, spared: bool) -> None:
    for key, sink in helpers:
        sink(Lost(key, spared))
