"""Cancellation of runs and jobs, and of running attempts."""

from __future__ import annotations

from support.core import CLIENT, FIRST, Master, alike, beat, cancel, dag, register, results, started, submit, succeeded
from titan.core import effects as fx
from titan.core.events import events as ev
from titan.model.causes import Cause
from titan.model.dag import JobTemplate
from titan.model.states import JobState, Outcome, RunState

USER = "cancelled by a user"


def test_a_run_whose_jobs_wait_is_cancelled() -> None:
    master = Master()
    master.see(submit(dag({"a": "", "b": "a"})))
    assert master.see(cancel("r"), at=3.0) == (
        [
            ev.RunCancelled("r", 3.0),
            ev.JobsCancelled([FIRST, FIRST + 1], USER, 3.0, cause=Cause.ASKED),
            ev.RunFinished("r", RunState.CANCELLED, 3.0),
        ],
        [fx.ReplyCancelled(CLIENT, 6, 2)],
    )


def test_cancelling_a_job_cancels_its_descendants_and_no_other_job() -> None:
    master = Master()
    master.see(submit(dag({"a": "", "b": "a", "c": "b", "d": "a c", "other": "", "e": "other"})))
    assert master.see(cancel("r", "b"), at=3.0) == (
        [
            ev.JobsCancelled([FIRST + 1], USER, 3.0, cause=Cause.ASKED),
            ev.JobsCancelled([FIRST + 2, FIRST + 3], "its ancestor b was cancelled by a user", 3.0, cause=Cause.ANCESTOR),
        ],
        [fx.ReplyCancelled(CLIENT, 6, 3)],
    )


def test_a_cancelled_attempt_keeps_its_slot_until_its_worker_reports_the_end() -> None:
    master = Master()
    master.see(register(), submit(alike("a b", JobTemplate(command="true"))))
    assert master.see(cancel("r", "a"), at=3.0) == (
        [ev.JobsCancelled([FIRST], USER, 3.0, cause=Cause.ASKED)],
        [fx.SendStop(1, [FIRST]), fx.ReplyCancelled(CLIENT, 6, 1)],
    )
    assert list(master.state.workers[1].ending) == [FIRST]
    assert master.see(beat(1, {FIRST: 1.0}), at=4.0) == ([ev.WorkerHeard(1, 4.0)], [fx.SendStop(1, [FIRST])])
    assert master.see(results(1, (FIRST, Outcome.STOPPED)), at=5.0) == (
        [ev.LeasesEnded(1, [FIRST], 5.0), ev.JobsDispatched(1, [FIRST + 1], FIRST + 1, 5.0)],
        [fx.SendAck(1, [FIRST]), fx.SendDispatch(1, [FIRST + 1], FIRST + 1)],
    )


def test_a_request_for_unstarted_jobs_leaves_a_job_that_runs() -> None:
    master = Master()
    master.see(register(), submit(dag({"a": "", "b": "a"})))
    master.see(started(1, {FIRST: 2.0}))
    assert master.see(cancel("r", "a", unstarted=True)) == ([], [fx.ReplyCancelled(CLIENT, 6, 0)])
    _, effects = master.see(cancel("r", "b", unstarted=True))
    assert effects == [fx.ReplyCancelled(CLIENT, 6, 1)]
    assert master.states() == [JobState.RUNNING, JobState.CANCELLED]


def test_a_result_that_crosses_the_order_to_stop_does_not_count() -> None:
    master = Master()
    master.see(register(), submit(dag({"a": "", "b": "a"})))
    master.see(cancel("r", "a"))
    assert master.see(succeeded(1, FIRST), at=5.0) == ([ev.LeasesEnded(1, [FIRST], 5.0)], [fx.SendAck(1, [FIRST])])
    assert master.states() == [JobState.CANCELLED, JobState.CANCELLED]


def test_a_heartbeat_without_the_cancelled_attempt_frees_its_slot() -> None:
    master = Master()
    master.see(register(), submit(alike("a b", JobTemplate(command="true"))))
    master.see(cancel("r", "a"))
    events, _ = master.see(beat(1, {}), at=4.0)
    assert events == [
        ev.WorkerHeard(1, 4.0),
        ev.LeasesEnded(1, [FIRST], 4.0),
        ev.JobsDispatched(1, [FIRST + 1], FIRST + 1, 4.0),
    ]


def test_cancelling_a_finished_run_cancels_nothing() -> None:
    master = Master()
    master.see(register(), submit(dag({"a": "", "b": "a"})))
    master.see(succeeded(1, FIRST))
    assert master.see(cancel("r", "a")) == ([], [fx.ReplyCancelled(CLIENT, 6, 0)])
    master.see(succeeded(1, FIRST + 1))
    assert master.see(cancel("r")) == ([], [fx.ReplyCancelled(CLIENT, 6, 0)])
    assert master.state.runs["r"].state is RunState.COMPLETED


def test_cancelling_an_unknown_run_or_job_is_refused() -> None:
    master = Master()
    assert master.see(cancel("x")).effects == [fx.Refuse(CLIENT, 6, "not_found", "there is no run 'x': `titan runs` lists them")]
    master.see(submit(dag({"a": ""})))
    assert master.see(cancel("r", "x")).effects == [fx.Refuse(CLIENT, 6, "not_found", "run r has no job 'x'")]


def test_a_run_with_one_cancelled_job_is_failed_and_not_cancelled() -> None:
    master = Master()
    master.see(register(), submit(dag({"a": "", "b": ""})))
    master.see(cancel("r", "b"))
    assert master.see(succeeded(1, FIRST), at=3.0).events[-1] == ev.RunFinished("r", RunState.FAILED, 3.0)


def test_a_cancelled_run_keeps_its_completed_jobs_and_is_cancelled() -> None:
    master = Master()
    master.see(register(), submit(dag({"a": "", "b": "a"})))
    master.see(succeeded(1, FIRST))
    master.see(cancel("r"), at=3.0)
    assert master.states() == [JobState.COMPLETED, JobState.CANCELLED]
    assert master.state.runs["r"].state is RunState.CANCELLED
