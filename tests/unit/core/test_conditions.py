"""Jobs with conditions: which run, which are skipped, which die, and what becomes of the others."""

from __future__ import annotations

import msgspec
import pytest

from support.core import FIRST, FRAGILE, Master, cancel, dag, fragile_run, register, results, submit
from titan.core import inputs
from titan.core.events import events as ev
from titan.core.state import snapshot
from titan.core.state.state import State
from titan.core.state.story import story
from titan.errors import InvalidGraph
from titan.model.causes import Cause
from titan.model.dag import Gate, JobTemplate, Service
from titan.model.graph import resolve
from titan.model.states import JobState, Outcome, RunState

WAITING, DISPATCHED, COMPLETED = JobState.WAITING, JobState.DISPATCHED, JobState.COMPLETED
DEAD, CANCELLED, SKIPPED, PAUSED = JobState.DEAD, JobState.CANCELLED, JobState.SKIPPED, JobState.PAUSED
LAST = JobTemplate(command="clean", retries=0, when="always")


def when(condition: str, **more: object) -> JobTemplate:
    """A job with a condition; one that reads a state waits for the end of its parents."""
    template = JobTemplate(command=condition, retries=0, condition=condition, when="ended" if ".state" in condition else "")
    return msgspec.structs.replace(template, **more)


def end_with(master: Master, name: str, result: bytes) -> None:
    job = next(job for job in master.state.jobs.values() if job.name == name)
    report = results(1, (job.lease, Outcome.SUCCEEDED))
    master.see(msgspec.structs.replace(report, values=[b"j" + result]), at=master.now + 1.0)


def test_a_true_condition_lets_the_job_run_and_a_false_one_skips_it_with_its_dependents() -> None:
    good, bad = when("a.result.acc > 0.9"), when("a.result.acc > 0.99")
    parents = {"a": "", "good": "a", "bad": "a", "after": "bad", "last": "after", "both": "good bad"}
    master = fragile_run(parents, {"good": good, "bad": bad, "last": LAST})
    end_with(master, "a", b'{"acc": 0.95}')
    assert master.states() == [COMPLETED, DISPATCHED, SKIPPED, SKIPPED, DISPATCHED, SKIPPED]
    assert master.job(2).reason == "its condition is false: a.result.acc > 0.99 (a.result.acc is 0.95)"
    assert master.job(3).reason == "its ancestor bad was skipped" and master.job(3).cause is Cause.SKIPPED
    master.end("good", "last")
    assert master.run_state() is RunState.COMPLETED
    lines = story(master.state, FIRST + 2)
    assert "runs if a.result.acc > 0.99" in lines[2] and "SKIPPED: its condition is false" in lines[-1]
    assert "over" in [reason.code for reason in master.explained(2).reasons]


def test_a_run_whose_jobs_are_all_skipped_is_completed() -> None:
    never = when("'prod' == 'test'")
    master = fragile_run({"a": "", "b": "a"}, {"a": never})
    assert master.states() == [SKIPPED, SKIPPED] and master.run_state() is RunState.COMPLETED


def test_a_condition_on_a_state_waits_for_the_end_and_runs_after_a_failure() -> None:
    repair, report = when("a.state == FAILED"), when("a.state == COMPLETED")
    master = fragile_run({"a": "", "b": "", "repair": "a b", "report": "a"}, {"repair": repair, "report": report})
    master.end("a", outcome=Outcome.EXITED)
    assert master.states() == [DEAD, DISPATCHED, WAITING, SKIPPED]
    texts = [reason.text for reason in master.explained(2).reasons]
    assert texts == ["waits for the end of 1 of 2 parents: b (DISPATCHED)", "runs then if a.state == FAILED"]
    master.end("b")
    assert master.job(2).state is DISPATCHED


@pytest.mark.parametrize(
    ("outcome", "state", "cause"), [(Outcome.EXITED, CANCELLED, Cause.ANCESTOR), (None, SKIPPED, Cause.SKIPPED)]
)
def test_a_parent_whose_state_is_not_read_must_be_completed(outcome: Outcome | None, state: JobState, cause: Cause) -> None:
    other = FRAGILE if outcome is not None else when("a.result == 2")
    job = when("a.state == COMPLETED")
    master = fragile_run({"a": "", "b": "a", "c": "a b", "d": "c"}, {"b": other, "c": job})
    end_with(master, "a", b"1")
    if outcome is not None:
        master.end("b", outcome=outcome)
    assert (master.job(2).state, master.job(2).cause, master.job(3).state) == (state, cause, state)


def test_an_always_job_with_a_condition_does_not_mind_its_other_parents() -> None:
    last = when("a.state == COMPLETED", when="always")
    master = fragile_run({"a": "", "b": "", "last": "a b"}, {"last": last})
    master.end("b", outcome=Outcome.EXITED)
    master.end("a")
    assert master.job(2).state is DISPATCHED


