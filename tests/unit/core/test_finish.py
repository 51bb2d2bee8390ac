"""Start and end of attempts, and what follows from them."""

from __future__ import annotations

import msgspec
import pytest

from support.core import FIRST, Master, alike, completed, dag, failed, register, results, started, submit, succeeded
from titan.core import effects as fx
from titan.core import inputs
from titan.core.events import events as ev
from titan.core.handlers.attempts import backoff_s
from titan.model.causes import Cause
from titan.model.dag import JobTemplate, Retry
from titan.model.settings import Settings
from titan.model.states import JobState, Outcome, RunState

DIAMOND = {"root": "", "left": "root", "right": "root", "sink": "left right"}
ROOT, LEFT, RIGHT, SINK = range(FIRST, FIRST + 4)


def running(parents: dict[str, str], *, slots: int = 2, **template: int) -> Master:
    """Return a master whose worker 1 has the first jobs. Their leases are consecutive from FIRST
    on."""
    master = Master()
    kind = JobTemplate(command="true", retries=template.get("retries", 3))
    master.see(register(slots=slots), submit(dag(parents, dict.fromkeys(parents, kind))))
    return master


def test_a_finished_parent_unlocks_its_children_and_they_leave_at_once() -> None:
    master = running(DIAMOND)
    assert master.see(succeeded(1, FIRST), at=3.0) == (
        [completed(1, [ROOT], 3.0), ev.JobsQueued([LEFT, RIGHT], 3.0), ev.JobsDispatched(1, [LEFT, RIGHT], FIRST + 1, 3.0)],
        [fx.SendAck(1, [FIRST]), fx.SendDispatch(1, [LEFT, RIGHT], FIRST + 1)],
    )


def test_a_join_waits_for_its_last_parent() -> None:
    master = running(DIAMOND)
    master.see(succeeded(1, FIRST))
    assert master.see(succeeded(1, FIRST + 1), at=3.0) == ([completed(1, [LEFT], 3.0)], [fx.SendAck(1, [FIRST + 1])])
    assert master.see(succeeded(1, FIRST + 2), at=4.0) == (
        [completed(1, [RIGHT], 4.0), ev.JobsQueued([SINK], 4.0), ev.JobsDispatched(1, [SINK], FIRST + 3, 4.0)],
        [fx.SendAck(1, [FIRST + 2]), fx.SendDispatch(1, [SINK], FIRST + 3)],
    )


def test_a_join_whose_parents_come_in_one_batch_is_unlocked_once() -> None:
    master = running(DIAMOND)
    master.see(succeeded(1, FIRST))
    events, effects = master.see(succeeded(1, FIRST + 1, FIRST + 2), at=3.0)
    assert events == [completed(1, [LEFT, RIGHT], 3.0), ev.JobsQueued([SINK], 3.0), ev.JobsDispatched(1, [SINK], FIRST + 3, 3.0)]
    assert effects == [fx.SendAck(1, [FIRST + 1, FIRST + 2]), fx.SendDispatch(1, [SINK], FIRST + 3)]


def test_the_last_job_ends_the_run() -> None:
    master = running({"a": ""})
    assert master.see(succeeded(1, FIRST), at=3.0).events == [
        completed(1, [FIRST], 3.0),
        ev.RunFinished("r", RunState.COMPLETED, 3.0),
    ]
    run = master.state.runs["r"]
    assert (run.state, run.finished_at, run.open) == (RunState.COMPLETED, 3.0, 0)


@pytest.mark.parametrize("lease", [FIRST + 77, 0, -1])
def test_a_report_of_an_unknown_lease_is_acknowledged_and_changes_nothing(lease: int) -> None:
    master = running({"a": ""})
    assert master.see(succeeded(1, lease)) == ([], [fx.SendAck(1, [lease])])
    assert master.states() == [JobState.DISPATCHED]


def test_a_report_that_comes_twice_counts_once() -> None:
    master = running({"a": "", "b": "a"})
    assert master.see(succeeded(1, FIRST, FIRST), at=3.0).events[0] == completed(1, [FIRST], 3.0)
    assert master.see(succeeded(1, FIRST), at=4.0) == ([], [fx.SendAck(1, [FIRST])])


def test_a_report_of_another_workers_attempt_is_fenced() -> None:
    master = running({"a": ""})
    master.see(register("w2", origin=2))
    assert master.see(succeeded(2, FIRST)) == ([], [fx.SendAck(2, [FIRST])])


def test_a_report_of_an_old_attempt_is_fenced() -> None:
    master = running({"a": ""})
    master.see(results(1, (FIRST, Outcome.RETURNED)))
    assert master.see(results(1, (FIRST, Outcome.SUCCEEDED))) == ([], [fx.SendAck(1, [FIRST])])
    assert (master.lease(), master.job().attempt) == (FIRST + 1, 2)


