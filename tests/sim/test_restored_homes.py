"""Homes that are restored from older copies, again and again, while workers still hold attempts
that the copies do not know.

The test uses the real core and the real state machine of a worker. A copy is a snapshot of the
state. A job may be COMPLETED only if a process of exactly this job has run to its end: of its run,
after the copy was made.
"""

from __future__ import annotations

import sys
from random import Random

import pytest

from support.core import alike, submit
from titan.core import effects as fx
from titan.core import inputs
from titan.core.invariants import check
from titan.core.state import snapshot
from titan.core.state.state import State
from titan.core.step import step
from titan.gateway.inbound import registration, worker_input
from titan.gateway.outbound import messages_of
from titan.model.dag import JobTemplate
from titan.model.states import JobState
from titan.protocol import messages as pm
from titan.worker.state_machine import machine as wm
from titan.worker.translation import assignments, results_messages

TRUE = JobTemplate(command="true")


class World:
    def __init__(self, seed: int) -> None:
        self.rng = Random(seed)
        self.now = 1000.0
        self.starts = self.runs = 0
        self.state = State()
        self.copies: list[list[bytes]] = []
        self.machines = {name: wm.WorkerMachine(2) for name in ("w1", "w2", "w3")}
        self.running: dict[str, dict[int, wm.Assignment]] = {name: {} for name in self.machines}
        self.ran: set[tuple[str, str]] = set()
        """(run, job) of the jobs whose processes succeeded. Ids of runs are never used twice,
        because they consist of the time and random bits."""
        self.connected: dict[str, int] = {}
        self.restored = self.fenced = 0
        self.boot()

    # -- the master --------------------------------------------------------------------------------
    def boot(self) -> None:
        self.starts += 1
        self.connected.clear()
        for machine in self.machines.values():
            machine.handle(self.now, [wm.Disconnected()])
        self.see([inputs.MasterBooted("c", self.state.term + 1, (), f"draw{self.starts}")])

    def see(self, inputs: list[inputs.Input]) -> None:
        self.now += 0.01
        decision = step(self.state, self.now, inputs)
        check(self.state)
        self.fenced += sum(type(event).__name__ == "TermRaised" for event in decision.events)
        for effect in decision.effects:
            self.send(effect)
        for job in self.state.jobs.values():
            assert job.state is not JobState.COMPLETED or (job.run.id, job.name) in self.ran, f"{job.run.id} never ran"

    def send(self, effect: fx.Effect) -> None:
        for connection, message in messages_of(self.state, effect):
            name = next((n for n, origin in self.connected.items() if origin == connection), None)
            if name is not None:
                self.tell(name, message)

    def tell(self, name: str, message: pm.Message) -> None:
        match message:
            case pm.Registered(_, _, _, _, heartbeat_s):
                self.hear(name, wm.Registered(heartbeat_s))
            case pm.Dispatch() as it:
                self.hear(name, wm.Dispatched(assignments(it), it.draw))
            case pm.StopAttempts(_, leases, grace_s):
                self.hear(name, wm.StopOrdered(leases, grace_s))
            case pm.Recall(_, leases):
                self.hear(name, wm.RecallOrdered(leases))
            case pm.Acked(_, leases):
                self.hear(name, wm.ResultsAcked(leases))

    # -- the workers -------------------------------------------------------------------------------
    def dial(self, name: str) -> None:
        origin = self.connected[name] = 10_000 * self.starts + self.rng.randrange(10_000)
        machine = self.machines[name]
        machine.handle(self.now, [wm.Welcomed("c")])
        held = machine.holdings()
        message = pm.Register(
            1, name, "1", "c", ("GENERAL",), 2, {}, held.leases, held.started, False, held.draws, held.draw_of
        )  # fmt: skip
        self.say(name, message, origin)

    def hear(self, name: str, *inputs: object) -> None:
        for instruction in self.machines[name].handle(self.now, list(inputs)):
            match instruction:
                case wm.StartAttempt(assignment):
                    self.running[name][assignment.lease] = assignment
                case wm.StopAttempt(lease):
                    if self.running[name].pop(lease, None) is not None:
                        self.hear(name, wm.AttemptExited(lease, -15, self.now, 0.0, 0))
                case wm.ReportResults(results):
                    for part in results_messages(results, 0.0):
                        self.say(name, part)
                case wm.ReportStarted(leases, ats):
                    self.say(name, pm.Started(0, leases, ats))
                case wm.Beat() as b:
                    self.say(name, pm.Heartbeat(0, b.leases, b.started, b.draws, b.draw_of))

    def say(self, name: str, message: pm.Message, origin: int = 0) -> None:
        number = self.state.worker_numbers.get(name, 0)
        if isinstance(message, pm.Register):
            one: inputs.Input | None = registration(message, origin=origin, host="sim", cluster=self.state.cluster)
        else:
            one = worker_input(message, number, jitter=0.5)
        if one is not None and name in self.connected and self.rng.random() < 0.9:
            self.see([one])

    # -- what happens ------------------------------------------------------------------------------
    def act(self) -> None:
        rng, name = self.rng, self.rng.choice(list(self.machines))
        match rng.choice(("submit", "start", "end", "end", "sent", "dial", "dial", "beat", "copy", "restart", "restore", "cut")):
            case "submit":
                self.runs += 1
                self.see([submit(alike(" ".join(f"j{n}" for n in range(rng.randint(1, 4))), TRUE), run=f"r{self.runs}")])
            case "start":
                for lease in list(self.running[name]):
                    self.hear(name, wm.AttemptStarted(lease, self.now))
            case "end" if self.running[name]:
                lease = rng.choice(list(self.running[name]))
                it = self.running[name].pop(lease)
                self.ran.add((it.run, it.job))
                self.hear(name, wm.AttemptExited(lease, 0, self.now, 0.0, 0))
            case "sent" if name in self.connected:
                self.hear(name, *[wm.LogsSent(n) for n, h in self.machines[name].held.items() if h.phase is wm.Phase.ENDED])
            case "dial" if name not in self.connected:
                self.dial(name)
            case "beat":
                self.now += 5.0
                self.hear(name, wm.TimePassed())
            case "copy":
                self.copies.append(list(snapshot.dump(self.state)))
            case "restart":
                self.boot()
            case "restore" if self.copies and rng.random() < 0.5:
                self.restored += 1
                self.state = State()
                snapshot.load(self.state, rng.choice(self.copies))
                self.state.reindex()
                self.boot()
            case "cut" if self.connected.pop(name, None):
                self.machines[name].handle(self.now, [wm.Disconnected()])


def play(seed: int) -> World:
    world = World(seed)
    for _ in range(300):
        world.act()
    return world


@pytest.mark.parametrize("seed", range(40))
def test_no_job_is_completed_that_never_ran_whatever_copy_is_put_back(seed: int) -> None:
    assert play(seed).restored


def test_without_the_fence_the_judge_finds_a_job_that_never_ran(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("titan.core.handlers.workers.fence_foreign", lambda *_: {})
    # `check` would notice first that numbers are used twice
    monkeypatch.setattr(sys.modules[__name__], "check", lambda _: None)
    found = []
    for seed in range(40):
        try:
            play(seed)
        except AssertionError as failure:
            found.append(str(failure))
    assert any("never ran" in failure for failure in found), found


def test_the_faults_reach_what_they_are_for() -> None:
    assert sum(play(seed).fenced for seed in range(10)) >= 5
