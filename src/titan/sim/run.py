"""One simulation: faults, then healing, then everything has to finish."""

from __future__ import annotations

import msgspec

from titan.core.state.story import story
from titan.sim.client import SimClient
from titan.sim.clock import START
from titan.sim.faults import FaultInjector
from titan.sim.master import SimMaster
from titan.sim.oracle.processes import Violation
from titan.sim.planner import SimPlanner
from titan.sim.scenario import Scenario, draw_scenario
from titan.sim.trace import Trace
from titan.sim.world import World

DRAIN_S = 5000.0
"""After healing all must be done within this time."""

CHECK_EVERY_S = 2.0
"""So often what the master knows is compared with what jobs said."""


class SimulationFailed(AssertionError):
    """A seed found something. `trace` is what happened up to there; the message says how to see it
    again."""

    def __init__(self, scenario: Scenario, command: str, trace: Trace, cause: BaseException) -> None:
        super().__init__(f"seed {scenario.seed} ({scenario.kind}): {type(cause).__name__}: {cause}\n  reproduce with: {command}")
        self.seed = scenario.seed
        self.command = command
        self.trace = trace
        self.cause = cause


class Outcome(msgspec.Struct, frozen=True):
    """A simulation that went well."""

    scenario: Scenario
    trace: Trace
    elapsed_s: float


def simulate(seed: int, *, without: tuple[str, ...] = (), until_s: float | None = None) -> Outcome:
    """Runs a seed to its end, or to a virtual time. `without` names fields of `scenario.Faults`
    that stay off.

    Raises SimulationFailed.
    """
    scenario = draw_scenario(seed, without=without)
    world = World(scenario)
    try:
        _play(world, until_s)
    except Exception as cause:
        off = "".join(f" --without {name}" for name in without)
        raise SimulationFailed(scenario, f"python -m titan.sim --seed {seed}{off} --trace", world.trace, cause) from cause
    return Outcome(scenario, world.trace, world.clock.elapsed)


def _play(world: World, until_s: float | None) -> None:
    scenario, clock = world.scenario, world.clock
    limit = START + until_s if until_s is not None else float("inf")
    master = SimMaster(world)
    master.start()
    clients = [SimClient(world, submission) for submission in scenario.submissions]
    planners = [SimPlanner(world, plan) for plan in scenario.schedules]
    chaos = FaultInjector(world, master)
    _check_reports(world, master, chaos)
    clock.run_until(min(limit, START + scenario.fault_s))
    chaos.heal()
    end = min(limit, clock.now + DRAIN_S)
    left = [""]
    while left and clock.now < end:
        clock.run_until(min(end, clock.now + 5.0))
        left = master.open_work()
        for client in clients:
            left += client.open_work()
        for planner in planners:
            left += planner.open_work()
        for worker in chaos.workers:
            left += worker.open_work()
    if clock.now >= limit:
        return
    if left:
        raise Violation(f"not done {DRAIN_S:.0f} s after healing:\n    " + "\n    ".join([*left, *_stories(master)]))
    world.oracle.judge_end(master.state)
    master.judge_end()


def _check_reports(world: World, master: SimMaster, chaos: FaultInjector) -> None:
    """Whether the master knows what running jobs said."""
    for worker in chaos.workers:
        if master.up and worker.alive:
            world.oracle.report_oracle.judge_settled(master.state, worker.kernel, worker.connected_s, world.clock.now)
    world.clock.after(CHECK_EVERY_S, lambda: _check_reports(world, master, chaos))


def _stories(master: SimMaster) -> list[str]:
    """The lives of a few jobs that hang."""
    state = master.state
    stuck = [n for n, job in state.jobs.items() if job.run.open and job.state in (2, 3, 4, 7)]
    return [line for number in stuck[:3] for line in story(state, number)]