def test_of_contradicting_reports_about_an_attempt_in_one_batch_the_first_counts() -> None:
    """The first report counts."""
    master = running({"a": ""})
    events, _ = master.see(results(1, (FIRST, Outcome.SUCCEEDED), (FIRST, Outcome.EXITED)), at=3.0)
    assert events == [completed(1, [FIRST], 3.0), ev.RunFinished("r", RunState.COMPLETED, 3.0)]


def test_a_start_is_recorded_once() -> None:
    master = running({"a": ""})
    assert master.see(started(1, {FIRST: 1.5}), at=2.0) == ([ev.JobsStarted(1, [FIRST], [1.5], 2.0)], [])
    assert master.see(started(1, {FIRST: 1.5}), at=3.0) == ([], [])
    assert (master.job().state, master.job().started_at, master.job().since) == (JobState.RUNNING, 1.5, 1.5)


def test_a_start_reported_twice_in_one_batch_is_recorded_once() -> None:
    master = running({"a": ""})
    said = inputs.AttemptsStarted(1, [FIRST, FIRST], [1.5, 1.75])
    assert master.see(said, at=2.0).events == [ev.JobsStarted(1, [FIRST], [1.5], 2.0)]


@pytest.mark.parametrize(("said", "taken"), [(1e11, 6.0), (7.0, 6.0), (0.5, 4.0), (1e-300, 4.0), (5.0, 5.0)])
def test_a_start_is_between_the_dispatch_and_now(said: float, taken: float) -> None:
    master = Master()
    master.see(register(), submit(alike("a", JobTemplate(command="true"))), at=4.0)
    assert master.see(started(1, {FIRST: said}), at=6.0).events == [ev.JobsStarted(1, [FIRST], [taken], 6.0)]


@pytest.mark.parametrize(
    ("said", "taken"),
    [
        ((1e11, 1e11), (6.0, 6.0)),
        ((0.0, 5.0), (0.0, 5.0)),
        ((1.0, 2.0), (4.0, 4.0)),
        ((5.5, 4.5), (5.5, 5.5)),
        ((4.5, 9.0), (4.5, 6.0)),
        ((0.0, 0.0), (0.0, 0.0)),
        ((4.5, 5.0), (4.5, 5.0)),
    ],
)
def test_an_end_is_between_the_start_and_now(said: tuple[float, float], taken: tuple[float, float]) -> None:
    master = Master()
    master.see(register(), submit(alike("a", JobTemplate(command="true"))), at=4.0)
    report = msgspec.structs.replace(
        succeeded(1, FIRST), started=[said[0]], finished=[said[1]], cpu_s=[-1e18], peak_bytes=[2**63 - 1]
    )
    events = master.see(report, at=6.0).events
    assert events[0] == ev.JobsCompleted(1, [FIRST], [taken[0]], [taken[1]], [0.0], [1 << 50], 6.0)


def test_a_start_of_an_attempt_that_is_not_current_changes_nothing() -> None:
    master = running({"a": ""})
    assert master.see(started(1, {FIRST + 9: 1.0, FIRST: 0.0})) == ([], [])


# -- failure ---------------------------------------------------------------------------------------
def test_a_failure_waits_and_is_queued_again() -> None:
    master = running({"a": ""})
    assert master.see(results(1, (FIRST, Outcome.EXITED), jitter=0.0), at=10.0).effects == [fx.SendAck(1, [FIRST])]
    due = master.job().due
    assert master.events[-1] == failed(1, [FIRST], Outcome.EXITED, [due], 10.0)
    assert 10.25 <= due < 10.5
    assert master.see(inputs.TimePassed(), at=due - 0.001) == ([], [])
    assert master.see(inputs.TimePassed(), at=due) == (
        [ev.JobsQueued([FIRST], due), ev.JobsDispatched(1, [FIRST], FIRST + 1, due)],
        [fx.SendDispatch(1, [FIRST], FIRST + 1)],
    )


def test_the_backoff_doubles_up_to_its_limit_and_jitter_takes_at_most_half() -> None:
    settings = Settings(backoff_base_s=0.5, backoff_max_s=60.0)
    assert [backoff_s(settings, None, n, 0.0) for n in range(9)] == [0.25, 0.5, 1, 2, 4, 8, 16, 30, 30]
    assert [backoff_s(settings, None, n, 1.0) for n in range(9)] == [0.5, 1, 2, 4, 8, 16, 32, 60, 60]
    assert backoff_s(settings, None, 10_000, 0.5) == 45.0


