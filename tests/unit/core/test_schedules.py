"""Schedules: each nominal time leads to one decision, by the policies of the schedule."""

from __future__ import annotations

import msgspec
import pytest

from support.core import CLIENT, FIRST, PATIENT, Master, alike, booted, dag, picture, register, replay, submit, succeeded
from titan.core import effects as fx
from titan.core import inputs
from titan.core.events import events as ev
from titan.core.handlers.schedules import COUNTED, MAX_SCHEDULED_JOBS, MAX_WAITING, PART_JOBS, key_of
from titan.core.state.state import STALE_TIMERS, Schedule
from titan.core.step import Decision, next_due
from titan.model.dag import DagSpec, JobTemplate
from titan.model.states import JobState, RunState
from titan.model.timing import Timing

EVERY = Timing(every_s=10.0)
ONE = dag({"a": ""})
HEAVY = msgspec.structs.replace(ONE, ids=["a"] * 200, template_of=[0] * 200, args=[("x" * 100_000,)] * 200, parents=[()] * 200)


def ask(
    name: str = "s",
    *,
    spec: DagSpec = ONE,
    timing: Timing = EVERY,
    overlap: str = "skip",
    catch_up: str = "last",
    key: str = "",
    paused: bool = False,
    replace: bool = False,
) -> inputs.ScheduleRequested:
    return inputs.ScheduleRequested(CLIENT, 3, key, name, spec, timing, overlap, catch_up, paused, replace)


def pause(name: str = "s") -> inputs.PauseRequested:
    return inputs.PauseRequested(CLIENT, 4, name, True)


def resume(name: str = "s") -> inputs.PauseRequested:
    return inputs.PauseRequested(CLIENT, 4, name, False)


def tick(master: Master, at: float) -> Decision:
    return master.see(inputs.TimePassed(), at=at)


def restart(master: Master, at: float) -> Decision:
    """Kill the master, and start it with a replay of its log."""
    master.state = replay(master.events, master.state.settings)
    return master.see(booted(master.state), at=at)


def the(master: Master, name: str = "s") -> Schedule:
    return master.state.schedules[name]


def nominal(events: list[ev.Event]) -> list[float]:
    """Return the nominal times for which runs were made."""
    return [e.nominal for e in events if isinstance(e, ev.ScheduleFired)]


def finish(master: Master, at: float) -> list[ev.Event]:
    """Let all running attempts succeed. Return the events of this turn and of the turns that follow
    at once."""
    worker = master.state.workers[1]
    events = master.see(succeeded(1, *worker.held), at=at).events
    while next_due(master.state) == 0.0:
        events = events + tick(master, at).events
    return events


def counts(master: Master) -> tuple[int, int, int]:
    s = the(master)
    return s.fired, s.skipped, s.missed


# -- asking ----------------------------------------------------------------------------------------
def test_adding_a_schedule_is_an_event_with_its_first_due_time() -> None:
    master = Master(PATIENT)
    spec = dag({"a": "", "b": "a"})
    assert master.see(ask(spec=spec, key="k"), at=100.0) == (
        [
            ev.ScheduleAdded(
                name="s",
                number=1,
                key="k",
                dag=msgspec.structs.replace(spec, parents=[]),
                parents=[(), (0,)],
                timing=Timing(every_s=10.0, start=100.0),
                overlap="skip",
                catch_up="last",
                paused=False,
                due=110.0,
                at=100.0,
            )
        ],
        [fx.ReplyScheduled(CLIENT, 3, "s")],
    )
    assert next_due(master.state) == 110.0


def test_the_same_schedule_request_sent_twice_adds_one_schedule() -> None:
    master = Master(PATIENT)
    master.see(ask(key="k"))
    assert master.see(ask(key="k")) == ([], [fx.ReplyScheduled(CLIENT, 3, "s")])


