"""Fake operating system of one worker process, which runs the attempts.

The course of an attempt depends only on the seed, the run, the job and the number of the attempt,
not on the worker or the time.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from titan.model.demand import NOTHING, amounts_of
from titan.model.states import Outcome
from titan.sim.clock import Timer
from titan.sim.oracle.processes import Host, Process
from titan.sim.world import World
from titan.worker.state_machine import machine as wm
from titan.worker.state_machine import messages

SIGKILL, SIGTERM, SIGSEGV = 9, 15, 11


class Fate:
    """Course of an undisturbed attempt. The job's arguments are its kind and its mean duration in
    seconds. See `scenario`."""

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
        """Seconds from SIGTERM to the end of the process."""
        self.flush_s = rng.choice((0.0, 0.0, 0.01, 1.0))
        """Seconds from the end of the process until its last output is sent."""


class ServiceFate(Fate):
    """Course of process `number` of a service's attempt.

    The first processes of the attempt crash or become unhealthy. The process after them runs until
    it is stopped.
    """

    def __init__(self, seed: int, assignment: wm.Assignment, number: int, host: str) -> None:
        super().__init__(seed, assignment)
        where = f"{seed}/{assignment.run}/{assignment.job}/{assignment.attempt}"
        rng = Random(f"{where}/{number}")
        trouble = int(assignment.args[2])
        self.lasts_s, self.sick_after_s = 1e6, 1e6
        self.healthy_after_s = rng.choice((0.0, 0.04, 0.5, 3.0))
        # long enough that the replaced attempt may be lost meanwhile
        if assignment.attempt > 1 and number < 2:
            self.healthy_after_s = rng.choice((0.0, 8.0, 20.0))
        if number < trouble:
            kind = rng.choice(("crash", "crash", "sick", "late"))
            if assignment.args[0] == "crash":  # it crashes before any check finds it healthy
                self.lasts_s, self.healthy_after_s = 0.1, 1e6
            elif kind == "crash":
                self.lasts_s = rng.choice((0.0, 0.1, 0.1, 1.0, 10.0))
            elif kind == "sick":
                self.sick_after_s = rng.uniform(0.5, 20.0)
            else:
                self.healthy_after_s = 1e6
        self.exit_code = rng.choice((0, 1, 7, -SIGSEGV))
        self.refusal = None
        if number == 0 and Random(f"{seed}/{assignment.run}/{assignment.job}/{host}").random() < float(assignment.args[3]):
            self.refusal = Outcome.REFUSED
        self.obeys_after_s = rng.choice((0.0, 0.01, 0.3, 1e6))


class _Running:
    __slots__ = ("ends_at", "fate", "started", "started_at", "timer")

    def __init__(self, fate: Fate, timer: Timer) -> None:
        self.fate = fate
        self.timer = timer
        self.started = False
        self.started_at = 0.0
        self.ends_at = float("inf")
        """Time at which the process ends after an order to stop."""

    def is_healthy(self, now: float) -> bool:
        fate, age = self.fate, now - self.started_at
        return isinstance(fate, ServiceFate) and fate.healthy_after_s <= age < fate.sick_after_s


class Processes:
    """Processes of attempts on one worker. This class starts and kills them, and reports to the
    worker like a driver."""

    def __init__(self, world: World, host: Host, report: Callable[[Any], None], on_ended: Callable[[int, float], None]) -> None:
        self._world = world
        self._host = host
        self._report = report
        self._on_ended = on_ended
        self.on_started: Callable[[wm.Assignment], None] = lambda _: None
        self._all: dict[int, _Running] = {}
        self._services: dict[int, tuple[wm.Assignment, tuple[str, ...], int]] = {}
        """Lease -> assignment, GPUs, and number of processes so far."""
        self._behind: dict[int, tuple[int, wm.Assignment]] = {}
        """Lease of a waiting attempt -> the lease that must end first, and the assignment of the
        waiting attempt."""

    def start(self, assignment: wm.Assignment, gpus: tuple[str, ...], behind: int = 0) -> None:
        if behind in self._all:
            self._world.trace.count("attempt ahead")
            self._behind[assignment.lease] = behind, assignment
            return
        if assignment.template.service is not None:
            self._services[assignment.lease] = (assignment, gpus, 0)
            self._report(messages.PortChosen(assignment.lease, 1024 + assignment.lease % 50_000))
            self.restart(assignment.lease)
            return
        self._begin(assignment, gpus, Fate(self._world.scenario.seed, assignment))

    def restart(self, lease: int) -> None:
        """Start the next process of a service."""
        assignment, gpus, number = self._services[lease]
        self._services[lease] = (assignment, gpus, number + 1)
        self._begin(assignment, gpus, ServiceFate(self._world.scenario.seed, assignment, number, self._host.name))

    def close(self, lease: int) -> None:
        """End an attempt of a service."""
        if self._services.pop(lease, None) is not None:
            self._on_ended(lease, 0.0)

    def check(self, lease: int, probe: int) -> None:
        """Check the health of a service."""
        world = self._world

        def probe_service() -> None:
            running, now = self._all.get(lease), world.clock.now
            healthy = running is not None and running.started and running.is_healthy(now)
            if healthy:
                world.oracle.process_oracle.record_healthy(lease, now)
            self._report(messages.HealthSeen(lease, probe, healthy, "" if healthy else "connection refused", now))

        world.clock.after(world.rng.choice((0.0, 0.001, 0.2)), probe_service)

    def _begin(self, assignment: wm.Assignment, gpus: tuple[str, ...], fate: Fate) -> None:
        assert assignment.lease not in self._all
        timer = self._world.clock.after(fate.launch_s, lambda: self._launch(assignment, gpus))
        self._all[assignment.lease] = _Running(fate, timer)

    def _launch(self, assignment: wm.Assignment, gpus: tuple[str, ...]) -> None:
        lease, world = assignment.lease, self._world
        running = self._all[lease]
        fate = running.fate
        if world.is_sick(self._host.name) and lease not in self._services:
            world.trace.count("broken by a sick worker")
            fate.refusal = Outcome.BROKEN
        if fate.refusal is not None:
            del self._all[lease]
            world.oracle.process_oracle.record_trouble(lease, fate.refusal)
            self._report(wm.AttemptRefused(lease, "no such file", fate.refusal is Outcome.REFUSED, world.clock.now))
            self._flush_after(lease, fate.flush_s)
            self._start_next(lease)
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
                service=lease in self._services,
            )
        )
        world.trace.note(self._host.name, f"starts {assignment.run}/{assignment.job}#{assignment.attempt}")
        world.trace.count("process")
        running.started_at = world.clock.now
        running.timer = world.clock.after(fate.lasts_s, lambda: self._end(lease, fate.exit_code))
        self._report(wm.AttemptStarted(lease, world.clock.now))
        self.on_started(assignment)

    def withdraw(self, lease: int) -> None:
        if self._behind.pop(lease, None) is not None:
            self._world.trace.count("attempt withdrawn")
            self._report(wm.AttemptWithdrawn(lease))

    def _start_next(self, ended: int) -> None:
        """Start the attempt that waits for the end of `ended`."""
        for lease, (other, assignment) in list(self._behind.items()):
            if other == ended:
                del self._behind[lease]
                self.start(assignment, ())

    def stop(self, lease: int, grace_s: float) -> None:
        """Send SIGTERM, and SIGKILL after the grace period. If the process is still being launched,
        it never starts."""
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
        # a second order to stop does not extend the time
        running.ends_at = min(running.ends_at, self._world.clock.now + min(obeys, grace_s))
        running.timer = self._world.clock.at(running.ends_at, lambda: self._end(lease, code))

    def _end(self, lease: int, exit_code: int) -> None:
        running = self._all.pop(lease)
        now = self._world.clock.now
        if running.started:
            self._world.oracle.process_oracle.record_end(lease, exit_code, now)
        self._world.trace.note(self._host.name, f"process of {lease >> 32}.{lease & 0xFFFFFFFF} ends with {exit_code}")
        self._report(wm.AttemptExited(lease, exit_code, now, 0.1, 1 << 20))
        self._flush_after(lease, running.fate.flush_s)
        self._start_next(lease)

    def _flush_after(self, lease: int, flush_s: float) -> None:
        if lease not in self._services:  # a service's next process may write more
            self._on_ended(lease, flush_s)

    def kill_all(self) -> None:
        """Kill all processes, because their worker dies. Nobody reports their ends."""
        for lease, running in self._all.items():
            running.timer.cancel()
            if running.started:
                self._world.oracle.process_oracle.record_end(lease, -SIGKILL, self._world.clock.now, crashed=True)
        self._all.clear()
        self._behind.clear()

    def kill_runner(self) -> None:
        """Kill the warden and all processes that it started. The worker survives."""
        leases, behind = list(self._all), list(self._behind)
        begun = [lease for lease, running in self._all.items() if running.started]
        self.kill_all()
        for lease in leases:
            self._world.oracle.process_oracle.record_trouble(lease, Outcome.BROKEN)
        self._report(wm.WardenDied([*leases, *behind], self._world.clock.now, begun))
        for lease in leases:
            self._flush_after(lease, 0.0)

    def is_running(self, lease: int) -> bool:
        return lease in self._all

    @property
    def count(self) -> int:
        return len(self._all) + len(self._services)
