"""Submission of a DAG in parts. The run is not visible until the last part has arrived. It is
dropped if its submitter or the master ends before."""

from __future__ import annotations

import pytest

from support.core import CLIENT, FIRST, Master, booted, cancel, register
from titan.core import effects as fx
from titan.core import inputs
from titan.core.apply.apply import apply
from titan.core.events import events as ev
from titan.core.state.state import State
from titan.model.dag import JobTemplate
from titan.model.settings import Settings
from titan.model.states import JobState, RunState

TRUE = JobTemplate(command="true")


def begun(run: str = "r", *, key: str = "k", count: int = 3) -> inputs.RunBegun:
    return inputs.RunBegun(CLIENT, 5, run, key, "d", "1", [TRUE], count)


def part(position: int, ids: str, parents: list[tuple[int, ...]] | None = None, *, run: str = "r") -> inputs.JobsArrived:
    names = ids.split()
    return inputs.JobsArrived(CLIENT, 5, run, position, names, [0] * len(names), [()] * len(names), parents or [()] * len(names))


def test_no_job_runs_before_the_last_part_of_a_submission_has_arrived() -> None:
    master = Master()
    master.see(register(slots=9))
    assert master.see(begun(), part(0, "a b")).effects == []
    assert master.states() == [JobState.WAITING, JobState.WAITING]
    decision = master.see(part(2, "c", [(0, 1)]), at=4.0)
    assert decision.effects == [fx.ReplySubmitted(CLIENT, 5, "r", 3), fx.SendDispatch(1, [FIRST, FIRST + 1], FIRST)]
    assert master.state.runs["r"].submitted_at == 4.0
    assert master.job(2).parents == (FIRST, FIRST + 1)


def test_a_part_that_comes_twice_counts_once() -> None:
    master = Master()
    master.see(begun(), part(0, "a b"), part(0, "a b"), part(2, "c"))
    assert [job.name for job in master.state.jobs.values()] == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (part(3, "c"), "a part begins at job 3, but 2 jobs have arrived: send parts in order"),
        (part(2, "c d"), "a part of 2 jobs after 2, but the DAG was announced with 3 jobs"),
        (part(2, "a"), "job id 'a' is used twice"),
        (part(2, "/c"), "malformed"),
        (part(2, "c", [(2,)]), "parents must be distinct positions before the job's own"),
        (part(2, "c", [(0, 0)]), "parents must be distinct positions before the job's own"),
        (part(2, "c", [(-1,)]), "parents must be distinct positions before the job's own"),
    ],
)
def test_a_bad_part_ends_the_whole_submission(bad: inputs.JobsArrived, says: str) -> None:
    master = Master()
    master.see(begun(), part(0, "a b"))
    (refusal,) = master.see(bad).effects
    assert isinstance(refusal, fx.Refuse) and says in refusal.message
    assert not master.state.runs and not master.state.jobs and not master.state.keys
    assert master.see(part(2, "c")) == ([], [])


@pytest.mark.parametrize(("count", "says"), [(0, "has no jobs"), (1_000_001, "the limit is 1,000,000")])
def test_a_submission_with_a_bad_first_message_is_refused(count: int, says: str) -> None:
    (refusal,) = Master().see(begun(count=count)).effects
    assert isinstance(refusal, fx.Refuse) and says in refusal.message


def test_a_partial_submission_is_dropped_when_its_submitter_disconnects() -> None:
    master = Master()
    master.see(begun(), part(0, "a b"))
    assert master.see(inputs.SubmitterGone("r")).events == [ev.RunDropped("r")]
    assert not master.state.runs and not master.state.jobs
    assert master.see(inputs.SubmitterGone("r")) == ([], [])


def test_a_restart_drops_a_partial_submission_and_does_not_reuse_its_numbers() -> None:
    master = Master()
    master.see(begun(), part(0, "a b"))
    state = State(master.state.settings)
    for event in master.events:
        apply(state, event)
    state.reindex()
    master.state = state
    assert ev.RunDropped("r") in master.see(booted(master.state)).events
    master.see(begun("s"), part(0, "a b c", run="s"))
    assert list(state.runs) == ["s"] and min(state.jobs) >= 2 << 32


def test_a_submission_begun_again_under_its_key_replaces_the_first() -> None:
    master = Master()
    master.see(begun(), part(0, "a b"))
    master.see(begun("s"), part(0, "a b c", run="s"))
    assert list(master.state.runs) == ["s"]
    assert master.see(begun("t")) == ([], [fx.ReplySubmitted(CLIENT, 5, "s", 3)])


def test_a_partial_submission_cannot_be_cancelled() -> None:
    master = Master()
    master.see(begun(), part(0, "a b"))
    (refusal,) = master.see(cancel("r")).effects
    assert isinstance(refusal, fx.Refuse) and "there is no run" in refusal.message


def test_a_large_run_is_made_ready_in_slices_and_does_not_delay_other_runs() -> None:
    master = Master(Settings(prefetch=0, release_slice=2))
    master.see(begun(count=5), part(0, "a b c d e", [(), (), (), (2,), ()]))
    assert [s is JobState.QUEUED for s in master.states()] == [True, True, False, False, False]
    master.see(begun("s", key="", count=1), part(0, "x", run="s"), inputs.TimePassed())
    assert [s is JobState.QUEUED for s in master.states()] == [True, True, True, False, False, True]
    master.see(inputs.TimePassed())
    assert not master.state.releasing and master.job(4).state is JobState.QUEUED and master.job(3).state is JobState.WAITING


def test_a_run_cancelled_between_two_slices_is_cancelled_whole() -> None:
    master = Master(Settings(prefetch=0, release_slice=2))
    master.see(begun(), part(0, "a b c"))
    master.see(cancel("r"))
    assert set(master.states()) == {JobState.CANCELLED} and master.state.runs["r"].state is RunState.CANCELLED
    assert not master.state.releasing


def test_after_a_restart_the_remaining_slices_are_made_ready() -> None:
    master = Master(Settings(prefetch=0, release_slice=2))
    master.see(begun(), part(0, "a b c"))
    state = State(master.state.settings)
    for event in master.events:
        if not isinstance(event, ev.VOLATILE):
            apply(state, event)
    state.reindex()
    assert state.releasing == {"r": 2}
