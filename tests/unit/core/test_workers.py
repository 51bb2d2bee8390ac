"""Workers register, send heartbeats, fall silent and return."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from support.core import (
    FIRST,
    Master,
    alike,
    beat,
    cancel,
    dag,
    joined,
    picture,
    register,
    replay,
    started,
    submit,
    succeeded,
)
from titan.core import effects as fx
from titan.core import inputs
from titan.core.events import events as ev
from titan.core.step import next_due
from titan.master import views
from titan.model.dag import JobTemplate
from titan.model.settings import Settings
from titan.model.states import JobState, RunState, WorkerState
from titan.protocol import messages as msg
from titan.sdk.status import worker_status


def busy(*, slots: int = 1, runs: bool = True) -> Master:
    """Return a master whose worker 1 has job a under lease FIRST since 0. If `runs`, the attempt
    was reported as started at 1."""
    master = Master()
    master.see(register(slots=slots), submit(dag({"a": ""})))
    if runs:
        master.see(started(1, {FIRST: 1.0}), at=1.0)
    return master


def lost(master: Master, *, at: float) -> ev.WorkerLost:
    """Let the worker be silent until its deadline, and return the event."""
    events, _ = master.see(inputs.TimePassed(), at=at)
    (event,) = [e for e in events if isinstance(e, ev.WorkerLost)]
    return event


# -- registration ----------------------------------------------------------------------------------
def test_a_new_worker_joins_and_is_accepted() -> None:
    master = Master()
    assert master.see(register(origin=3, slots=4), at=5.0) == (
        [joined(1, "w1", 5.0, slots=4), ev.WorkerConnected(1, 3, 5.0)],
        [fx.AcceptWorker(3, 7, 1)],
    )


def test_the_same_worker_process_on_a_new_connection_keeps_its_attempts() -> None:
    master = busy()
    master.see(inputs.WorkerDisconnected(1, 1), at=2.0)
    assert master.see(register(origin=4, held={FIRST: 1.0}), at=3.0) == (
        [ev.WorkerConnected(1, 4, 3.0)],
        [fx.AcceptWorker(4, 7, 1)],
    )
    assert (master.job().state, master.job().attempt) == (JobState.RUNNING, 1)


def test_a_registration_reports_the_starts_during_the_disconnect() -> None:
    master = busy(runs=False)
    events, _ = master.see(register(origin=4, held={FIRST: 1.5}), at=3.0)
    assert events == [ev.WorkerConnected(1, 4, 3.0), ev.JobsStarted(1, [FIRST], [1.5], 3.0)]


def test_a_registration_without_an_attempt_means_that_its_dispatch_was_lost() -> None:
    master = busy(runs=False)
    assert master.see(register(origin=4), at=3.0) == (
        [
            ev.WorkerConnected(1, 4, 3.0),
            ev.JobsLost(1, [FIRST], [], "worker w1 does not hold it", 3.0),
            ev.JobsDispatched(1, [FIRST], FIRST + 1, 3.0),
        ],
        [fx.AcceptWorker(4, 7, 1), fx.SendDispatch(1, [FIRST], FIRST + 1)],
    )


def test_a_new_process_of_a_worker_starts_empty_and_its_running_attempts_count_as_lost() -> None:
    master = busy()
    master.see(inputs.WorkerDisconnected(1, 1), at=2.0)
    assert master.see(register(origin=4, incarnation="2"), at=3.0).events == [
        ev.JobsLost(1, [FIRST], [FIRST], "worker w1 was restarted", 3.0),
        joined(1, "w1", 3.0, incarnation="2"),
        ev.WorkerConnected(1, 4, 3.0),
        ev.JobsDispatched(1, [FIRST], FIRST + 1, 3.0),
    ]
    assert master.job().losses == 1


def test_a_name_that_is_connected_is_taken() -> None:
    master = busy()
    refusal = "a worker named 'w1' is connected already (from another host): give this one another name with --name"
    assert master.see(register(origin=4, incarnation="2"), at=9.0) == ([], [fx.Refuse(4, 7, "conflict", refusal)])


def test_a_worker_name_is_given_away_when_its_owner_was_silent_for_a_while() -> None:
    master = busy()
    assert master.see(register(origin=4, incarnation="2"), at=10.0).effects[0] == fx.AcceptWorker(4, 7, 1)


@pytest.mark.parametrize("gone", [True, False])
def test_an_older_process_never_takes_a_name_back(gone: bool) -> None:
    master = Master()
    master.see(register(incarnation="2"))
    if gone:
        master.see(inputs.WorkerDisconnected(1, 1))
    refusal = "a newer process of worker 'w1' has registered; this older process must end"
    assert master.see(register(origin=4, incarnation="1"), at=9.0) == ([], [fx.Refuse(4, 7, "conflict", refusal)])


def test_a_worker_that_registers_draining_gets_nothing() -> None:
    master = Master()
    master.see(submit(dag({"a": ""})))
    assert master.see(register(draining=True), at=2.0) == (
        [joined(1, "w1", 2.0), ev.WorkerConnected(1, 1, 2.0), ev.WorkerDrained(1, 2.0)],
        [fx.AcceptWorker(1, 7, 1)],
    )


def test_a_worker_without_the_capability_gets_nothing() -> None:
    master = Master()
    master.see(submit(alike("a", JobTemplate(command="true", requirement="GPU"))))
    master.see(register())
    assert master.states() == [JobState.QUEUED]
    assert master.see(register("w2", origin=2, capabilities=("GENERAL", "GPU"))).effects[-1] == fx.SendDispatch(2, [FIRST], FIRST)


# -- heartbeats ------------------------------------------------------------------------------------
def test_a_heartbeat_that_agrees() -> None:
    master = busy()
    assert master.see(beat(1, {FIRST: 1.0}), at=60.0) == ([ev.WorkerHeard(1, 60.0)], [])


def test_a_heartbeat_may_lack_an_attempt_that_was_sent_a_moment_ago() -> None:
    master = busy(runs=False)
    assert master.see(beat(1, {}), at=10.0) == ([ev.WorkerHeard(1, 10.0)], [])
    assert master.see(beat(1, {}), at=10.5).events[1:] == [
        ev.JobsLost(1, [FIRST], [], "worker w1 does not hold it", 10.5),
        ev.JobsDispatched(1, [FIRST], FIRST + 1, 10.5),
    ]


def test_a_fenced_attempt_is_stopped_and_takes_a_slot_until_then() -> None:
    master = Master()
    master.see(register(), at=1.0)
    assert master.see(beat(1, {77: 1.0, 78: 0.0}), at=2.0) == (
        [ev.WorkerHeard(1, 2.0), ev.LeasesEnding(1, [77, 78], 2.0)],
        [fx.SendStop(1, [77, 78])],
    )
    assert master.see(submit(dag({"a": ""}))).effects == [fx.ReplySubmitted(9, 5, "r", 1)]
    assert master.see(beat(1, {78: 0.0}), at=3.0) == (
        [ev.WorkerHeard(1, 3.0), ev.LeasesEnded(1, [77], 3.0)],
        [fx.SendStop(1, [78])],
    )
    assert master.see(beat(1, {}), at=4.0).events[1:] == [ev.LeasesEnded(1, [78], 4.0), ev.JobsDispatched(1, [FIRST], FIRST, 4.0)]


def test_a_heartbeat_of_a_lost_worker_is_ignored() -> None:
    master = busy()
    lost(master, at=31.0)
    assert master.see(beat(1, {FIRST: 1.0}), at=32.0) == ([], [])


# -- silence ---------------------------------------------------------------------------------------
def test_a_worker_whose_connection_broke_is_suspect() -> None:
    master = busy()
    assert master.see(inputs.WorkerDisconnected(1, 1), at=2.0) == ([ev.WorkerSuspected(1, 2.0)], [])
    assert master.states() == [JobState.RUNNING]
    assert master.see(submit(dag({"b": ""}), run="r2")).effects == [fx.ReplySubmitted(9, 5, "r2", 1)]


def test_the_end_of_an_older_connection_means_nothing() -> None:
    master = busy()
    master.see(register(origin=4, held={FIRST: 1.0}))
    assert master.see(inputs.WorkerDisconnected(1, 1)) == ([], [])


def test_silence_is_measured_from_the_last_message() -> None:
    master = busy()
    master.see(beat(1, {FIRST: 1.0}), at=20.0)
    assert master.see(inputs.TimePassed(), at=30.0) == ([], [])
    assert next_due(master.state) == 50.0
    assert master.see(inputs.TimePassed(), at=49.9) == ([], [])
    assert lost(master, at=50.0).reason == "worker w1 was silent for 30 s"


def test_a_lost_worker_is_cut_off_and_its_attempts_go_elsewhere() -> None:
    master = busy()
    master.see(register("w2", origin=2), at=20.0)
    reason = "worker w1 was silent for 30 s"
    assert master.see(inputs.TimePassed(), at=30.0) == (
        [
            ev.WorkerLost(1, reason, 30.0),
            ev.JobsLost(1, [FIRST], [FIRST], reason, 30.0),
            ev.JobsDispatched(2, [FIRST], FIRST + 1, 30.0),
        ],
        [fx.Disconnect(1), fx.SendDispatch(2, [FIRST], FIRST + 1)],
    )


def test_a_lost_job_returns_to_its_old_place_in_the_queue() -> None:
    master = Master()
    master.see(register("w1", slots=2), submit(alike("a b c d", JobTemplate(command="true"))))
    lost(master, at=30.0)
    assert master.see(register("w2", origin=2, slots=3), at=31.0).effects[-1] == fx.SendDispatch(
        2, [FIRST, FIRST + 1, FIRST + 2], FIRST + 2
    )


def test_a_job_that_had_not_started_counts_a_doubt_and_no_loss() -> None:
    master = busy(runs=False)
    lost(master, at=30.0)
    assert (master.job().losses, master.job().doubts) == (0, 1)


def test_a_job_that_took_down_two_workers_is_poison() -> None:
    master = busy()
    master.see(submit(dag({"b": ""}), run="other"))
    lost(master, at=30.0)
    master.see(register("w2", origin=2, slots=2), at=31.0)
    master.see(started(2, {FIRST + 1: 31.0}), at=31.0)
    reason = "worker w2 was silent for 30 s"
    assert master.see(inputs.TimePassed(), at=61.0).events == [
        ev.WorkerLost(2, reason, 61.0),
        ev.JobsLost(2, [FIRST + 1], [], reason, 61.0, doubted=[FIRST + 1]),
        ev.JobsDied([FIRST], f"poison: 2 workers were lost while they ran it ({reason})", 61.0),
        ev.RunFinished("r", RunState.FAILED, 61.0),
    ]


def test_the_descendants_of_a_poison_job_are_cancelled() -> None:
    master = Master()
    master.see(register(), submit(dag({"a": "", "b": "a"})))
    for round_ in (1, 2):
        master.see(started(1, {master.lease(): 1.0}))
        master.see(inputs.WorkerDisconnected(1, round_))
        master.see(register(origin=round_ + 1, incarnation=str(round_ + 1)))
    assert master.states() == [JobState.DEAD, JobState.CANCELLED]


def test_the_blame_is_taken_back_when_the_same_process_returns() -> None:
    master = busy()
    lost(master, at=30.0)
    assert (master.job().losses, list(master.state.workers[1].blamed)) == (1, [FIRST])
    assert master.see(register(origin=4, held={FIRST: 1.0}), at=31.0) == (
        [joined(1, "w1", 31.0), ev.WorkerConnected(1, 4, 31.0), ev.LeasesEnding(1, [FIRST], 31.0)],
        [fx.AcceptWorker(4, 7, 1), fx.SendStop(1, [FIRST])],
    )
    assert master.job().losses == 0


def test_the_blame_stays_when_another_process_comes() -> None:
    master = busy()
    lost(master, at=30.0)
    master.see(register(origin=4, incarnation="2"), at=31.0)
    assert master.job().losses == 1


# -- leaving ---------------------------------------------------------------------------------------
def test_a_draining_worker_finishes_its_attempts_and_gets_no_new_ones() -> None:
    master = busy(slots=2)
    assert master.see(inputs.WorkerDraining(1), at=2.0) == ([ev.WorkerDrained(1, 2.0)], [])
    assert master.see(inputs.WorkerDraining(1), at=3.0) == ([], [])
    assert master.see(submit(dag({"b": ""}), run="r2")).effects == [fx.ReplySubmitted(9, 5, "r2", 1)]
    assert master.see(succeeded(1, FIRST)).events[-1] == ev.RunFinished("r", RunState.COMPLETED, 3.0)


def test_a_worker_that_left_is_not_awaited() -> None:
    master = Master()
    master.see(register(), at=1.0)
    assert master.see(inputs.WorkerLeaving(1), at=2.0) == ([ev.WorkerLeft(1, 2.0)], [])
    assert master.see(inputs.WorkerDisconnected(1, 1), at=2.0) == ([], [])
    assert master.see(inputs.TimePassed(), at=100.0) == ([], [])
    assert master.state.workers[1].state is WorkerState.LEFT


def test_an_attempt_of_a_worker_that_leaves_is_queued_again_without_a_loss() -> None:
    master = busy()
    assert master.see(inputs.WorkerLeaving(1), at=2.0).events == [
        ev.WorkerLeft(1, 2.0),
        ev.JobsLost(1, [FIRST], [], "worker w1 left", 2.0),
    ]


def test_a_name_that_left_can_come_back() -> None:
    master = Master()
    master.see(register(), inputs.WorkerDraining(1), inputs.WorkerLeaving(1))
    events, _ = master.see(register(origin=2, incarnation="2"), submit(dag({"a": ""})), at=5.0)
    assert events[:2] == [joined(1, "w1", 5.0, incarnation="2"), ev.WorkerConnected(1, 2, 5.0)]
    assert events[-1] == ev.JobsDispatched(1, [FIRST], FIRST, 5.0)


def test_cancelled_attempts_of_a_lost_worker_take_no_slot_of_its_next_process() -> None:
    master = busy()
    master.see(cancel("r"))
    lost(master, at=30.0)
    assert master.state.workers[1].ending == {}
    master.see(register(origin=4, incarnation="2"), submit(dag({"b": ""}), run="r2"), at=31.0)
    assert master.job(1).state is JobState.DISPATCHED


# -- a master that starts anew ---------------------------------------------------------------------
def test_after_a_restart_every_worker_has_until_its_deadline_to_come_back() -> None:
    master = busy()
    master.state = replay(master.events)
    assert master.see(inputs.MasterBooted("ignored", 2), at=100.0) == ([ev.MasterStarted(2, "c", 100.0)], [])
    assert master.state.workers[1].state is WorkerState.SUSPECT
    assert master.see(submit(dag({"b": ""}), run="r2")).effects == [fx.ReplySubmitted(9, 5, "r2", 1)]
    assert lost(master, at=130.0).reason == "worker w1 was silent for 30 s"


def test_after_a_restart_running_attempts_continue_and_finished_ones_are_recorded() -> None:
    master = busy()
    master.state = replay(master.events)
    master.see(inputs.MasterBooted("ignored", 2), at=100.0)
    assert master.see(register(origin=1, held={FIRST: 1.0}), at=101.0).events == [ev.WorkerConnected(1, 1, 101.0)]
    assert master.see(succeeded(1, FIRST), at=102.0).events[-1] == ev.RunFinished("r", RunState.COMPLETED, 102.0)


# -- losses before the start was reported ----------------------------------------------------------
def killed_before_it_said_so(master: Master, times: int, *, incarnation: int = 2) -> None:
    """Restart the worker several times, each time before it has reported the start of its
    attempt."""
    for i in range(times):
        master.see(inputs.WorkerDisconnected(1, incarnation + i - 1))
        master.see(register(origin=incarnation + i, incarnation=str(incarnation + i)))


def test_losses_before_a_start_was_reported_count_half() -> None:
    master = Master()
    master.see(register(), submit(dag({"a": "", "b": "a"})))
    killed_before_it_said_so(master, 3)
    assert (master.job().state, master.job().losses, master.job().doubts) == (JobState.DISPATCHED, 0, 3)
    killed_before_it_said_so(master, 1, incarnation=5)
    assert master.states() == [JobState.DEAD, JobState.CANCELLED]
    assert master.job().reason.startswith("poison: 0 workers were lost while they ran it, 4 when they were about to")


def test_attempts_prefetched_behind_the_next_one_are_not_blamed_for_a_lost_worker() -> None:
    master = Master(Settings(prefetch=3))
    master.see(register(slots=2), submit(alike("a b c d", JobTemplate(command="true"))))
    master.see(started(1, {FIRST: 1.0}))
    lost(master, at=40.0)
    told = [(job.losses, job.doubts) for job in master.state.jobs.values()]
    assert told == [(1, 0), (0, 1), (0, 0), (0, 0)]


def test_a_slot_that_is_still_being_freed_starts_nothing() -> None:
    master = Master(Settings(prefetch=3))
    master.see(register(), submit(alike("a b", JobTemplate(command="true"))))
    master.see(started(1, {FIRST: 1.0}))
    master.see(cancel("r", "a"))
    lost(master, at=40.0)
    assert master.job(1).doubts == 0


def test_the_doubt_is_taken_back_when_the_same_process_returns() -> None:
    master = busy(runs=False)
    lost(master, at=30.0)
    assert master.job().doubts == 1
    master.see(register(origin=4), at=31.0)
    assert master.job().doubts == 0
    assert picture(replay(master.events)) == picture(master.state)


def test_a_heartbeat_tells_of_a_full_disk_and_only_of_that() -> None:
    master = Master()
    registered = register()
    before = master.see(replace(registered, facts={**registered.facts, "disk_free_bytes": 1 << 40}), at=1.0).events
    assert not [e for e in before if isinstance(e, ev.WorkerFactsChanged)], "the facts of the registration are in WorkerJoined"
    told = replace(beat(1, {}), facts={"disk_free_bytes": 5 << 20, "cpus": 10**6, "address": "elsewhere"})
    assert master.see(told, at=2.0).events == [ev.WorkerHeard(1, 2.0), ev.WorkerFactsChanged(1, {"disk_free_bytes": 5 << 20}, 2.0)]
    assert master.see(told, at=3.0).events == [ev.WorkerHeard(1, 3.0)], "said again"
    worker = master.state.workers[1]
    assert "cpus" not in worker.facts and worker.facts.get("address") != "elsewhere"
    shown = views.workers(master.state, msg.ListWorkers(1))
    assert worker_status(shown.workers[0]).disk_full
    assert "the disk of worker w1 is full, with 5.0 MiB free" in shown.notices[-1][1]
    assert picture(replay(master.events)) == picture(master.state)
    again = master.see(replace(registered, facts={**registered.facts, "disk_free_bytes": 1 << 40}), at=4.0).events
    assert ev.WorkerFactsChanged(1, {"disk_free_bytes": 1 << 40}, 4.0) in again, "a registration heals it"
    assert not views.workers(master.state, msg.ListWorkers(1)).notices
