"""Simulated provider of burst workers.

The provider is slow, sometimes fails, and loses some workers. It reports ended workers late but
correctly. In some scenarios its workers end with the master's process, like child processes. In
others they outlive the master, like remote machines.
"""

from __future__ import annotations

from collections.abc import Callable

from titan.core import effects as fx
from titan.sim.scenario import BurstPlan, WorkerPlan
from titan.sim.worker import SimWorker
from titan.sim.world import World
from titan.worker.state_machine import machine as wm

POLL_S = 1.0
KILL_S = 4.0


class SimProvider:
    def __init__(self, world: World, plan: BurstPlan, *, gone: Callable[[str, str], None]) -> None:
        self.world = world
        self.plan = plan
        self.everyone: list[SimWorker] = []
        """All processes of workers so far. The fault injector sets this list, and shares it with
        the provider."""
        self._gone = gone
        self._coming: dict[str, None] = {}
        self._running: dict[str, SimWorker] = {}

    def names(self) -> tuple[str, ...]:
        """Return the names of the burst workers that the next process of the master finds."""
        return (*self._coming, *self._running) if self.plan.outlive else ()

    def start(self, effect: fx.StartBurst) -> None:
        world = self.world
        world.trace.count("burst worker")
        self._coming[effect.name] = None
        delay_s = world.rng.random() * self.plan.start_s
        if world.faults.burst and world.chance(self.plan.fails):
            world.trace.count("burst worker failed")
            world.clock.after(delay_s, lambda: self._end(effect.name, "it could not be started"))
        else:
            world.clock.after(delay_s, lambda: self._start_worker(effect))

    def _start_worker(self, effect: fx.StartBurst) -> None:
        if effect.name in self._coming:
            del self._coming[effect.name]
            plan = WorkerPlan(effect.name, effect.capabilities, effect.slots, 0.0, True)
            self._running[effect.name] = worker = SimWorker(self.world, plan, 1, host=effect.name)
            self.everyone.append(worker)
            self._watch(worker)

    def _watch(self, worker: SimWorker) -> None:
        def poll() -> None:
            if worker.alive:
                self._watch(worker)
            elif self._running.pop(worker.plan.name, None) is not None:
                self._gone(worker.plan.name, "it ended")

        self.world.clock.after(POLL_S * self.world.rng.random(), poll)

    def stop(self, name: str) -> None:
        self.world.trace.count("burst worker stopped")
        worker = self._running.get(name)
        if worker is None:
            self._end(name, "there is no such worker")
        else:
            self._quit(worker)

    def _end(self, name: str, reason: str) -> None:
        """Report the end of a worker that is not running. `_watch` reports the end of running
        workers."""
        self._coming.pop(name, None)
        if name not in self._running:
            self._gone(name, reason)

    def _quit(self, worker: SimWorker) -> None:
        if worker.alive and not worker.machine.quitting:
            worker.order(wm.QuitOrdered())
        self.world.clock.after(KILL_S, lambda: worker.crash(silent=False) if worker.alive else None)

    def on_master_gone(self) -> None:
        if self.plan.outlive:
            return
        self._coming.clear()
        for worker in self._running.values():
            self.world.clock.after(self.world.rng.random(), lambda worker=worker: self._quit(worker))  # type: ignore[misc]
        self._running.clear()
