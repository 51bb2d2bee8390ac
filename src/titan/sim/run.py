"""One simulation: faults, then healing, then the end of all work."""

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
"""Time after healing within which all work must be done."""

CHECK_EVERY_S = 2.0
"""Interval at which the oracle compares the master's state with the reports of jobs."""


class SimulationFailed(AssertionError):
    """Failure of a seed. `trace` ends at the failure. The message has the command that reproduces
    the failure."""

    def __init__(self, scenario: Scenario, command: str, trace: Trace, cause: BaseException) -> None:
        super().__init__(f"seed {scenario.seed} ({scenario.kind}): {type(cause).__name__}: {cause}\n  reproduce with: {command}")
        self.seed = scenario.seed
        self.command = command
        self.trace = trace
        self.cause = cause


class Outcome(msgspec.Struct, frozen=True):
    """Outcome of a successful simulation."""

    scenario: Scenario
    trace: Trace
    elapsed_s: float


def simulate(seed: int, *, without: tuple[str, ...] = (), until_s: float | None = None) -> Outcome:
    """Run the simulation of a seed to its end, or until the virtual time `until_s`.

    `without` names faults, which are fields of `scenario.Faults`, that stay off. Raises
    SimulationFailed.
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
    injector = FaultInjector(world, master)
    _check_reports(world, master, injector)
    clock.run_until(min(limit, START + scenario.fault_s))
    injector.heal()
    end = min(limit, clock.now + DRAIN_S)
    work = [""]
    while work and clock.now < end:
        clock.run_until(min(end, clock.now + 5.0))
        work = master.open_work()
        for client in clients:
            work += client.open_work()
        for planner in planners:
            work += planner.open_work()
        for worker in injector.workers:
            work += worker.open_work()
    if clock.now >= limit:
        return
    if work:
        raise Violation(f"not done {DRAIN_S:.0f} s after healing:\n    " + "\n    ".join([*work, *_stories(master)]))
    world.oracle.judge_end(master.state)
    master.judge_end()


def _check_reports(world: World, master: SimMaster, injector: FaultInjector) -> None:
    """Check at intervals that the master knows the reports of running jobs."""
    for worker in injector.workers:
        if master.up and worker.alive:
            world.oracle.report_oracle.judge_settled(master.state, worker.kernel, worker.connected_s, world.clock.now)
    world.clock.after(CHECK_EVERY_S, lambda: _check_reports(world, master, injector))


def _stories(master: SimMaster) -> list[str]:
    """Return the stories of a few jobs that do not end."""
    state = master.state
    stuck = [n for n, job in state.jobs.items() if job.run.open and job.state in (2, 3, 4, 7)]
    return [line for number in stuck[:3] for line in story(state, number)]
