"""The wardens of a worker: which process is under which of them, who hears what is reported of it,
and what a dead warden leaves.

A driver asks for a process (`start`) and says which warden it belongs under (`Under`). Every
process has a key: a lease, or below 0 the number of a helper (a function runner, a health check, a
look at an interpreter). Whoever starts a process gives the sink of its reports.

When a warden dies, all below it is killed. Then come what its processes had written (`Output`), one
`on_attempts_lost` for all attempts, and `Lost` for each helper, to its own sink. Attempts are told
of together, because which of them had begun decides who may have killed the warden.

Must not know what a process is for, nor the master.
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
    """Which warden has a process."""

    SHARED = "shared"
    """One that attempts share, the least loaded."""
    FIRST = "first"
    """The first of these: it is always there."""
    OWN = "own"
    """One for this process alone, that goes with it."""
    RUNNERS = "runners"
    """One for all function runners. A process that hides, in a session of its own and with its
    environment cleared, can be taken for that of any job that was there before it. Beside a runner
    or a service, which may stay for weeks, it would live as long."""
    SERVICES = "services"
    """One for all services, for the same reason."""


class AttemptsLost(Protocol):
    def __call__(self, leases: list[int], begun: list[int]) -> None:
        """`begun`: those of `leases` that had a process when their warden died."""


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
        """`most`: wardens that attempts share. `environment` is what every process gets; by its
        TITAN_WORKER_HOME a later worker knows what this one left. `work` runs a coroutine beside;
        `reported` is called after each batch; `name_of(key)` is for logs."""
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
        """Wardens of what stays for long, started with the first of it."""
        self._runners_apart = False
        """A warden has died with runners under it: each gets its own."""
        self.others: Callable[[], list[WardenLink]] = list
        """Wardens of other interpreters: they are not owned here, and spared when one of these
        dies."""

    def open(self) -> None:
        self._shared = Wardens(self._launch_shared, most=self._most)

    async def close(self) -> None:
        await asyncio.gather(*[link.close() for link in self._wardens()])

    # -- processes ---------------------------------------------------------------------------------
    def start(
        self, key: int, program: Program, options: ProcessOptions, report: Sink, *, under: Under = Under.SHARED, behind: int = 0
    ) -> None:
        """`behind`: once that attempt has ended, under the same warden."""
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
        """Under a warden of `launch`."""
        self._at[key] = (link, report)
        link.start(key, program, options)

    def stop(self, key: int, grace_s: float) -> None:
        """SIGTERM, after the grace SIGKILL; 0 kills at once. A key that is not here is ignored."""
        at = self._at.get(key)
        if at is not None:
            at[0].stop(key, grace_s)

    def withdraw(self, key: int) -> None:
        """Take it away from behind another, if it still stands there."""
        at = self._at.get(key)
        if at is not None:
            at[0].withdraw(key)

    def is_crowded(self, key: int) -> bool:
        """Whether nothing should stand behind this attempt any more: another warden has much less
        to do."""
        at = self._at.get(key)
        return at is not None and self._shared.is_crowded(at[0])

    # -- wardens -----------------------------------------------------------------------------------
    def launch(self, python: str, on_reports: Callable[[list[Report]], None], on_died: Callable[[int], None]) -> WardenLink:
        """A warden of the interpreter `python`. Raises EnvironmentFault if it cannot be started."""
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
        """What a warden reported, to the sinks."""
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
        log.error("a warden died with code %d; its jobs are killed and reported, a new one starts when it is needed", returncode)
        helpers: list[tuple[int, Sink]] = []
        try:
            helpers = self._bury(dead)
        finally:  # whatever fails there, a worker without a warden starts nothing any more
            self._shared.replace(dead)
        _tell(helpers, spared=True)

    def _on_own_died(self, key: int, returncode: int) -> None:
        log.error("the warden of %s, which it had for itself, died with code %d", self._name_of(key), returncode)
        _tell(self._bury(self._own.pop(key)), spared=False)

    def _on_beside_died(self, under: Under, returncode: int) -> None:
        log.error("the warden of all %s died with code %d; they are killed and reported", under.value, returncode)
        helpers = self._bury(self._beside.pop(under))
        self._runners_apart = self._runners_apart or (under is Under.RUNNERS and bool(helpers))
        _tell(helpers, spared=True)

    def on_other_died(self, dead: WardenLink, python: str, returncode: int) -> None:
        """A warden of `launch` died."""
        log.error("the warden of %s died with code %d; its jobs are killed and reported", python, returncode)
        _tell(self._bury(dead), spared=True)

    def _bury(self, dead: WardenLink) -> list[tuple[int, Sink]]:
        """Kill what it had: its processes are this one's children now, a subreaper's. Returns the
        helpers, and their sinks."""
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
