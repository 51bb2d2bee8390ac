"""The fake kernel of one worker process: what becomes of an attempt is drawn for (run, job, attempt), whoever runs it and when."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from titan.model.demand import NOTHING, amounts_of
from titan.model.states import Outcome
from titan.sim.clock import Timer
from titan.sim.truth import Host, Process
from titan.sim.world import World
from titan.worker import machine as wm

SIGKILL, SIGTERM, SIGSEGV = 9, 15, 11


class Fate:
    """How an attempt goes if nobody interferes. `kind` and mean seconds are the job's arguments, see `scenario`."""

    def __init__(self, seed: int, assignment: wm.Assignment) -> None:
        rng = Random(f"{seed}/{assignment.run}/{assignment.job}/{assignment.attempt}")
        kind, mean = assignment.args[0], float(assignment.args[1])
        self.launch_s = rng.choice((0.0, 0.002, 0.02, 0.5))
        forever = kind == "endless" or (kind == "hang" and assignment.template.timeout_s > 0)
        self.lasts_s = 1e6 if forever else rng.uniform(0.2, 1.8) * mean
        self.exit_code = 0
        if kind in ("fail", "hang") or (kind == "flaky" and rng.random() < 0.5):
            self.exit_code = rng.choice((1, 2, 77))
        elif kind == "signal" and rng.random() < 0.5:
            self.exit_code = -rng.choice((SIGKILL, SIGSEGV))
        self.refusal: Outcome | None = None
        if kind == "refused":
            self.refusal = Outcome.REFUSED
        elif kind == "broken" and rng.random() < 0.5:
            self.refusal = Outcome.BROKEN
        self.obeys_after_s = rng.choice((0.0, 0.01, 0.3, 1e6))
        """From SIGTERM to its end."""
        self.flush_s = rng.choice((0.0, 0.0, 0.01, 1.0))
        """From its end until its last output is on its way."""


class _Running:
    __slots__ = ("ends_at", "fate", "started", "timer")

    def __init__(self, fate: Fate, timer: Timer) -> None:
        self.fate = fate
        self.timer = timer
        self.started = False
        self.ends_at = float("inf")
        """When a stop will have ended it."""


class Processes:
    """Starts, ends and kills; says to the worker what a driver would say."""

    def __init__(self, world: World, host: Host, say: Callable[[Any], None], on_ended: Callable[[int, float], None]) -> None:
        self._world = world
        self._host = host
        self._say = say
        self._on_ended = on_ended
        self._all: dict[int, _Running] = {}
        self._behind: dict[int, tuple[int, wm.Assignment]] = {}
        """Attempts that begin when another has ended -> which other."""

    def start(self, assignment: wm.Assignment, gpus: tuple[str, ...], behind: int = 0) -> None:
        if behind in self._all:
            self._world.trace.count("attempt ahead")
            self._behind[assignment.lease] = behind, assignment
            return
        fate = Fate(self._world.scenario.seed, assignment)
        timer = self._world.clock.after(fate.launch_s, lambda: self._launch(assignment, gpus))
        self._all[assignment.lease] = _Running(fate, timer)

    def _launch(self, assignment: wm.Assignment, gpus: tuple[str, ...]) -> None:
        lease, world = assignment.lease, self._world
        running = self._all[lease]
        fate = running.fate
        if fate.refusal is not None:
            del self._all[lease]
            world.oracle.truth.trouble(lease, fate.refusal)
            self._say(wm.AttemptRefused(lease, "no such thing", fate.refusal is Outcome.REFUSED, world.clock.now))
            self._on_ended(lease, fate.flush_s)
            self._go_on(lease)
            return
        running.started = True
        world.oracle.on_started(
            Process(
                lease=lease,
                host=self._host,
                run=assignment.run,
                job=assignment.job,
                attempt=assignment.attempt,
                timeout_s=assignment.template.timeout_s,
                started_at=world.clock.now,
                asked=NOTHING if assignment.template.needs is None else amounts_of(assignment.template.needs),
                gpus=gpus,
            )
        )
        world.trace.note(self._host.name, f"starts {assignment.run}/{assignment.job}#{assignment.attempt}")
        world.trace.count("process")
        running.timer = world.clock.after(fate.lasts_s, lambda: self._end(lease, fate.exit_code))
        self._say(wm.AttemptStarted(lease, world.clock.now))

    def withdraw(self, lease: int) -> None:
        if self._behind.pop(lease, None) is not None:
            self._world.trace.count("attempt withdrawn")
            self._say(wm.AttemptWithdrawn(lease))

    def _go_on(self, ended: int) -> None:
        """The next one begins."""
        for lease, (other, assignment) in list(self._behind.items()):
            if other == ended:
                del self._behind[lease]
                self.start(assignment, ())

    def stop(self, lease: int, grace_s: float) -> None:
        """SIGTERM, and SIGKILL after the grace. What is still being launched never starts."""
        self.withdraw(lease)
        running = self._all.get(lease)
        if running is None:
            return
        running.timer.cancel()
        if not running.started:
            self._end(lease, -SIGTERM)
            return
        obeys = running.fate.obeys_after_s
        code = -SIGTERM if obeys < grace_s else -SIGKILL
        running.ends_at = min(running.ends_at, self._world.clock.now + min(obeys, grace_s))  # a second stop does not prolong
        running.timer = self._world.clock.at(running.ends_at, lambda: self._end(lease, code))

    def _end(self, lease: int, exit_code: int) -> None:
        running = self._all.pop(lease)
        now = self._world.clock.now
        if running.started:
            self._world.oracle.truth.ended(lease, exit_code, now)
        self._world.trace.note(self._host.name, f"process of {lease >> 32}.{lease & 0xFFFFFFFF} ends with {exit_code}")
        self._say(wm.AttemptExited(lease, exit_code, now, 0.1, 1 << 20))
        self._on_ended(lease, running.fate.flush_s)
        self._go_on(lease)

    def kill_all(self) -> None:
        """The worker dies, and its processes with it."""
        for lease, running in self._all.items():
            running.timer.cancel()
            if running.started:
                self._world.oracle.truth.ended(lease, -SIGKILL, self._world.clock.now, crashed=True)
        self._all.clear()
        self._behind.clear()

    def kill_runner(self) -> None:
        """The process that runs the attempts dies, and they with it; the worker lives."""
        leases, behind = list(self._all), list(self._behind)
        self.kill_all()
        for lease in leases:
            self._world.oracle.truth.trouble(lease, Outcome.BROKEN)
        self._say(wm.WardenDied([*leases, *behind], self._world.clock.now))
        for lease in leases:
            self._on_ended(lease, 0.0)

    @property
    def count(self) -> int:
        return len(self._all)