@pytest.mark.parametrize(
    ("asked", "code", "says"),
    [
        (ask("../x"), "caller", "schedule name '../x' is malformed"),
        (ask(overlap="both"), "caller", "overlap policy 'both' is unknown: use skip, queue or replace"),
        (ask(catch_up="some"), "caller", "catch-up policy 'some' is unknown: use skip, last or all"),
        (ask(timing=Timing("0 0 30 2 *")), "caller", "never fires"),
        (ask(timing=Timing("* * * * *", "Mars/Olympus")), "caller", "there is no time zone"),
        (ask(spec=dag({"a": "b", "b": "a"})), "invalid_graph", "cycle"),
        (
            ask(spec=dag({f"j{i}": "" for i in range(MAX_SCHEDULED_JOBS + 1)})),
            "limit_exceeded",
            "the limit of a scheduled DAG is 100,000: split it",
        ),
        (ask(spec=HEAVY), "limit_exceeded", "exceed 16,777,216 bytes"),
        (ask("there"), "conflict", "there is a schedule 'there' already: use --replace"),
        (pause("none"), "not_found", "there is no schedule 'none'"),
        (inputs.RemovalRequested(CLIENT, 4, "none"), "not_found", "there is no schedule 'none'"),
        (inputs.ScheduleRunRequested(CLIENT, 4, "r", "k", "none"), "not_found", "there is no schedule 'none'"),
    ],
)
def test_bad_requests_for_schedules_are_refused(asked: inputs.Input, code: str, says: str) -> None:
    master = Master(PATIENT)
    master.see(ask("there"))
    events, (refusal,) = master.see(asked)
    assert events == []
    assert isinstance(refusal, fx.Refuse) and refusal.code == code and says in refusal.message


# -- firing ----------------------------------------------------------------------------------------
def test_a_due_schedule_submits_a_run_that_knows_its_nominal_time() -> None:
    master = Master(PATIENT)
    master.see(register())
    master.see(ask(timing=Timing("* * * * *", "Asia/Tokyo")), at=30.0)
    assert tick(master, 59.9).events == []
    events = tick(master, 60.2).events
    submitted, fired, *_ = events
    assert isinstance(submitted, ev.RunSubmitted) and isinstance(fired, ev.ScheduleFired)
    assert (submitted.key, submitted.schedule, submitted.scheduled_at) == (key_of("s", 60.0), "s", 60.0)
    assert submitted.templates[0].env == (("TITAN_SCHEDULE", "s"), ("TITAN_SCHEDULED_AT", "1970-01-01T09:01:00+09:00"))
    assert fired == ev.ScheduleFired("s", 60.0, submitted.run, 120.0, 60.2)
    assert [type(e) for e in events[2:]] == [ev.JobsQueued, ev.JobsDispatched]
    assert next_due(master.state) is not None and the(master).due == 120.0


def test_runs_submitted_in_one_turn_have_distinct_ids() -> None:
    master = Master(PATIENT)
    for i in range(50):
        master.see(ask(f"s{i}"), at=0.0)
    tick(master, 10.0)
    assert len(master.state.runs) == 50
    assert sorted(e.nominal for e in master.events if isinstance(e, ev.ScheduleFired)) == [10.0] * 50


def test_a_run_by_hand_does_not_change_the_timing() -> None:
    master = Master(PATIENT)
    master.see(ask(paused=True), at=0.0)
    events, effects = master.see(inputs.ScheduleRunRequested(CLIENT, 4, "mine", "k", "s"), at=3.0)
    assert events[1] == ev.ScheduleFired("s", 3.0, "mine", 10.0, 3.0, by_user=True)
    assert effects == [fx.ReplySubmitted(CLIENT, 4, "mine", 1)]
    assert master.see(inputs.ScheduleRunRequested(CLIENT, 4, "other", "k", "s"), at=4.0).events == []
    assert (the(master).due, the(master).last_run) == (10.0, "mine")


