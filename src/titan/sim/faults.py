"""Injection of a scenario's faults, each at its own rate. `heal` ends all of them."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from titan.sim.master import SimMaster
from titan.sim.scenario import WorkerPlan, draw_total
from titan.sim.worker import SimWorker
from titan.sim.world import World
from titan.worker.state_machine import machine as wm


class FaultInjector:
    def __init__(self, world: World, master: SimMaster) -> None:
        self.world = world
        self.master = master
        self.workers: list[SimWorker] = []
        """All processes of workers so far, including ended processes."""
        self.healed = False
        self._incarnations: dict[str, int] = {}
        self._gone: dict[str, None] = {}
        """Workers that never come back."""
        master.provider.everyone = self.workers
        self._plans = {plan.name: plan for plan in world.scenario.workers}
        """Plans of the permanent workers; the provider starts burst workers."""
        for plan in world.scenario.workers:
            world.clock.after(plan.starts_s, lambda name=plan.name: self._start_worker(name))  # type: ignore[misc]
        faults = world.scenario.faults
        self._repeat(faults.cut_every_s, self._cut)
        self._repeat(faults.partition_every_s, self._partition)
        self._repeat(faults.crash_every_s, self._crash_worker)
        self._repeat(faults.usurp_every_s, self._usurp)
        self._repeat(faults.drain_every_s, self._drain)
        self._repeat(faults.runner_every_s, self._kill_runner)
        self._repeat(faults.master_every_s, self._crash_master)

    def heal(self) -> None:
        """End all faults, and restart the master and all workers except those that are gone for
        good."""
        self.world.trace.note("faults", "heals")
        self.healed = True
        self.world.end_faults()
        for host in list(self.world.network.cut_off):
            self.world.network.heal(host)
        if not self.master.up:
            self.master.start()
        for name in self._plans:
            if name not in self._gone and not self._current(name):
                self._start_worker(name)

    # -- workers -----------------------------------------------------------------------------------
    def _current(self, name: str) -> SimWorker | None:
        """Return the newest process of the worker with this name; None if that process has ended.

        An older process of the worker may still run, cut off from the master.
        """
        newest = [w for w in self.workers if w.plan.name == name][-1:]
        return newest[0] if newest and newest[0].alive else None

    def _start_worker(self, name: str, *, host: str = "") -> None:
        if name in self._gone or name not in self._plans or (not host and self._current(name)):
            return
        number = self._incarnations[name] = self._incarnations.get(name, 0) + 1
        plan = self._plans[name]
        if number > 1 and self.world.faults.fickle:
            plan = self._changed(plan)
        worker = SimWorker(self.world, plan, number, host=host or name)
        worker.on_ended = lambda: self._start_worker(name)
        self.workers.append(worker)

    def _changed(self, plan: WorkerPlan) -> WorkerPlan:
        rng = self.world.rng
        capabilities = plan.capabilities
        if plan.mortal and rng.random() < 0.5:
            capabilities = rng.choice((("GENERAL",), ("GPU",), plan.capabilities))
        slots = max(plan.least, rng.randint(1, 4))
        fickle = msgspec.structs.replace(plan, capabilities=capabilities, slots=slots)
        return msgspec.structs.replace(fickle, total=draw_total(rng, plan))

    def _pick(self) -> SimWorker | None:
        alive = [w for w in self.workers if w.alive]
        return self.world.rng.choice(alive) if alive else None

    def _may_go(self, name: str) -> bool:
        return name in self._plans and self._plans[name].mortal and len(self._gone) < self.world.scenario.faults.gone

    # -- faults ------------------------------------------------------------------------------------
    def _repeat(self, every_s: float, fault: Callable[[], None]) -> None:
        if not every_s:
            return

        def inject() -> None:
            if not self.healed:
                fault()
                self._repeat(every_s, fault)

        self.world.clock.after(self.world.rng.expovariate(1.0 / every_s), inject)

    def _cut(self) -> None:
        links = [link for link in self.world.network.links.values() if not link.broken]
        if links:
            link = self.world.rng.choice(links)
            self.world.trace.note("faults", f"cuts #{link.number} of {link.host}")
            self.world.trace.count("cut")
            self.world.network.cut(link)

    def _partition(self) -> None:
        worker = self._pick()
        if worker is not None and worker.host not in self.world.network.cut_off:
            self._isolate(worker.host)

    def _isolate(self, host: str) -> None:
        world = self.world
        world.trace.note("faults", f"cuts {host} off")
        world.trace.count("partition")
        world.network.isolate(host)
        world.clock.after(world.rng.random() * world.scenario.faults.partition_s, lambda: world.network.heal(host))

    def _crash_worker(self) -> None:
        worker = self._pick()
        if worker is None:
            return
        name = worker.plan.name
        worker.crash(silent=self.world.rng.random() < 0.5)
        if self._may_go(name) and not self._current(name) and self.world.rng.random() < 0.5:
            self._gone[name] = None
            self.world.trace.note("faults", f"{name} is gone for good")
            self.world.trace.count("worker gone")
        else:
            self.world.clock.after(self.world.rng.choice((0.1, 3.0, 12.0, 50.0)), lambda: self._start_worker(name))

    def _usurp(self) -> None:
        worker = self._pick()
        if worker is None or worker is not self._current(worker.plan.name) or worker.plan.name not in self._plans:
            return
        self.world.trace.count("usurp")
        self._isolate(worker.host)
        number = self._incarnations[worker.plan.name]
        self._start_worker(worker.plan.name, host=f"{worker.plan.name}-{number + 1}")

    def _drain(self) -> None:
        worker = self._pick()
        if worker is not None:
            now = self.world.rng.random() >= 0.6
            if self.world.rng.random() < 0.5:
                self.master.ask_worker_to_leave(worker.plan.name, now=now)
            else:
                worker.order(wm.QuitOrdered() if now else wm.DrainOrdered())
            self._replace(worker)

    def _replace(self, worker: SimWorker) -> None:
        """Start a new process of the worker some time after the old process has left."""
        if worker.alive:
            self.world.clock.after(5.0, lambda: self._replace(worker))
        else:
            self._start_worker(worker.plan.name)

    def _kill_runner(self) -> None:
        worker = self._pick()
        if worker is not None:
            self.world.trace.note("faults", f"kills the runner of {worker.plan.name}")
            self.world.trace.count("runner died")
            worker.lose_warden()

    def _crash_master(self) -> None:
        if not self.master.up:
            return
        rng = self.world.rng
        self.master.crash(silent=rng.random() < 0.3)
        down_s = rng.choice((0.0, 0.5, 5.0) if self.world.scenario.calm else (0.0, 0.5, 5.0, 45.0))
        self.world.clock.after(down_s, lambda: None if self.master.up else self.master.start())
