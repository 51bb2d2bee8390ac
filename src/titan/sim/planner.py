"""Simulated user with a schedule.

The user adds, pauses, resumes, changes and runs the schedule, and removes it at the end. The user
repeats each request until the master answers it.
"""

from __future__ import annotations

from titan.protocol import messages as pm
from titan.sim.network import Connection
from titan.sim.oracle.processes import Violation
from titan.sim.scenario import SchedulePlan
from titan.sim.user import PATIENCE_S, SimUser
from titan.sim.world import World

FIRST = 10
"""Request number of the first step."""


class SimPlanner(SimUser):
    """User that sends one request at a time, when the request is due and all earlier requests are
    answered."""

    def __init__(self, world: World, plan: SchedulePlan) -> None:
        super().__init__(world, f"planner-{plan.name}")
        self.plan = plan
        self._done = 0
        """Number of answered steps."""
        self._sent = 0
        """Number of times that the current step was sent."""
        self._await_step()

    @property
    def _action(self) -> str:
        return self.plan.steps[self._done][1]

    def _await_step(self) -> None:
        self._sent = 0
        if self._done < len(self.plan.steps):
            at_s = self.plan.steps[self._done][0]
            self.world.clock.after(max(0.0, at_s - self.world.clock.elapsed), self._begin)

    def _begin(self) -> None:
        self._dial_or_send()

    def _send_requests(self) -> None:
        if self._done >= len(self.plan.steps) or self.plan.steps[self._done][0] > self.world.clock.elapsed + 1e-6:
            return
        self._sent += 1
        self._send(self._message())
        link, attempt = self._link, (self._done, self._sent)
        self.world.clock.after(PATIENCE_S, lambda: self._lose_patience(link, attempt))

    def _message(self) -> pm.Message:
        request, plan = FIRST + self._done, self.plan
        match self._action:
            case "add" | "change":
                more = {"replace": self._action == "change"}
                key = f"{plan.name}-{self._done}"
                return pm.AddSchedule(request, key, plan.name, plan.dag, plan.timing, plan.overlap, plan.catch_up, **more)
            case "pause" | "resume":
                return pm.PauseSchedule(request, plan.name, self._action == "pause")
            case "run":
                return pm.RunSchedule(request, f"{plan.name}-{self._done}", plan.name)
            case _:
                return pm.RemoveSchedule(request, plan.name)

    def _lose_patience(self, link: Connection | None, attempt: tuple[int, int]) -> None:
        if link is None or self._link is not link or attempt != (self._done, self._sent):
            return
        self._resend_or_hang_up(link)

    def _on_message(self, message: pm.Message) -> None:
        if message.request != FIRST + self._done:
            return  # the Welcome, or a duplicate answer
        match message:
            case pm.Scheduled() | pm.Submitted():
                pass
            case pm.Error(_, "not_found") if self._action == "remove" and self._sent > 1:
                pass
            case unexpected:
                raise Violation(f"{self.host} received an unexpected answer: {unexpected}")
        self.world.trace.note(self.host, f"{self._action} is done")
        self.world.oracle.on_scheduled(self.plan.name, self._action)
        self._done += 1
        self._await_step()

    def open_work(self) -> list[str]:
        """Describe unfinished work, one text for each item. The list must be empty at the end of a
        simulation."""
        return [f"{self.host} waits for an answer"] if self._done < len(self.plan.steps) else []
