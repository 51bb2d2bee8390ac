"""Calls that wait for other calls. Their slots are free meanwhile, and each report of a worker
replaces the previous report."""

from __future__ import annotations

from support.core import FIRST, Master, alike, beat, register, results, started, submit
from titan.core import effects as fx
from titan.core.events import events as ev
from titan.core.inputs import LeasesAwaiting
from titan.model.dag import JobTemplate
from titan.model.states import Outcome

PLAIN = JobTemplate(command="true")


def full(*jobs: str) -> Master:
    """Return a master whose worker 1 has one slot, and whose first job is RUNNING."""
    master = Master()
    master.see(register(), submit(alike(" ".join(jobs), PLAIN)))
    master.see(started(1, {FIRST: 1.0}), at=1.0)
    return master


def test_the_slot_of_a_waiting_call_goes_to_the_next_job() -> None:
    master = full("a", "b", "c")
    assert master.see(LeasesAwaiting(1, [FIRST]), at=2.0) == (
        [ev.SlotsLent(1, [FIRST], 2.0), ev.JobsDispatched(1, [FIRST + 1], FIRST + 1, 2.0)],
        [fx.SendDispatch(1, [FIRST + 1], FIRST + 1)],
    )
    assert master.see(LeasesAwaiting(1, [FIRST]), at=2.5) == ([], []), "it is known"
    assert master.see(LeasesAwaiting(1, []), at=3.0) == ([ev.SlotsLent(1, [], 3.0)], []), "both run for a moment"
    assert master.state.workers[1].used == 2
    assert master.see(results(1, (FIRST + 1, Outcome.SUCCEEDED)), at=4.0).effects == [fx.SendAck(1, [FIRST + 1])]
    assert master.see(results(1, (FIRST, Outcome.SUCCEEDED)), at=5.0).effects[1:] == [fx.SendDispatch(1, [FIRST + 2], FIRST + 2)]


def test_a_call_that_ended_while_it_waited_frees_no_second_slot() -> None:
    master = full("a", "b", "c")
    master.see(LeasesAwaiting(1, [FIRST]), at=2.0)
    assert master.see(results(1, (FIRST, Outcome.SUCCEEDED)), at=3.0).effects == [fx.SendAck(1, [FIRST])]
    assert master.state.workers[1].used == 1
    master.see(beat(1, {FIRST + 1: 2.0}), at=4.0)
    assert master.state.workers[1].used == 1


def test_a_waiting_call_that_the_worker_does_not_hold_is_ignored() -> None:
    master = full("a", "b")
    assert master.see(LeasesAwaiting(1, [FIRST + 7]), at=2.0) == ([], [])
    assert master.state.workers[1].used == 1


def test_lent_slots_are_not_durable_because_workers_report_them_again() -> None:
    """Workers report the waiting calls again to the next master, so the event need not be
    durable."""
    master = full("a", "b", "c")
    master.see(LeasesAwaiting(1, [FIRST]), at=2.0)
    durable = [e for e in master.events if type(e) not in ev.VOLATILE]
    assert not any(isinstance(e, ev.SlotsLent) for e in durable)


def test_a_worker_that_returns_has_lent_no_slot_until_it_reports_one() -> None:
    master = full("a", "b", "c")
    master.see(LeasesAwaiting(1, [FIRST]), at=2.0)
    master.see(register(origin=2, held={FIRST: 1.0, FIRST + 1: 2.0}), at=100.0)
    assert master.state.workers[1].used == 2