def test_a_run_that_exists_under_its_key_is_not_submitted_again() -> None:
    master = Master(PATIENT)
    master.see(ask(), submit(ONE, run="foreign", key=key_of("s", 10.0)), at=0.0)
    assert tick(master, 10.0).events == [ev.ScheduleSkipped("s", 1, False, 10.0, 10.0, "made", 20.0, 10.0)]


# -- overlap ---------------------------------------------------------------------------------------
def test_overlap_skip_skips_the_times_while_a_run_is_open() -> None:
    master = Master(PATIENT)
    master.see(register(), ask(overlap="skip"), at=0.0)
    tick(master, 10.0)
    assert tick(master, 20.0).events == [ev.ScheduleSkipped("s", 1, False, 20.0, 20.0, "overlap", 30.0, 20.0)]
    finish(master, 25.0)
    assert nominal(tick(master, 30.0).events) == [30.0]
    assert counts(master) == (2, 1, 0)


def test_overlap_queue_runs_the_times_one_after_the_other() -> None:
    master = Master(PATIENT)
    master.see(register(), ask(overlap="queue"), at=0.0)
    tick(master, 10.0)
    assert tick(master, 20.0).events == [ev.ScheduleWaited("s", [20.0], "overlap", 30.0, 20.0)]
    tick(master, 30.0)
    assert the(master).waiting == [20.0, 30.0]
    assert nominal(finish(master, 31.0)) == [20.0]
    assert nominal(finish(master, 32.0)) == [30.0]
    finish(master, 33.0)
    assert (counts(master), the(master).waiting) == ((3, 0, 0), [])


def test_the_number_of_waiting_times_is_limited() -> None:
    master = Master(PATIENT)
    master.see(ask(overlap="queue"), at=0.0)
    tick(master, 10.0)
    master.see(pause())  # A pause and a catch-up fill the waiting list faster than a thousand turns.
    master.see(ask(overlap="queue", catch_up="all", replace=True), at=10.0)
    for i in range(2, MAX_WAITING + 2):
        tick(master, i * 10.0)
    assert len(the(master).waiting) == MAX_WAITING
    (skipped,) = tick(master, (MAX_WAITING + 2) * 10.0).events
    assert isinstance(skipped, ev.ScheduleSkipped) and skipped.why == "full"


def test_overlap_replace_cancels_the_open_run() -> None:
    master = Master(PATIENT)
    master.see(register(), ask(overlap="replace"), at=0.0)
    tick(master, 10.0)
    (old,) = master.state.runs.values()
    events, effects = tick(master, 20.0)
    assert nominal(events) == [20.0]
    assert old.state is RunState.CANCELLED
    assert master.job().reason == "replaced by the run of schedule s for 1970-01-01T00:00:20Z"
    assert fx.SendStop(1, [FIRST]) in effects
    assert len(the(master).waiting) == 0 and list(master.state.live["s"]) == [the(master).last_run]


def test_a_master_that_was_slow_decides_on_each_time() -> None:
    master = Master(PATIENT)
    master.see(ask(overlap="queue"), at=0.0)
    assert nominal(tick(master, 35.0).events) == [10.0]
    assert the(master).waiting == [20.0, 30.0]


def test_a_master_that_was_stopped_for_long_catches_up() -> None:
    master = Master(PATIENT)
    master.see(ask(overlap="queue", catch_up="last"), at=0.0)
    assert nominal(tick(master, 1005.0).events) == [1000.0]
    assert counts(master) == (1, 0, 99)


# -- catching up -----------------------------------------------------------------------------------
def test_catch_up_skip_runs_no_missed_time() -> None:
    master = Master(PATIENT)
    master.see(ask(catch_up="skip"), at=0.0)
    assert restart(master, 65.0).events[1:] == [ev.ScheduleSkipped("s", 6, False, 10.0, 60.0, "missed", 70.0, 65.0)]
    assert tick(master, 69.0).events == []
    assert nominal(tick(master, 70.0).events) == [70.0]
    assert counts(master) == (1, 0, 6)