def test_a_condition_without_a_value_makes_the_job_dead_and_a_retry_evaluates_it_again() -> None:
    master = fragile_run({"a": "", "b": "a", "c": "b"}, {"b": when("a.result.acc > 0.9")})
    end_with(master, "a", b'{"accuracy": 1}')
    assert master.states() == [COMPLETED, DEAD, CANCELLED] and master.run_state() is RunState.FAILED
    why = "its condition cannot be evaluated: a.result has no 'acc': it has accuracy: a.result.acc > 0.9"
    assert master.job(1).reason == why
    events = master.see(inputs.DeadRetried(9, 1, "r", "b", "ann", "k"), at=5.0).events
    assert [type(event) for event in events] == [ev.JobsRevived, ev.JobsDied, ev.JobsCancelled, ev.RunFinished]
    assert master.job(1).reason == why and master.run_state() is RunState.FAILED


def test_a_retry_of_a_dead_parent_revives_the_jobs_that_were_skipped_because_of_it() -> None:
    jobs = {"c": when("a.state == COMPLETED"), "other": when("x.result == 1")}
    master = fragile_run({"a": "", "x": "", "c": "a", "d": "c", "other": "x"}, jobs)
    end_with(master, "x", b"2")
    master.end("a", outcome=Outcome.EXITED)
    assert master.states() == [DEAD, COMPLETED, SKIPPED, SKIPPED, SKIPPED]
    master.see(inputs.DeadRetried(9, 1, "r", "a", "ann", "k"), at=5.0)
    assert master.states() == [DISPATCHED, COMPLETED, WAITING, WAITING, SKIPPED]
    master.end("a", "c", "d")
    assert master.run_state() is RunState.COMPLETED


def test_gates_and_services_may_have_a_condition() -> None:
    ask = JobTemplate(kind="gate", gate=Gate("ship?"), retries=0, condition="a.result == 1")
    serve = JobTemplate(command="s", kind="service", service=Service(), condition="a.result == 2")
    master = fragile_run({"a": "", "ask": "a", "db": "a", "user": "db"}, {"ask": ask, "db": serve})
    end_with(master, "a", b"1")
    assert master.states() == [COMPLETED, PAUSED, SKIPPED, SKIPPED]


def test_a_delay_begins_when_the_condition_is_true() -> None:
    master = fragile_run({"a": "", "b": "a"}, {"b": when("a.result == 1", delay_s=10.0)})
    end_with(master, "a", b"1")
    assert master.job(1).state is JobState.DELAYED and master.job(1).due == 11.0


def test_cancelling_the_run_cancels_what_waits() -> None:
    master = fragile_run({"a": "", "b": "a"}, {"b": when("a.state == CANCELLED")})
    master.see(cancel("r", "a"))
    assert master.states() == [CANCELLED, DISPATCHED]
    master.see(cancel("r"))
    assert master.states() == [CANCELLED, CANCELLED] and master.run_state() is RunState.CANCELLED


def test_a_run_of_an_older_titan_has_no_count_of_skipped_jobs() -> None:
    master = fragile_run({"a": "", "b": "a"}, {})
    del master.state.runs["r"].tally[-1]
    loaded = State(master.state.settings)
    snapshot.load(loaded, snapshot.dump(master.state))
    assert len(loaded.runs["r"].tally) == len(JobState) and loaded.runs["r"].open == 2


def test_ten_thousand_conditions_are_decided_in_one_event() -> None:
    names = [f"n{i}" for i in range(10_000)]
    master = Master()
    job = when("a.result == 1")
    master.see(register(slots=1), submit(dag({"a": "", **dict.fromkeys(names, "a")}, {"a": FRAGILE, **dict.fromkeys(names, job)})))
    end_with(master, "a", b"2")
    assert sum(isinstance(event, ev.JobsSkipped) for event in master.events) == 1
    assert master.run_state() is RunState.COMPLETED


@pytest.mark.parametrize(
    ("template", "problem"),
    [
        (when("b.result == 1"), "job 'last': if: 'b' is not a job that this one depends on"),
        (when("db.result == 1"), "if: 'db' is a service, which has no result: name another job"),
        (when("a.state == DEAD"), "if: waits for the end of its parents, and 'db' is a service: put a job between them"),
        (when("a.result =="), "if: ends too early: a value is missing"),
        (when("a.state == DEAD", when=""), "if: reads the state of a job, but the job does not wait for its end"),
        (when("a.result", kind="handler"), "if: a failure handler cannot have it, because it runs only if a job is DEAD"),
        (when("a.state == DEAD", command="", function="f" * 64), "if: a call cannot wait for the end of its parents"),
        (JobTemplate(command="x", when="ended"), "if: the job has no condition: this master may be older than its client"),
    ],
)
def test_a_condition_that_cannot_work_is_refused(template: JobTemplate, problem: str) -> None:
    serve = JobTemplate(command="s", kind="service", service=Service())
    with pytest.raises(InvalidGraph) as caught:
        resolve(dag({"a": "", "b": "", "db": "", "last": "a db"}, {"db": serve, "last": template}))
    assert problem in str(caught.value) and "\n" not in str(caught.value)
