"""Fake function runners of one worker process.

A runner executes calls in order. It returns calls that it has not begun if the worker asks for
them, and a call may kill it. `processes.Fate` determines the end of a call. The value of a call
contains its run, job and attempt, so that the oracle can check the inputs of its children.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from titan.model.states import Outcome
from titan.sim.clock import Timer
from titan.sim.oracle.processes import Host, Process
from titan.sim.processes import SIGKILL, Fate
from titan.sim.world import World
from titan.worker.state_machine import machine as wm


def value_of(assignment: wm.Assignment) -> bytes:
    return f"i{assignment.run}/{assignment.job}#{assignment.attempt}".encode()


class _Runner:
    def __init__(self, number: int) -> None:
        self.number = number
        self.queue: deque[wm.Assignment] = deque()
        """Calls in order. The first call runs if `begun_at` is not 0."""
        self.begun_at = 0.0
        self.up = False
        self.timer: Timer | None = None


class Runners:
    """Runners of one worker. This class executes instructions of the worker's state machine, and
    reports to it like the driver for functions."""

    def __init__(self, world: World, host: Host, report: Callable[[Any], None], on_ended: Callable[[int, float], None]) -> None:
        self._world = world
        self._host = host
        self._report = report
        self._on_ended = on_ended
        self._all: dict[int, _Runner] = {}

    def call(self, number: int, assignments: list[wm.Assignment]) -> None:
        known = self._all.get(number)
        runner = self._all[number] = known if known is not None else _Runner(number)
        if known is None:
            start_s = self._world.rng.choice((0.0, 0.02, 0.5, 5.0))
            runner.timer = self._world.clock.after(start_s, lambda: self._come_up(runner))
        runner.queue.extend(assignments)
        if runner.up and not runner.begun_at:
            self._begin(runner)

    def take_back(self, number: int, count: int) -> None:
        runner = self._all.get(number)
        waiting = 0 if runner is None else len(runner.queue) - (1 if runner.begun_at else 0)
        taken = min(count, waiting)
        if runner is not None:
            for _ in range(taken):
                runner.queue.pop()
        self._report(wm.CallsReturned(number, taken))

    def kill(self, number: int) -> None:
        if number in self._all:
            self._die(self._all[number], "killed")

    def kill_all(self) -> None:
        """Kill all runners, because their worker dies. Nobody reports their ends."""
        for runner in self._all.values():
            if runner.timer is not None:
                runner.timer.cancel()
            if runner.begun_at:
                self._world.oracle.process_oracle.record_end(runner.queue[0].lease, -SIGKILL, self._world.clock.now, crashed=True)
        self._all.clear()

    def lose_all(self) -> None:
        """Kill all runners together with the process that started them. The worker survives."""
        for runner in list(self._all.values()):
            self._die(runner, "the worker's process runner died")

    @property
    def count(self) -> int:
        return sum(len(runner.queue) for runner in self._all.values())

    # -- a runner ----------------------------------------------------------------------------------
    def _come_up(self, runner: _Runner) -> None:
        if self._world.is_sick(self._host.name):
            self._world.trace.count("runner did not come up")
            for call in runner.queue:
                self._world.oracle.process_oracle.record_trouble(call.lease, Outcome.BROKEN)
            del self._all[runner.number]
            self._report(wm.RunnerEnded(runner.number, len(runner.queue), 0, "no inodes", self._world.clock.now, unfit=True))
            return
        runner.up = True
        self._report(wm.RunnerUp(runner.number))
        if runner.queue:
            self._begin(runner)

    def _begin(self, runner: _Runner) -> None:
        call, world = runner.queue[0], self._world
        runner.begun_at = world.clock.now
        world.oracle.on_started(
            Process(call.lease, self._host, call.run, call.job, call.attempt, call.template.timeout_s, world.clock.now)
        )
        world.oracle.on_called(call.run, call.job, call.inputs)
        world.trace.note(self._host.name, f"calls {call.run}/{call.job}#{call.attempt}")
        world.trace.count("call")
        fate = Fate(world.scenario.seed, call)
        runner.timer = world.clock.after(fate.lasts_s, lambda: self._end(runner, fate))

    def _end(self, runner: _Runner, fate: Fate) -> None:
        if fate.exit_code < 0:
            self._die(runner, "the process that ran the call died with it")
            return
        call, now, began = runner.queue.popleft(), self._world.clock.now, runner.begun_at
        runner.begun_at = 0.0
        code = 1 if fate.exit_code else 0
        self._world.oracle.process_oracle.record_end(call.lease, code, now)
        printed = fate.flush_s > 0
        value = b"e" + value_of(call) if code else value_of(call)
        reason = "ValueError: no" if code else ""
        self._report(wm.CallsEnded(runner.number, [reason], [value], [began], [now], [call.lease] if printed else []))
        if printed:
            self._on_ended(call.lease, fate.flush_s)
        if runner.queue:
            self._begin(runner)

    def _die(self, runner: _Runner, reason: str) -> None:
        if runner.timer is not None:
            runner.timer.cancel()
        del self._all[runner.number]
        now = self._world.clock.now
        if runner.begun_at:
            self._world.oracle.process_oracle.record_end(runner.queue[0].lease, -SIGKILL, now)
            self._world.oracle.process_oracle.record_trouble(runner.queue[0].lease, Outcome.SIGNALED)
            self._world.trace.count("runner died of a call")
        self._report(wm.RunnerEnded(runner.number, len(runner.queue), 1 if runner.begun_at else 0, reason, now))