def test_catch_up_last_runs_the_last_missed_time() -> None:
    master = Master(PATIENT)
    master.see(ask(catch_up="last"), at=0.0)
    assert nominal(restart(master, 65.0).events) == [60.0]
    assert (counts(master), the(master).due) == ((1, 0, 5), 70.0)


def test_catch_up_all_runs_the_missed_times_one_after_the_other() -> None:
    master = Master(PATIENT)
    master.see(ask(catch_up="all"), at=0.0)
    assert nominal(restart(master, 45.0).events) == [10.0]
    assert the(master).waiting == [20.0, 30.0, 40.0]
    master.see(register(), at=46.0)
    assert [nominal(finish(master, 46.0 + i / 10)) for i in range(1, 5)] == [[20.0], [30.0], [40.0], []]
    assert counts(master) == (4, 0, 0)


def test_catch_up_all_runs_a_limited_number_of_the_newest_missed_times() -> None:
    master = Master(PATIENT)
    master.see(ask(catch_up="all"), at=0.0)
    events = restart(master, 10.0 * (MAX_WAITING + 500)).events
    assert events[1] == ev.ScheduleSkipped("s", COUNTED, True, 10.0, 5000.0, "full", 5010.0, 15000.0)
    assert nominal(events) == [5010.0] and len(the(master).waiting) == MAX_WAITING - 1


def test_a_missed_time_waits_for_the_open_run_under_each_overlap_policy() -> None:
    for overlap in ("skip", "queue", "replace"):
        master = Master(PATIENT)
        master.see(register(), ask(overlap=overlap, catch_up="last"), at=0.0)
        tick(master, 10.0)
        restart(master, 35.0)
        assert (the(master).waiting, len(master.state.runs)) == ([30.0], 1)
        tick(master, 40.0)
        assert the(master).waiting == ([30.0] if overlap == "skip" else [30.0, 40.0])
        held = list(master.state.workers[1].held)
        assert nominal(master.see(register(held=dict.fromkeys(held, 1.0)), succeeded(1, *held), at=41.0).events) == [30.0]


def test_nothing_is_missed_by_a_restart_between_two_times() -> None:
    master = Master(PATIENT)
    master.see(ask(catch_up="all"), at=0.0)
    tick(master, 10.0)
    assert nominal(restart(master, 19.9).events) == []
    assert nominal(tick(master, 20.0).events) == [], "the first is open"
    assert counts(master) == (1, 1, 0)


def test_the_times_of_a_pause_are_caught_up() -> None:
    master = Master(PATIENT)
    master.see(ask(catch_up="last"), at=0.0)
    assert master.see(pause(), at=5.0) == ([ev.ScheduleChanged("s", True, 5.0)], [fx.ReplyScheduled(CLIENT, 4, "s")])
    assert master.see(pause(), at=6.0) == ([], [fx.ReplyScheduled(CLIENT, 4, "s")])
    assert tick(master, 25.0).events == restart(master, 26.0).events[1:] == []
    assert nominal(master.see(resume(), at=32.0).events) == [30.0]


# -- changing --------------------------------------------------------------------------------------
def test_a_replaced_schedule_keeps_its_counts_and_forgets_its_waiting_times() -> None:
    master = Master(PATIENT)
    master.see(ask(overlap="queue"), at=0.0)
    tick(master, 20.0)
    master.see(ask(timing=Timing(every_s=7.0), replace=True), at=22.0)
    s = the(master)
    assert (s.number, s.waiting, s.fired, s.skipped, s.due) == (1, [], 1, 1, 29.0)
    assert tick(master, 28.0).events == []


def test_a_removed_schedule_submits_nothing_and_its_open_run_continues() -> None:
    master = Master(PATIENT)
    master.see(register(), ask(overlap="queue"), at=0.0)
    tick(master, 20.0)
    master.see(inputs.RemovalRequested(CLIENT, 4, "s"), at=21.0)
    assert tick(master, 99.0).events == []
    assert master.job().state is JobState.DISPATCHED
    finish(master, 100.0)
    assert [run.state for run in master.state.runs.values()] == [RunState.COMPLETED]
    assert master.state.live == {}


