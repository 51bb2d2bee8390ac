"""A user with a schedule: adds, pauses, resumes, changes and runs it, and removes it in the end; asks again when nobody answers."""

from __future__ import annotations

from titan.protocol import messages as pm
from titan.protocol.codec import MessageDecoder, Misfit, encode
from titan.protocol.handshake import hello
from titan.sim.network import Connection
from titan.sim.scenario import SchedulePlan
from titan.sim.truth import Violation
from titan.sim.world import SOFTWARE, World

PATIENCE_S = 6.0
FIRST = 10
"""The request of the first step."""


class SimPlanner:
    """Says one thing at a time, each when it is due and all before it was answered."""

    def __init__(self, world: World, plan: SchedulePlan) -> None:
        self.world = world
        self.plan = plan
        self.host = f"planner-{plan.name}"
        self._done = 0
        """Steps that were answered."""
        self._asked = 0
        """How often the present step was said."""
        self._link: Connection | None = None
        self._decoder = MessageDecoder()
        self._await_step()

    @property
    def _what(self) -> str:
        return self.plan.steps[self._done][1]

    def _await_step(self) -> None:
        self._asked = 0
        if self._done < len(self.plan.steps):
            at_s = self.plan.steps[self._done][0]
            self.world.clock.after(max(0.0, at_s - self.world.clock.elapsed), self._begin)

    def _begin(self) -> None:
        if self._link is None:
            self._dial()
        else:
            self._ask()

    def _dial(self) -> None:
        self.world.network.dial(self.host, self, self._retry)

    def _retry(self) -> None:
        self.world.clock.after(0.5 + self.world.rng.random(), self._dial)

    def on_opened(self, link: Connection) -> None:
        self._link, self._decoder = link, MessageDecoder()
        self._send(hello("client", SOFTWARE))
        self._ask()

    def on_closed(self, link: Connection) -> None:
        if self._link is link:
            self._link = None
            if self.open_work():
                self._retry()

    def _send(self, message: pm.Message) -> None:
        if self._link is not None:
            self.world.network.send(self._link, self._link.up, encode(message))

    def _ask(self) -> None:
        if self._done >= len(self.plan.steps) or self.plan.steps[self._done][0] > self.world.clock.elapsed + 1e-6:
            return
        self._asked += 1
        self._send(self._message())
        link, asked = self._link, (self._done, self._asked)
        self.world.clock.after(PATIENCE_S, lambda: self._lose_patience(link, asked))

    def _message(self) -> pm.Message:
        request, plan = FIRST + self._done, self.plan
        match self._what:
            case "add" | "change":
                more = {"replace": self._what == "change"}
                key = f"{plan.name}-{self._done}"
                return pm.AddSchedule(request, key, plan.name, plan.dag, plan.timing, plan.overlap, plan.catch_up, **more)
            case "pause" | "resume":
                return pm.PauseSchedule(request, plan.name, self._what == "pause")
            case "run":
                return pm.RunSchedule(request, f"{plan.name}-{self._done}", plan.name)
            case _:
                return pm.RemoveSchedule(request, plan.name)

    def _lose_patience(self, link: Connection | None, asked: tuple[int, int]) -> None:
        if link is None or self._link is not link or asked != (self._done, self._asked):
            return
        if self.world.rng.random() < 0.5:
            self._ask()
        else:
            self.world.network.close(link, link.up)
            self.on_closed(link)

    def on_received(self, link: Connection, data: bytes) -> None:
        if self._link is not link:
            return
        for received in self._decoder.receive_data(data):
            if isinstance(received, Misfit):
                raise Violation(f"{self.host} cannot read an answer: {received.error}")
            message = received.message
            if message.request != FIRST + self._done:
                continue  # the Welcome, or an answer that came twice
            match message:
                case pm.Scheduled() | pm.Submitted():
                    pass
                case pm.Error(_, "not_found") if self._what == "remove" and self._asked > 1:
                    pass
                case unexpected:
                    raise Violation(f"{self.host} was answered {unexpected}")
            self.world.trace.note(self.host, f"hears that {self._what} is done")
            self.world.oracle.on_scheduled(self.plan.name, self._what)
            self._done += 1
            self._await_step()

    def open_work(self) -> list[str]:
        """What is not done yet; empty in the end."""
        return [f"{self.host} waits for an answer"] if self._done < len(self.plan.steps) else []
