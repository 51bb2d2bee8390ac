"""Bugs that the simulator found in the core and in the worker's state machine, each in its smallest
form. The docstring of a test says what happened before the bug was fixed."""

from __future__ import annotations

from typing import Any

import pytest

from titan.core import effects as fx
from titan.core import inputs
from titan.core.apply.apply import apply
from titan.core.events import events as ev
from titan.core.invariants import check
from titan.core.state.state import NO_WORKER, State
from titan.core.step import Decision, step
from titan.model.dag import DagSpec, JobTemplate
from titan.model.settings import Settings
from titan.model.states import JobState, Outcome
from titan.scheduling.lane import Lane
from titan.worker.state_machine import machine as wm


class Log:
    """A state, and the events that led to it."""

    def __init__(self) -> None:
        self.state = State(Settings(prefetch=0))
        self.events: list[ev.Event] = []
        self.now = 1000.0
        self.see(inputs.MasterBooted("c", self.state.term + 1))

    def see(self, *inputs: inputs.Input, after: float = 1.0) -> Decision:
        self.now += after
        decision = step(self.state, self.now, inputs)
        check(self.state)
        self.events += decision.events
        return decision

    def replayed(self) -> State:
        payload, _ = ev.encode(self.events)
        state = State(Settings(prefetch=0))
        for event in ev.decode(payload):
            apply(state, event)
        state.reindex()
        return state

    def register(self, name: str, *, origin: int, incarnation: str = "1", leases: list[int] | None = None, **more: Any) -> Decision:
        held = leases or []
        fields: dict[str, Any] = {"capabilities": ("GENERAL", "GPU"), "slots": 1, "facts": {}, **more}
        return self.see(
            inputs.WorkerRegistered(
                origin=origin, request=1, name=name, incarnation=incarnation, leases=held, started=[0.0] * len(held), **fields
            )
        )

    def submit(self, **jobs: tuple[str, ...]) -> None:
        """Submit a run. `jobs` maps each job to its parents. All jobs share a template with
        affinity and the requirement GPU."""
        template = JobTemplate(command="true", affinity=True, requirement="GPU")
        count = len(jobs)
        dag = DagSpec("d", "1", [template], list(jobs), [0] * count, [()] * count, list(jobs.values()))
        self.see(inputs.DagSubmitted(9, 1, "r", "k", dag))

    def job(self, name: str) -> Any:
        number = self.state.find(self.state.runs["r"], name)
        assert number is not None
        return self.state.jobs[number]

    def report(self, worker: int, name: str, outcome: Outcome = Outcome.SUCCEEDED) -> Decision:
        lease = self.job(name).lease
        return self.see(inputs.ResultsReported(worker, [lease], [outcome], [0], [""], [1.0], [2.0], [0.0], [0], 0.5))


def test_a_cancelled_job_and_its_descendants_are_in_the_log_once() -> None:
    """The handler changed a list after it had put the list into an event, so the log could not be
    replayed."""
    log = Log()
    log.submit(a=(), b=("a",), c=("b",))
    decision = log.see(inputs.CancelRequested(9, 2, "r", "a"))
    cancelled = [len(e.jobs) for e in decision.events if isinstance(e, ev.JobsCancelled)]
    assert cancelled == [1, 2]
    assert [job.state for job in log.replayed().jobs.values()] == [JobState.CANCELLED] * 3


def _children_of_a_on_w1(log: Log, *, slots: int) -> None:
    """Complete a on w1, and start as many of b, c and d there as w1 has slots. The other jobs wait
    for w1."""
    log.register("w1", origin=1, slots=slots)
    log.submit(a=(), b=("a",), c=("a",), d=("a",))
    log.report(1, "a")
    assert log.job("d").pin == 1


def test_a_lost_attempt_goes_back_to_the_node_of_its_affinity() -> None:
    """The attempt was queued for any worker, and the job's history had no record of this."""
    log = Log()
    _children_of_a_on_w1(log, slots=2)
    log.register("w2", origin=2)
    log.see(inputs.WorkerDisconnected(1, 1))
    # the dispatch of b was lost with the connection
    log.register("w1", origin=3, slots=2, leases=[log.job("c").lease])
    assert (log.job("b").worker, log.job("b").attempt) == (1, 2)
    assert log.replayed().jobs.keys() == log.state.jobs.keys()


def test_a_lost_attempt_is_released_from_a_dead_node_and_says_so() -> None:
    log = Log()
    _children_of_a_on_w1(log, slots=1)
    log.see(inputs.TimePassed(), after=100.0)
    for name in ("b", "d"):
        assert (log.job(name).state, log.job(name).pin) == (JobState.QUEUED, NO_WORKER)
        assert "affinity released" in log.job(name).history[-1].reason