def test_void_timers_do_not_accumulate() -> None:
    master = Master(PATIENT)
    master.see(ask(), at=0.0)
    for _ in range(3 * STALE_TIMERS):
        master.see(pause(), resume())
    assert len(master.state.timers) <= STALE_TIMERS + 2
    for n in range(3):
        later = alike(" ".join(f"j{i}" for i in range(STALE_TIMERS)), JobTemplate(command="x", delay_s=1e6))
        master.see(submit(later, run=f"r{n}"))
        master.see(inputs.CancelRequested(CLIENT, 6, f"r{n}", ""))
    assert len(master.state.timers) <= 2 * STALE_TIMERS + 2
    assert nominal(tick(master, 10.0).events) == [10.0]


# -- large -----------------------------------------------------------------------------------------
def large() -> DagSpec:
    count = 2 * PART_JOBS + 10
    ids = [f"j{i}" for i in range(count)]
    parents: list[tuple[str, ...]] = [(), *[("j0",)] * (count - 1)]
    return DagSpec("large", "1", [JobTemplate(command="true")], ids, [0] * count, [()] * count, parents)


def test_a_large_run_comes_in_parts_and_all_or_nothing() -> None:
    master = Master(PATIENT)
    master.see(ask(spec=large()), at=0.0)
    waited, opened = tick(master, 10.0).events
    assert waited == ev.ScheduleWaited("s", [10.0], "parts", 20.0, 10.0)
    assert isinstance(opened, ev.RunOpened) and (opened.schedule, opened.scheduled_at) == ("s", 10.0)
    assert next_due(master.state) == 0.0
    assert [type(e) for e in tick(master, 10.0).events] == [ev.JobsAdded]
    dropped = restart(master, 11.0).events
    assert [type(e) for e in dropped] == [ev.MasterStarted, ev.RunDropped, ev.RunOpened]
    assert [type(e) for e in tick(master, 11.0).events] == [ev.JobsAdded]
    assert [type(e) for e in tick(master, 11.0).events] == [ev.JobsAdded]
    assert [type(e) for e in tick(master, 11.0).events] == [ev.JobsAdded, ev.RunSealed, ev.ScheduleFired, ev.JobsQueued]
    (run,) = master.state.runs.values()
    assert (run.count, run.state, run.scheduled_at, the(master).waiting) == (2 * PART_JOBS + 10, RunState.RUNNING, 10.0, [])


def test_a_large_run_in_submission_is_dropped_with_its_schedule() -> None:
    for last in (inputs.RemovalRequested(CLIENT, 4, "s"), ask(replace=True)):
        master = Master(PATIENT)
        master.see(ask(spec=large()), at=0.0)
        tick(master, 10.0)
        tick(master, 10.0)
        assert isinstance(master.see(last, at=10.0).events[0], ev.RunDropped)
        assert master.state.runs == {} and next_due(master.state) != 0.0


def test_in_a_large_dag_parents_come_first() -> None:
    spec = large()
    turned = msgspec.structs.replace(spec, ids=spec.ids[::-1], parents=spec.parents[::-1])
    _, (refusal,) = Master(PATIENT).see(ask(spec=turned))
    assert isinstance(refusal, fx.Refuse) and "each parent must come before its children" in refusal.message


# -- the log ---------------------------------------------------------------------------------------
def test_the_log_and_a_snapshot_give_the_same_state() -> None:
    master = Master(PATIENT)
    master.see(register(), ask(overlap="queue", catch_up="all"), ask("t", timing=Timing("@hourly", "Europe/Berlin")), at=0.0)
    tick(master, 35.0)
    finish(master, 36.0)
    master.see(pause("t"), at=37.0)
    assert picture(replay(master.events)) == picture(master.state)
    assert the(master).waiting == [30.0]
