"""Calls that wait for other calls, in the worker's state machine."""

from __future__ import annotations

from support.worker_machine import Node, dispatched
from titan.model.dag import JobTemplate
from titan.model.states import Outcome
from titan.worker.state_machine import machine as m
from titan.worker.state_machine.messages import CallWaits, ReportAwaiting
from titan.worker.state_machine.waiting_calls import WAITING_MAX

CALL = JobTemplate(function="f" * 64)


def node(slots: int = 1) -> Node:
    it = Node(slots=slots)
    it.see(m.ArtifactReady("f" * 64))
    return it


def runners(instructions: list[m.Instruction]) -> list[tuple[int, list[int]]]:
    return [(one.runner, [a.lease for a in one.assignments]) for one in instructions if isinstance(one, m.StartCalls)]


def test_another_runner_runs_the_call_that_a_call_waits_for() -> None:
    it = node()
    assert runners(it.see(dispatched(1, template=CALL))) == [(0, [1])]
    assert runners(it.see(m.RunnerUp(0), dispatched(2, template=CALL))) == []
    seen = it.see(CallWaits(0, True))
    assert ReportAwaiting([1]) in seen and runners(seen) == [(1, [2])]
    assert it.machine.runners.busy == 1
    assert it.see(CallWaits(0, False)) == [ReportAwaiting([])]
    assert it.machine.runners.busy == 2, "more than slots, for a moment"
    it.see(m.CallsEnded(1, [""], [b""], [1.0], [2.0], []))
    it.see(m.CallsEnded(0, [""], [b""], [1.0], [2.0], []))
    assert it.machine.runners.busy == 0


def test_a_waiting_call_that_ends_or_dies_releases_its_slot_once() -> None:
    it = node()
    it.see(dispatched(1, 2, template=CALL))
    it.see(m.RunnerUp(0), CallWaits(0, True))
    it.see(m.CallsEnded(0, [""], [b""], [1.0], [2.0], []), m.RunnerUp(1), CallWaits(1, True))
    it.see(m.RunnerEnded(1, 1, 1, "died", 2.0))
    assert (it.machine.runners.busy, it.machine.runners.waiting) == (0, {})
    assert it.see(CallWaits(1, False), CallWaits(7, True)) == []


def test_an_awaited_call_runs_before_earlier_calls() -> None:
    it = node()
    it.see(dispatched(1, template=CALL))
    it.see(dispatched(2, 3, template=CALL), dispatched(4, template=JobTemplate(function="f" * 64, priority=2)))
    assert runners(it.see(m.RunnerUp(0), CallWaits(0, True))) == [(1, [4])]


def test_too_many_waiting_calls_are_an_error_and_not_a_hang() -> None:
    it = node()
    for lease in range(1, WAITING_MAX + 2):
        it.see(dispatched(lease, template=CALL), m.RunnerUp(lease - 1))
        last = it.see(CallWaits(lease - 1, True))
    assert m.KillRunner(WAITING_MAX) in last
    (report,) = [r for r in it.see(m.RunnerEnded(WAITING_MAX, 1, 1, "died", 2.0)) if isinstance(r, m.ReportResults)]
    assert report.results[0].outcome is Outcome.EXITED and "use fewer levels of calls" in report.results[0].reason


def test_waiting_calls_are_reported_again_to_a_new_master() -> None:
    it = node()
    it.see(dispatched(1, template=CALL))
    it.see(m.RunnerUp(0), CallWaits(0, True))
    it.see(m.Disconnected())
    assert ReportAwaiting([1]) in it.see(m.Registered(5.0))
