"""Jobs that say of themselves how far they are and what they do, and what they came to. What a job
says is drawn for (run, job, attempt). When the master is told is decided by the worker's own
`job_news`.
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
"""Of all scenarios that have such jobs."""
LONGEST_S = 20.0
"""After this a job has said all it says."""
_WITH_PROCESS = (Phase.STARTING, Phase.RUNNING, Phase.AHEAD)
_KINDS = ("progress", "progress", "status", "status", "same status", "result")


def reports_of(world: World, assignment: messages.Assignment) -> list[tuple[float, str]]:
    """(seconds after its start, what) of all that a process says."""
    seed = world.scenario.seed
    rng = Random(f"{seed}/{assignment.run}/{assignment.job}/{assignment.attempt}/talk")
    if Random(f"{seed}/talk").random() >= SHARE or rng.random() >= 0.6:
        return []
    lasts = LONGEST_S if assignment.template.service is not None else min(LONGEST_S, Fate(seed, assignment).lasts_s)
    said = [(rng.uniform(0.0, lasts), rng.choice(_KINDS)) for _ in range(rng.choice((1, 3, 10)))]
    if rng.random() < 0.5:
        said += [(lasts * rng.uniform(0.99, 1.0), what) for what in ("status", "result", "status")]
    if assignment.template.service is not None:
        said = [(at, what) for at, what in said if what != "result"]
    return sorted(said)


class Reporting:
    """The jobs of one worker process that talk: what its handler for them, and its timer, would do."""

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
        """`held`: the attempts of the worker's machine. `later` calls after some time, if the
        worker lives then."""
        self._world = world
        self._held = held
        self._send = send
        self._can_send = can_send
        self._receive = receive
        self._is_running = is_running
        self._later = later
        self._news = ReportOutbox()
        self._timer: Timer | None = None
        self._timer_at = 0.0

    # -- what jobs say -----------------------------------------------------------------------------
    def on_started(self, assignment: messages.Assignment) -> None:
        for after_s, what in reports_of(self._world, assignment):
            self._later(after_s, partial(self._say, assignment.lease, what))

    def _say(self, lease: int, what: str) -> None:
        h = self._held.get(lease)
        if not self._is_running(lease) or h is None or h.phase not in _WITH_PROCESS or h.orphaned:
            return  # it is over, or what it says no longer counts
        self._world.trace.count(f"says {what}")
        said, now = self._world.oracle.process_oracle.reports_of(lease), self._world.clock.now
        match what:
            case "progress":
                said.progress.append(((len(said.progress) % 100) / 100, f"step {len(said.progress)} of {lease}"))
                said.progress_at = now
                self._arm(self._news.progress(lease, *said.progress[-1]))
            case "result":
                said.results += 1
                said.value = JSON + f'"{lease} {said.results}"'.encode()
                self._receive(messages.ResultSet(lease, said.value))
            case _:
                if what == "status" or not said.statuses:
                    said.statuses.append(f"status {len(said.statuses)} of {lease}")
                    said.status_at = now
                self._arm(self._news.status(lease, said.statuses[-1]))

    def forget(self, lease: int) -> None:
        self._news.forget(lease)

    # -- what the master is told -------------------------------------------------------------------
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
            for message in self._news.due(self._world.clock.now):
                self._send(message)
            self._arm(self._news.next_due())

    def before_results(self) -> None:
        for message in self._news.all_statuses(self._world.clock.now):
            self._send(message)

    def go_on(self) -> None:
        """The worker may be connected."""
        self._arm(self._news.next_due())

    def disconnected(self) -> None:
        self._news.disconnected()
