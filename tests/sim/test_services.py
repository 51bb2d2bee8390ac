"""A simulated service that crashes a thousand times, without and with other faults. No slot,
process or port is left."""

from __future__ import annotations

import msgspec
import pytest

from titan.model.dag import DagSpec, JobTemplate, Service
from titan.sim.run import _play
from titan.sim.scenario import Faults, Submission, WorkerPlan, draw_scenario
from titan.sim.world import World

SERVICE = Service(interval_s=0.2, backoff_s=0.05, backoff_max_s=0.5)
FAULTS = Faults(cut_every_s=20.0, master_every_s=40.0, snapshot=0.02, loss=0.02, duplication=0.05, partition_every_s=60.0)


@pytest.mark.parametrize("faults", [Faults(), FAULTS], ids=["quiet", "faults"])
def test_a_thousand_restarts_leak_nothing(faults: Faults) -> None:
    """The service crashes 100 ms after each of a thousand starts, and is READY in the end. `_play`
    checks that nothing is left."""
    service = JobTemplate(command="serve", kind="service", service=SERVICE)
    args = [("crash", "1", "1000", "0.0"), ("ok", "0.5")]
    dag = DagSpec("d", "1", [service, JobTemplate(command="true")], ["s", "child"], [0, 1], args, [(), ("s",)])
    quiet = draw_scenario(next(seed for seed in range(1000) if draw_scenario(seed).quiet))
    scenario = msgspec.structs.replace(
        quiet,
        kind="rough",
        faults=faults,
        fault_s=200.0,
        workers=[WorkerPlan("w0", ("GENERAL",), 2, 0.0, False)],
        submissions=[Submission(0.0, "k", dag, ())],
    )
    world = World(scenario)
    _play(world, None)
    assert world.trace.counts["service restarted"] >= 1000
    assert world.trace.counts["ServicesReported"] <= world.clock.elapsed * 1.1, "reports are merged"
