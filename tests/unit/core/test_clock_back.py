"""A master that starts with a clock behind the times in its log. No recorded time stays in the
future."""

from __future__ import annotations

from msgspec.structs import replace

from support.core import FIRST, Master, alike, booted, dag, register, results, submit
from titan.core import inputs
from titan.core.events import events as ev
from titan.model.dag import Gate, JobTemplate, Retry
from titan.model.states import JobState, Outcome, RunState
from titan.model.timing import Timing

DAY = 86_400.0
AHEAD = 100 * DAY


def boot(master: Master, *, at: float, behind_s: float) -> list[ev.Event]:
    return master.see(booted(master.state, behind_s=behind_s), at=at).events


def test_a_retry_that_waits_keeps_its_wait() -> None:
    master = Master()
    template = JobTemplate(command="x", retries=3, retry=Retry(backoff_s=40.0))
    master.see(register(), submit(alike("a", template)), at=AHEAD)
    master.see(results(1, (master.lease(), Outcome.EXITED)), at=AHEAD + 2.0)
    wait = master.job().due - master.now
    boot(master, at=500.0, behind_s=AHEAD - 500.0)
    assert master.job().due == 500.0 + wait
    master.see(inputs.TimePassed(), at=500.0 + wait)
    assert master.job().state is JobState.QUEUED


def test_a_schedule_goes_on_with_its_next_time_from_now_on() -> None:
    master = Master()
    spec = dag({"a": ""})
    hourly = Timing(every_s=3600.0)
    master.see(inputs.ScheduleRequested(9, 5, "k", "s", spec, hourly, "skip", "all", False, False), at=AHEAD)
    boot(master, at=1000.0, behind_s=AHEAD - 1000.0)
    assert 1000.0 < master.state.schedules["s"].due <= 1000.0 + 3600.0
    events = master.see(inputs.TimePassed(), at=master.state.schedules["s"].due).events
    assert any(isinstance(e, ev.ScheduleFired) for e in events)


def test_a_deadline_and_a_gate_keep_their_remaining_time() -> None:
    master = Master()
    gate = JobTemplate(kind="gate", gate=Gate("go?", 600.0))
    master.see(submit(replace(alike("g", gate), deadline_s=900.0)), at=AHEAD)
    boot(master, at=100.0, behind_s=AHEAD - 100.0)
    assert master.job().due == 700.0
    run = master.job().run
    assert run.deadline == 1000.0 and run.state is RunState.RUNNING


def test_a_clock_that_was_set_back_is_recorded_and_a_replay_gives_the_same_state() -> None:
    master = Master()
    master.see(register(), submit(alike("a b", JobTemplate(command="x"))), at=AHEAD)
    events = boot(master, at=100.0, behind_s=AHEAD - 100.0)
    assert [type(e) for e in events[:2]] == [ev.ClockSetBack, ev.MasterStarted]
    assert "behind" in master.state.notices[-1][1]
    assert all(job.since <= 100.0 for job in master.state.jobs.values())
    assert FIRST in master.state.jobs
