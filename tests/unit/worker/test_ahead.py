"""Attempts that stand behind another attempt. They begin as soon as the other ends, and never stand
behind a slow attempt."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from support.worker_machine import PLAIN, Node, assignment, dispatched, exited, start, unstarted
from titan.model.dag import JobTemplate, Limits, Needs, Service
from titan.model.states import Outcome
from titan.worker.state_machine import machine as m
from titan.worker.state_machine.machine import Phase
from titan.worker.state_machine.pipelining import QUICK_S, starts_at_once


def behind(lease: int, front: int, template: JobTemplate = PLAIN) -> m.StartAttempt:
    return m.StartAttempt(assignment(lease, template), (), front)


def quick(*leases: int, slots: int = 1) -> Node:
    """Return a node with quick attempts. The first attempt has ended, the second has had its slot
    since 1.01, the third stands behind the second, and the others wait."""
    node = Node(slots)
    node.see(dispatched(*leases), at=1.0)
    node.see(m.AttemptStarted(leases[0], 1.0))
    instructions = node.see(exited(leases[0], at=1.0 + QUICK_S / 2), at=1.01)
    assert instructions == [start(leases[1]), behind(leases[2], leases[1])]
    assert node.phases()[leases[2]] is Phase.AHEAD
    return node


def test_no_attempt_is_queued_behind_an_unmeasured_or_slow_template() -> None:
    node = Node()
    assert node.see(dispatched(1, 2, 3), at=1.0) == [start(1)]
    node.see(m.AttemptStarted(1, 1.0))
    assert node.see(exited(1, at=1.0 + 2 * QUICK_S), at=1.05) == [start(2)]


def test_an_attempt_queued_behind_another_gets_its_slot_and_the_next_is_queued_behind_it() -> None:
    node = quick(1, 2, 3, 4)
    assert node.see(m.AttemptStarted(2, 1.01), exited(2, at=1.012), at=1.012) == [behind(4, 3)]
    assert node.phases() == {1: Phase.ENDED, 2: Phase.ENDED, 3: Phase.STARTING, 4: Phase.AHEAD}
    assert node.machine.busy == 1
    node.see(m.AttemptStarted(3, 1.013), exited(3, at=1.014), at=1.014)
    node.see(m.AttemptStarted(4, 1.014), exited(4, at=1.015), at=1.015)
    assert node.machine.busy == 0


def test_one_attempt_is_queued_behind_each_running_attempt() -> None:
    node = Node(slots=2)
    node.see(dispatched(*range(1, 8)), at=1.0)
    node.see(m.AttemptStarted(1, 1.0), m.AttemptStarted(2, 1.0))
    assert node.see(exited(1, at=1.001), at=1.001) == [start(3), behind(4, 2), behind(5, 3)]
    assert node.see(exited(2, at=1.002), at=1.002) == [behind(6, 4)]
    assert node.machine.busy == 2


def test_the_attempt_behind_a_slow_attempt_is_withdrawn() -> None:
    node = quick(1, 2, 3)
    due = node.machine.next_due()
    assert due == pytest.approx(1.01 + QUICK_S / 2)
    assert m.WithdrawAttempt(3) in node.see(m.TimePassed(), at=1.021)
    node.see(m.AttemptWithdrawn(3), at=1.022)
    assert node.phases()[3] is Phase.WAITING
    assert start(3) in node.see(m.AttemptStarted(2, 1.01), exited(2, at=9.0), at=9.0)


def test_no_attempt_is_queued_behind_one_that_has_already_run_long() -> None:
    node = Node(slots=2)
    node.see(dispatched(1, 2), at=1.0)
    node.see(m.AttemptStarted(1, 1.0), m.AttemptStarted(2, 1.0))
    node.see(exited(1, at=1.001), at=1.001)
    assert node.see(dispatched(3, 4), at=2.0) == [start(3), behind(4, 3)]


def test_an_attempt_withdrawn_too_late_continues() -> None:
    node = quick(1, 2, 3)
    node.see(m.TimePassed(), at=1.021)
    node.see(m.AttemptStarted(2, 1.01), exited(2, at=1.021), m.AttemptStarted(3, 1.021), at=1.022)
    assert node.phases()[3] is Phase.RUNNING


def test_an_attempt_stopped_behind_another_is_reported_as_never_started() -> None:
    node = quick(1, 2, 3)
    assert m.StopAttempt(3, 5.0) in node.see(m.StopOrdered([3], 5.0), at=1.012)
    out = node.see(m.AttemptWithdrawn(3), at=1.013)
    assert m.ReportResults([unstarted(3, Outcome.STOPPED, "stopped before it started", 1.013)]) in [
        replace(one, results=[r for r in one.results if r.lease == 3]) for one in out if isinstance(one, m.ReportResults)
    ]
    assert node.machine.busy == 1


def test_an_attempt_recalled_from_behind_another_is_returned() -> None:
    node = quick(1, 2, 3)
    assert m.WithdrawAttempt(3) in node.see(m.RecallOrdered([3]), at=1.012)
    node.see(m.AttemptWithdrawn(3), at=1.013)
    held = node.machine.held[3]
    assert held.result is not None and held.result.outcome is Outcome.RETURNED


def test_a_drain_returns_an_attempt_queued_behind_another_and_quit_costs_it_nothing() -> None:
    node = quick(1, 2, 3)
    assert m.WithdrawAttempt(3) in node.see(m.DrainOrdered(), at=1.012)
    node.see(m.AttemptWithdrawn(3), at=1.013)
    assert (result := node.machine.held[3].result) is not None and result.outcome is Outcome.RETURNED
    node = quick(1, 2, 3)
    assert {m.StopAttempt(2, 0.0), m.StopAttempt(3, 0.0)} <= set(node.see(m.QuitOrdered(), at=1.012))
    node.see(m.AttemptWithdrawn(3), at=1.013)
    assert (result := node.machine.held[3].result) is not None and result.outcome is Outcome.RETURNED


def test_an_attempt_queued_behind_another_waits_again_without_blame_when_the_warden_dies() -> None:
    node = quick(1, 2, 3)
    assert start(3) in node.see(m.WardenDied([2, 3], 1.013), at=1.013)
    assert node.phases()[3] is Phase.STARTING
    assert (result := node.machine.held[2].result) is not None and result.outcome is Outcome.BROKEN


def test_an_attempt_without_a_sandbox_leaves_its_place_behind_another() -> None:
    node = quick(1, 2, 3, 4)
    node.see(m.AttemptRefused(3, "disk full", False, 1.012), at=1.012)
    assert node.phases()[3] is Phase.DONE
    assert node.machine.busy == 1
    assert start(4) in node.see(m.AttemptStarted(2, 1.01), exited(2, at=1.013), at=1.013)


def test_a_new_cluster_stops_attempts_queued_behind_another() -> None:
    node = quick(1, 2, 3)
    node.see(m.Disconnected())
    assert m.StopAttempt(3, 0.0) in node.see(m.Welcomed("other"), at=1.02)
    node.see(m.AttemptWithdrawn(3), exited(2, at=1.02), m.LogsSent(2), at=1.02)
    assert 2 not in node.machine.held and 3 not in node.machine.held


@pytest.mark.parametrize(
    "template",
    [
        JobTemplate(command="true", limits=Limits(memory=1 << 30)),
        JobTemplate(command="true", needs=Needs(cpus=1.0)),
        JobTemplate(file="x.py", file_hash="f" * 64, python="/usr/bin/python3"),
        JobTemplate(file="x.py", archive="f" * 64),
        JobTemplate(function="f" * 64),
        JobTemplate(command="true", service=Service()),
    ],
)
def test_an_attempt_that_needs_more_than_a_slot_is_not_queued_behind_another(template: JobTemplate) -> None:
    assert not starts_at_once(template)
    node = Node()
    node.machine.have["f" * 64] = None
    node.see(dispatched(1, 2), m.Dispatched([assignment(3, template)]), at=1.0)
    node.see(m.AttemptStarted(1, 1.0))
    assert node.see(exited(1, at=1.001), at=1.001) == [start(2)]
