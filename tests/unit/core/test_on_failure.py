"""Effect of a DEAD job on other jobs: they are cancelled, they continue without the job, or a
failure handler runs."""

from __future__ import annotations

from support.core import FIRST, cancel, dag, fragile_run, register, succeeded
from titan.core import inputs
from titan.core.events import events as ev
from titan.core.state.story import story
from titan.errors import InvalidGraph
from titan.model.causes import Cause
from titan.model.dag import JobTemplate
from titan.model.graph import resolve
from titan.model.states import JobState, Outcome, RunState

OPTIONAL = JobTemplate(command="x", retries=0, on_failure="continue")
HANDLER = JobTemplate(command="h", kind="handler", retries=0)
WAITING, DISPATCHED, COMPLETED = JobState.WAITING, JobState.DISPATCHED, JobState.COMPLETED
DEAD, CANCELLED = JobState.DEAD, JobState.CANCELLED


def test_children_go_on_without_an_optional_parent_and_the_run_failed() -> None:
    master = fragile_run({"a": "", "b": "", "c": "a b", "d": "c"}, {"a": OPTIONAL})
    master.end("b")
    master.end("a", outcome=Outcome.EXITED)
    assert master.states() == [DEAD, COMPLETED, DISPATCHED, WAITING]
    master.end("c")
    master.end("d")
    assert master.run_state() is RunState.FAILED


def test_an_optional_job_that_dies_leaves_its_children_waiting_for_their_other_parents() -> None:
    master = fragile_run({"a": "", "b": "", "c": "a b"}, {"a": OPTIONAL})
    master.end("a", outcome=Outcome.EXITED)
    assert master.states() == [DEAD, DISPATCHED, WAITING]
    master.end("b", outcome=Outcome.EXITED)
    assert master.states() == [DEAD, DEAD, CANCELLED]


def test_the_child_of_a_cancelled_optional_job_is_cancelled() -> None:
    master = fragile_run({"a": "", "b": "a"}, {"a": OPTIONAL})
    master.see(cancel("r", "a"))
    assert master.states() == [CANCELLED, CANCELLED]


def test_a_handler_runs_when_its_job_is_dead() -> None:
    master = fragile_run({"a": "", "b": "a", "alarm": "a", "after": "alarm"}, {"alarm": HANDLER})
    master.end("a", outcome=Outcome.EXITED)
    assert master.states() == [DEAD, CANCELLED, DISPATCHED, WAITING]
    master.end("alarm")
    master.end("after")
    assert master.states() == [DEAD, CANCELLED, COMPLETED, COMPLETED]
    assert master.run_state() is RunState.FAILED


def test_a_handler_that_is_not_needed_makes_no_run_fail() -> None:
    master = fragile_run({"a": "", "alarm": "a", "after": "alarm", "last": "after"}, {"alarm": HANDLER})
    events = master.end("a")
    assert events[1:] == [
        ev.JobsCancelled([FIRST + 1], "not needed", 1.0, cause=Cause.NOT_NEEDED),
        ev.JobsCancelled([FIRST + 2, FIRST + 3], "its ancestor alarm was not needed", 1.0, cause=Cause.ANCESTOR_NOT_NEEDED),
        ev.RunFinished("r", RunState.COMPLETED, 1.0),
    ]
    assert "1.000  CANCELLED: not needed" in story(master.state, FIRST + 1)


def test_jobs_may_share_a_handler_which_runs_once() -> None:
    master = fragile_run({"a": "", "b": "", "c": "", "alarm": "a b c"}, {"alarm": HANDLER})
    master.end("a")
    master.end("b", outcome=Outcome.EXITED)
    assert master.job(3).state is DISPATCHED
    master.end("alarm")
    master.end("c", outcome=Outcome.EXITED)
    assert master.job(3).state is COMPLETED and master.job(3).attempt == 1


def test_the_handler_of_a_cancelled_job_is_not_needed() -> None:
    master = fragile_run({"a": "", "b": "a", "alarm": "b"}, {"alarm": HANDLER})
    master.end("a", outcome=Outcome.EXITED)
    assert master.states() == [DEAD, CANCELLED, CANCELLED]
    assert master.job(2).reason == "not needed"
    assert master.run_state() is RunState.FAILED


def test_a_handler_of_a_handler() -> None:
    kinds = {"first": HANDLER, "second": HANDLER, "third": HANDLER}
    master = fragile_run({"a": "", "first": "a", "second": "first", "third": "second"}, kinds)
    master.end("a", outcome=Outcome.EXITED)
    master.end("first", outcome=Outcome.EXITED)
    assert master.states() == [DEAD, DEAD, DISPATCHED, WAITING]
    master.end("second")
    assert master.states() == [DEAD, DEAD, COMPLETED, CANCELLED]


def test_a_long_chain_of_handlers_is_dismissed() -> None:
    names = [f"h{i}" for i in range(3000)]
    parents = {"a": "", "h0": "a", **{names[i]: names[i - 1] for i in range(1, len(names))}}
    master = fragile_run(parents, dict.fromkeys(names, HANDLER))
    master.end("a")
    assert set(master.states()[1:]) == {CANCELLED} and master.run_state() is RunState.COMPLETED


def test_a_user_who_cancels_a_handler_fails_the_run() -> None:
    master = fragile_run({"a": "", "alarm": "a"}, {"alarm": HANDLER})
    master.see(cancel("r", "alarm"))
    master.end("a")
    assert master.run_state() is RunState.FAILED


def test_a_poisonous_job_has_its_handler_run() -> None:
    master = fragile_run({"a": "", "alarm": "a"}, {"alarm": HANDLER}, slots=1)
    for round_ in (1, 2):
        master.see(inputs.AttemptsStarted(1, [master.lease()], [1.0]))
        master.see(inputs.WorkerDisconnected(1, round_))
        master.see(register(origin=round_ + 1, incarnation=str(round_ + 1)))
    assert master.states() == [DEAD, DISPATCHED]


def test_an_unnamed_handler_and_unknown_values_are_refused() -> None:
    wrong = [
        (HANDLER, "is a handler that no job names"),
        (
            JobTemplate(command="x", on_failure="ignore"),
            "on_failure 'ignore' is unknown: use cancel, continue, or the name of a failure handler",
        ),
        (JobTemplate(command="x", kind="gate"), "a job of type gate needs the fields of a gate, and only such a job may have them"),
        (JobTemplate(command="x", kind="what"), "type 'what' is unknown"),
    ]
    for template, why in wrong:
        try:
            resolve(dag({"a": ""}, {"a": template}))
        except InvalidGraph as error:
            assert why in str(error)
        else:
            raise AssertionError(why)


def test_success_needs_no_handlers_reading() -> None:
    master = fragile_run({"a": "", "b": "a"}, {})
    master.see(succeeded(1, FIRST))
    master.see(succeeded(1, FIRST + 1))
    assert master.run_state() is RunState.COMPLETED
