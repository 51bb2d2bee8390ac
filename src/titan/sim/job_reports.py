"""Jobs that report progress, a status and a result.

The reports depend only on the seed, the run, the job and the attempt. The production class
`ReportOutbox` decides when the worker sends them to the master.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from random import Random
from typing import Any

from titan.model.values import JSON
from titan.protocol import messages as pm
from titan.sim.clock import Timer
from titan.sim.processes import Fate
from titan.sim.world import World
from titan.worker.state_machine import messages
from titan.worker.state_machine.attempt import Held, Phase
from titan.worker.state_machine.job_reports import ReportOutbox

SHARE = 0.3
"""Share of scenarios with jobs that report."""
LONGEST_S = 20.0
"""Latest report of a job, in seconds after its start."""
_WITH_PROCESS = (Phase.STARTING, Phase.RUNNING, Phase.AHEAD)
_KINDS = ("progress", "progress", "status", "status", "same status", "result")


def reports_of(world: World, assignment: messages.Assignment) -> list[tuple[float, str]]:
    """Return (seconds after the start, kind) of all reports of a process."""
    seed = world.scenario.seed
    rng = Random(f"{seed}/{assignment.run}/{assignment.job}/{assignment.attempt}/talk")
    if Random(f"{seed}/talk").random() >= SHARE or rng.random() >= 0.6:
        return []
    lasts = LONGEST_S if assignment.template.service is not None else min(LONGEST_S, Fate(seed, assignment).lasts_s)
    reports = [(rng.uniform(0.0, lasts), rng.choice(_KINDS)) for _ in range(rng.choice((1, 3, 10)))]
    if rng.random() < 0.5:
        reports += [(lasts * rng.uniform(0.99, 1.0), kind) for kind in ("status", "result", "status")]
    if assignment.template.service is not None:
        reports = [(at, kind) for at, kind in reports if kind != "result"]
    return sorted(reports)


class Reporting:
    """Reports by the jobs of one worker process. This class replaces the handler of reports in a
    real worker, with its timer."""

    def __init__(
        self,
        world: World,
        held: dict[int, Held],
        *,
        send: Callable[[pm.Message], None],
        can_send: Callable[[], bool],
        receive: Callable[[Any], None],
        is_running: Callable[[int], bool],
        later: Callable[[float, Callable[[], None]], Timer],
    ) -> None:
        """Set up the reports. `held` has the attempts of the worker's state machine.

        `later` calls a function after some time, if the worker is still alive.
        """
        self._world = world
        self._held = held
        self._send = send
        self._can_send = can_send
        self._receive = receive
        self._is_running = is_running
        self._later = later
        self._outbox = ReportOutbox()
        self._timer: Timer | None = None
        self._timer_at = 0.0

    # -- reports of jobs ---------------------------------------------------------------------------
    def on_started(self, assignment: messages.Assignment) -> None:
        for after_s, kind in reports_of(self._world, assignment):
            self._later(after_s, partial(self._report, assignment.lease, kind))

    def _report(self, lease: int, kind: str) -> None:
        h = self._held.get(lease)
        if not self._is_running(lease) or h is None or h.phase not in _WITH_PROCESS or h.orphaned:
            return  # the attempt has ended, or its reports no longer count
        self._world.trace.count(f"says {kind}")
        reports, now = self._world.oracle.process_oracle.reports_of(lease), self._world.clock.now
        match kind:
            case "progress":
                reports.progress.append(((len(reports.progress) % 100) / 100, f"step {len(reports.progress)} of {lease}"))
                reports.progress_at = now
                self._arm(self._outbox.progress(lease, *reports.progress[-1]))
            case "result":
                reports.results += 1
                reports.value = JSON + f'"{lease} {reports.results}"'.encode()
                self._receive(messages.ResultSet(lease, reports.value))
            case _:
                if kind == "status" or not reports.statuses:
                    reports.statuses.append(f"status {len(reports.statuses)} of {lease}")
                    reports.status_at = now
                self._arm(self._outbox.status(lease, reports.statuses[-1]))

    def forget(self, lease: int) -> None:
        self._outbox.forget(lease)

    # -- messages to the master --------------------------------------------------------------------
    def _arm(self, due: float | None) -> None:
        if due is None or not self._can_send():
            return
        if self._timer is not None:
            if self._timer_at <= due:
                return
            self._timer.cancel()
        now = self._world.clock.now
        self._timer_at = max(due, now)
        self._timer = self._later(self._timer_at - now, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        if self._can_send():
            for message in self._outbox.due(self._world.clock.now):
                self._send(message)
            self._arm(self._outbox.next_due())

    def before_results(self) -> None:
        for message in self._outbox.all_statuses(self._world.clock.now):
            self._send(message)

    def go_on(self) -> None:
        """Set the timer again, because the worker may have connected since it was set."""
        self._arm(self._outbox.next_due())

    def disconnected(self) -> None:
        self._outbox.disconnected()