def test_a_node_that_comes_back_without_a_capability_does_not_keep_jobs_that_need_it() -> None:
    """The jobs were sent to the node, although the node lacked their capability."""
    log = Log()
    _children_of_a_on_w1(log, slots=1)
    log.see(inputs.WorkerDisconnected(1, 1))
    log.register("w1", origin=2, incarnation="2", capabilities=("GENERAL",))
    for name in ("b", "d"):
        assert (log.job(name).state, log.job(name).pin) == (JobState.QUEUED, NO_WORKER)


def test_a_node_that_comes_back_draining_does_not_keep_jobs() -> None:
    """The jobs waited until the draining node had left."""
    log = Log()
    _children_of_a_on_w1(log, slots=2)
    log.see(inputs.WorkerDisconnected(1, 1))
    log.register("w1", origin=2, slots=2, leases=[log.job("b").lease, log.job("c").lease], draining=True)
    assert log.job("d").pin == NO_WORKER


def test_a_job_that_comes_back_to_a_lane_it_once_left_is_taken_once() -> None:
    """A job was released from a node and bound to the same node again. It was then in the node's
    lane twice, and was dispatched twice in one turn."""
    queued = {7: True}
    lane = Lane(lambda job: queued[job])
    lane.push(1, 7)
    queued[7] = False
    queued[7] = True
    lane.push(1, 7)
    assert (lane.pop(), lane.pop()) == (7, None)


def test_an_older_process_is_told_to_end_while_the_newer_one_is_connected() -> None:
    """The older process was told only that the name is in use. It registered again and again, and
    its attempts continued."""
    log = Log()
    log.register("w1", origin=1, incarnation="2")
    decision = log.register("w1", origin=2, incarnation="1")
    assert [type(e) for e in decision.effects] == [fx.Refuse]
    assert "must end" in str(decision.effects[0])


def _machine() -> wm.WorkerMachine:
    """Return a registered machine with attempt 1, which has ended. The result of the attempt was
    sent at 2."""
    machine = wm.WorkerMachine(1)
    template = JobTemplate(command="true")
    machine.handle(0.0, [wm.Welcomed("c"), wm.Registered(5.0), wm.Dispatched([wm.Assignment(1, "r", "j", 1, template, ())])])
    machine.handle(1.0, [wm.AttemptStarted(1, 1.0), wm.AttemptExited(1, 0, 1.5, 0.0, 0)])
    out = machine.handle(2.0, [wm.LogsSent(1)])
    assert [type(one) for one in out] == [wm.ReportResults]
    return machine


def test_an_acknowledgement_that_comes_with_the_time_to_send_again() -> None:
    """The state machine raised KeyError."""
    machine = _machine()
    out = machine.handle(20.0, [wm.TimePassed(), wm.ResultsAcked([1])])
    assert [type(one) for one in out] == [wm.Forget, wm.Beat]
    assert machine.held == {}


def test_a_heartbeat_does_not_list_what_was_reported_before_it() -> None:
    """The heartbeat listed an attempt whose result the master had recorded before. The master took
    the attempt for an unknown one, and blocked a slot until the next heartbeat."""
    machine = _machine()
    assert machine.handle(5.0, [wm.TimePassed()]) == [wm.Beat([], [])]
    machine.handle(6.0, [wm.Disconnected()])
    assert machine.holdings() == wm.Beat([1], [1.0])


@pytest.mark.parametrize(
    ("end", "outcome"),
    [(wm.AttemptExited(1, 0, 1.5, 0.0, 0), Outcome.SUCCEEDED), (wm.WardenDied([1], 1.5), Outcome.BROKEN)],
)
def test_an_attempt_that_ended_in_time_did_not_time_out(end: Any, outcome: Outcome) -> None:
    """A worker that did nothing for a while judged an attempt that had ended within its time limit
    as timed out."""
    machine = wm.WorkerMachine(1)
    template = JobTemplate(command="true", timeout_s=3.0)
    machine.handle(0.0, [wm.Welcomed("c"), wm.Registered(5.0), wm.Dispatched([wm.Assignment(1, "r", "j", 1, template, ())])])
    machine.handle(1.0, [wm.AttemptStarted(1, 1.0)])
    machine.handle(9.0, [wm.TimePassed(), end])
    result = machine.held[1].result
    assert result is not None
    assert result.outcome is outcome