def test_a_job_may_have_a_backoff_of_its_own() -> None:
    settings = Settings(backoff_base_s=0.5, backoff_max_s=60.0)
    assert [backoff_s(settings, Retry(2.0, 6.0), n, 1.0) for n in range(4)] == [2.0, 4.0, 6.0, 6.0]
    assert [backoff_s(settings, Retry(0.0, 1.5), n, 1.0) for n in range(4)] == [0.5, 1.0, 1.5, 1.5]
    # A back-off of the job may exceed the cluster's maximum.
    assert [backoff_s(settings, Retry(100.0), n, 0.0) for n in range(3)] == [50.0, 50.0, 50.0]


def test_an_exit_code_may_be_final() -> None:
    master = Master()
    kind = JobTemplate(command="x", retry=Retry(final_codes=(1, 64)))
    master.see(register(slots=2), submit(alike("a b", kind)))
    master.see(results(1, (FIRST, Outcome.EXITED), (FIRST + 1, Outcome.SIGNALED)), at=3.0)
    assert master.states() == [JobState.DEAD, JobState.FAILED]
    assert master.job().reason == "why (no_retry lists this exit code)"


def test_jobs_that_fail_together_do_not_come_back_together() -> None:
    master = running(dict.fromkeys("abcd", ""), slots=4)
    master.see(results(1, *((FIRST + n, Outcome.EXITED) for n in range(4))), at=10.0)
    assert len({job.due for job in master.state.jobs.values()}) == 4


def test_a_job_without_retries_left_is_dead_and_its_descendants_are_cancelled() -> None:
    master = running({"a": "", "b": "a", "c": "b", "other": ""}, retries=0)
    assert master.see(results(1, (FIRST, Outcome.SIGNALED)), at=3.0).events == [
        failed(1, [FIRST], Outcome.SIGNALED, [0.0], 3.0),
        ev.JobsDied([FIRST], "", 3.0),
        ev.JobsCancelled([FIRST + 1, FIRST + 2], "its ancestor a is DEAD: why", 3.0, cause=Cause.ANCESTOR),
    ]
    assert list(master.state.dead) == [FIRST]
    assert master.see(succeeded(1, FIRST + 1), at=4.0).events[-1] == ev.RunFinished("r", RunState.FAILED, 4.0)


def test_a_job_is_dead_after_its_last_retry_and_not_before() -> None:
    master = running({"a": ""}, retries=2)
    for attempt in (1, 2, 3):
        assert master.job().attempt == attempt
        master.see(results(1, (master.lease(), Outcome.TIMED_OUT)), at=attempt * 100.0)
        master.see(inputs.TimePassed(), register(), at=attempt * 100.0 + 50)
    assert (master.job().state, master.job().failures) == (JobState.DEAD, 3)
    assert [p.attempt for p in master.job().history or ()] == [1, 2, 3]


def test_a_job_that_can_never_start_is_not_retried() -> None:
    master = running({"a": ""})
    assert master.see(results(1, (FIRST, Outcome.REFUSED)), at=3.0).events == [
        failed(1, [FIRST], Outcome.REFUSED, [0.0], 3.0),
        ev.JobsDied([FIRST], "", 3.0),
        ev.RunFinished("r", RunState.FAILED, 3.0),
    ]


def test_an_attempt_that_was_handed_back_costs_nothing_and_goes_out_again_at_once() -> None:
    master = running({"a": ""}, retries=0)
    assert master.see(results(1, (FIRST, Outcome.RETURNED)), at=3.0) == (
        [ev.JobsLost(1, [FIRST], [], "handed back by its worker", 3.0), ev.JobsDispatched(1, [FIRST], FIRST + 1, 3.0)],
        [fx.SendAck(1, [FIRST]), fx.SendDispatch(1, [FIRST], FIRST + 1)],
    )
    assert (master.job().failures, master.job().losses) == (0, 0)


def test_a_batch_of_all_kinds() -> None:
    master = Master()
    template = JobTemplate(command="true", retries=1)
    master.see(register(slots=4), submit(alike("a b c d e", template)))
    report = results(
        1,
        (FIRST, Outcome.SUCCEEDED),
        (FIRST + 1, Outcome.EXITED),
        (FIRST + 2, Outcome.RETURNED),
        (FIRST + 3, Outcome.REFUSED),
        (FIRST + 9, Outcome.SUCCEEDED),
    )
    events, effects = master.see(report, at=3.0)
    assert [type(e).__name__ for e in events] == ["JobsCompleted", "JobsLost", "JobsFailed", "JobsDied", "JobsDispatched"]
    assert effects == [fx.SendAck(1, report.leases), fx.SendDispatch(1, [FIRST + 2, FIRST + 4], FIRST + 4)]


def test_a_failed_job_that_is_cancelled_does_not_come_back() -> None:
    master = running({"a": ""})
    master.see(results(1, (FIRST, Outcome.EXITED)))
    master.see(inputs.CancelRequested(9, 1, "r", "a"))
    assert master.see(inputs.TimePassed(), at=20.0) == ([], [])
