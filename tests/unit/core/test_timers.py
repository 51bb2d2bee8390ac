"""Timers of the core: delays of jobs."""

from __future__ import annotations

from support.core import FIRST, Master, cancel, completed, dag, register, submit, succeeded
from titan.core import inputs
from titan.core.events import events as ev
from titan.core.step import next_due
from titan.model.dag import JobTemplate

LATER = JobTemplate(command="true", delay_s=10.0)


def test_a_delay_starts_when_the_job_could_run() -> None:
    master = Master()
    master.see(register(), submit(dag({"a": "", "b": "a"}, {"b": LATER})))
    assert master.see(succeeded(1, FIRST), at=3.0).events == [
        completed(1, [FIRST], 3.0),
        ev.JobsDelayed([FIRST + 1], [13.0], 3.0),
    ]
    assert next_due(master.state) == 13.0
    assert master.see(inputs.TimePassed(), at=12.999) == ([], [])
    assert master.see(inputs.TimePassed(), at=13.0).events == [
        ev.JobsQueued([FIRST + 1], 13.0),
        ev.JobsDispatched(1, [FIRST + 1], FIRST + 1, 13.0),
    ]


def test_jobs_whose_delays_are_due_together_are_queued_in_one_event_in_order_of_time() -> None:
    master = Master()
    templates = {name: JobTemplate(command="true", delay_s=s) for name, s in (("a", 3.0), ("b", 1.0), ("c", 2.0), ("d", 9.0))}
    master.see(submit(dag(dict.fromkeys("abcd", ""), templates)))
    assert master.see(inputs.TimePassed(), at=5.0).events == [ev.JobsQueued([FIRST + 1, FIRST + 2, FIRST], 5.0)]
    assert next_due(master.state) == 9.0


def test_a_delayed_job_that_was_cancelled_leaves_a_timer_that_does_nothing() -> None:
    master = Master()
    master.see(submit(dag({"a": ""}, {"a": LATER})))
    master.see(cancel("r"))
    assert next_due(master.state) == 10.0
    assert master.see(inputs.TimePassed(), at=10.0) == ([], [])
    assert next_due(master.state) is None
