"""Objects that all parts of a simulation share: clock, random generator, network, oracle."""

from __future__ import annotations

from random import Random

from titan.sim.clock import Clock
from titan.sim.network import Network
from titan.sim.oracle.oracle import Oracle
from titan.sim.scenario import Faults, Scenario
from titan.sim.trace import Trace

SOFTWARE = "titan-sim"


class World:
    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.clock = Clock()
        self.rng = Random(scenario.seed + 1)
        self.trace = Trace(self.clock)
        self.oracle = Oracle(scenario, self.trace)
        self.faults = scenario.faults
        """Faults that are active now."""
        self.network = Network(self.clock, self.rng, self.trace, self.faults, scenario.latency_s)

        draw = Random(f"{scenario.seed}/sick")
        names = [plan.name for plan in scenario.workers if plan.mortal]
        healthy = scenario.calm or scenario.quiet or draw.random() > 0.3 or not names
        self._sick = "" if healthy else draw.choice(names)
        """Name of a worker that breaks all its jobs until the faults end; "" if there is no such
        worker."""

    def is_sick(self, worker: str) -> bool:
        return worker == self._sick

    def end_faults(self) -> None:
        """Turn all faults off."""
        self.faults = self.network.faults = Faults()
        self._sick = ""

    def chance(self, share: float) -> bool:
        return share > 0.0 and self.rng.random() < share

    def pause(self) -> float:
        """Return a random time until the next turn of a process, in seconds.

        The turn handles all messages that arrive until then in one batch.
        """
        if self.chance(self.faults.stall):
            self.trace.count("stalled")
            return self.rng.random() * self.faults.stall_s
        return self.rng.random() * 0.002
