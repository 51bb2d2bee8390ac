"""Jobs that start when all their parents have ended, whatever the ends."""

from __future__ import annotations

import msgspec
import pytest

from support.core import FIRST, FRAGILE, Master, cancel, dag, fragile_run, register, submit
from titan.core import inputs
from titan.core.effects import SendDispatch
from titan.core.state.story import story
from titan.errors import InvalidGraph
from titan.gateway.outbound import dispatches
from titan.model.dag import Gate, JobTemplate
from titan.model.graph import resolve
from titan.model.states import JobState, Outcome, RunState

LAST = JobTemplate(command="clean", retries=0, when="always")
WAITING, DISPATCHED, COMPLETED = JobState.WAITING, JobState.DISPATCHED, JobState.COMPLETED
DEAD, CANCELLED, PAUSED = JobState.DEAD, JobState.CANCELLED, JobState.PAUSED


def test_an_always_job_starts_when_all_parents_have_ended_and_not_before() -> None:
    master = fragile_run({"a": "", "b": "a", "c": "", "last": "a b c", "after": "last"}, {"last": LAST})
    master.end("a", outcome=Outcome.EXITED)
    assert master.states() == [DEAD, CANCELLED, DISPATCHED, WAITING, WAITING]
    assert [reason.text for reason in master.explained(3).reasons] == ["waits for the end of 1 of 3 parents: c (DISPATCHED)"]
    assert "depends on a, b, c, whether they succeed or not" in story(master.state, FIRST + 3)[1]
    master.end("c")
    assert master.job(3).state is DISPATCHED
    master.end("last", "after")
    assert master.states() == [DEAD, CANCELLED, COMPLETED, COMPLETED, COMPLETED]
    assert master.run_state() is RunState.FAILED


def test_an_always_job_also_runs_after_success_and_its_failure_fails_the_run() -> None:
    master = fragile_run({"a": "", "last": "a"}, {"last": LAST})
    master.end("a")
    master.end("last", outcome=Outcome.EXITED)
    assert master.states() == [COMPLETED, DEAD] and master.run_state() is RunState.FAILED


def test_an_always_job_gets_the_name_of_the_parent_that_died_first() -> None:
    master = fragile_run({"a": "", "b": "", "last": "a b"}, {"last": LAST})
    master.end("b", outcome=Outcome.EXITED)
    master.end("a", outcome=Outcome.EXITED)
    batch = dispatches(master.state, SendDispatch(1, [FIRST + 2], master.lease(2)))[0]
    assert batch.message.templates[0].env == (("TITAN_FAILED_JOB", "b"),)


def test_an_always_job_gets_an_empty_name_if_no_parent_died() -> None:
    master = fragile_run({"a": "", "last": "a"}, {"last": LAST})
    master.end("a")
    batch = dispatches(master.state, SendDispatch(1, [FIRST + 1], master.lease(1)))[0]
    assert batch.message.templates[0].env == (("TITAN_FAILED_JOB", ""),)


def test_a_cancelled_parent_starts_an_always_job_and_a_cancelled_run_cancels_it() -> None:
    master = fragile_run({"a": "", "last": "a", "most": "last"}, {"last": LAST, "most": LAST})
    master.see(cancel("r", "a"))
    assert master.states() == [CANCELLED, DISPATCHED, WAITING]
    master.see(cancel("r"))
    assert master.states() == [CANCELLED, CANCELLED, CANCELLED]
    assert master.run_state() is RunState.CANCELLED


def test_the_deadline_of_the_run_cancels_an_always_job() -> None:
    master = Master()
    spec = dag({"a": "", "last": "a"}, {"a": FRAGILE, "last": LAST})
    master.see(register(slots=8), submit(msgspec.structs.replace(spec, deadline_s=5.0)))
    master.see(inputs.TimePassed(), at=6.0)
    assert master.states() == [CANCELLED, CANCELLED] and master.run_state() is RunState.FAILED


def test_an_always_gate_opens_after_a_failure_and_its_rejection_starts_an_always_job() -> None:
    ask = JobTemplate(kind="gate", gate=Gate("clean up?"), retries=0, when="always")
    master = fragile_run({"a": "", "ask": "a", "last": "ask"}, {"ask": ask, "last": LAST})
    master.end("a", outcome=Outcome.EXITED)
    assert master.states() == [DEAD, PAUSED, WAITING]
    master.see(inputs.GateDecisionMade(9, 1, "r", "ask", False, "ann", "", "k"))
    assert master.states() == [DEAD, CANCELLED, DISPATCHED]


def test_a_retry_of_the_parent_makes_an_always_job_wait_again_unless_it_has_run() -> None:
    master = fragile_run({"a": "", "b": "", "last": "a b", "quick": "a"}, {"last": LAST, "quick": LAST})
    master.end("a", outcome=Outcome.EXITED)
    master.end("quick")
    master.see(inputs.DeadRetried(9, 1, "r", "a", "ann", "k"))
    master.end("b")
    assert master.states() == [DISPATCHED, COMPLETED, WAITING, COMPLETED]
    master.end("a")
    assert master.job(2).state is DISPATCHED


def test_an_always_job_waits_for_every_job_of_an_addition() -> None:
    """The last job of the addition is cancelled at once, while another one still runs."""
    master = fragile_run({"a": "", "last": "a"}, {"last": LAST})
    added = dag({"x": "", "y": "", "z": "x y"}, dict.fromkeys("xyz", JobTemplate(command="y", retries=0)))
    master.see(inputs.RunGrowthRequested(9, 1, 0, 0, "r", "k", added, before=("last",)))
    master.end("a")
    master.end("x", outcome=Outcome.EXITED)
    assert master.states() == [COMPLETED, WAITING, DEAD, DISPATCHED, CANCELLED]
    master.end("y")
    assert master.job(1).state is DISPATCHED


@pytest.mark.parametrize(
    ("template", "problem"),
    [
        (
            JobTemplate(function="f" * 64, when="always"),
            "always: a call cannot wait for the end of its parents, because it needs their values",
        ),
        (
            JobTemplate(command="x", kind="handler", when="always"),
            "always: a failure handler cannot have it, because it runs only if a job is DEAD",
        ),
        (JobTemplate(command="x", when="x" * 100), f"when {'x' * 80!r} is unknown: this master may be older than its client"),
        (
            JobTemplate(command="x", when="always", inputs=(("in", "a", "out"),)),
            "the job runs even if 'a' fails, so 'in' may be missing: write {from: a.out, optional: true}",
        ),
    ],
)
def test_fields_that_an_always_job_cannot_have_are_refused(template: JobTemplate, problem: str) -> None:
    with pytest.raises(InvalidGraph) as caught:
        resolve(dag({"a": "", "b": "a"}, {"a": JobTemplate(command="x", outputs=(("out", "o"),)), "b": template}))
    assert problem in str(caught.value) and "\n" not in str(caught.value)
