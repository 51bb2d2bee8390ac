"""Submission of a DAG in one message."""

from __future__ import annotations

import pytest

from support.core import CLIENT, FIRST, Master, alike, dag, register, submit
from titan.core import effects as fx
from titan.core import inputs
from titan.core.events import events as ev
from titan.errors import Bug
from titan.model.dag import JobTemplate
from titan.model.states import JobState


def test_jobs_without_parents_are_queued_and_the_others_wait() -> None:
    master = Master()
    spec = dag({"sink": "a b", "a": "", "b": ""})
    assert master.see(submit(spec, key="k"), at=5.0) == (
        [
            ev.RunSubmitted(
                run="r",
                key="k",
                name="d",
                version="1",
                templates=spec.templates,
                ids=["sink", "a", "b"],
                template_of=[0, 0, 0],
                args=[(), (), ()],
                parents=[(1, 2), (), ()],
                first_job=FIRST,
                at=5.0,
            ),
            ev.JobsQueued([FIRST + 1, FIRST + 2], 5.0),
        ],
        [fx.ReplySubmitted(CLIENT, 5, "r", 3)],
    )
    assert master.states() == [JobState.WAITING, JobState.QUEUED, JobState.QUEUED]


def test_a_worker_with_free_slots_gets_the_submitted_jobs_in_the_same_turn() -> None:
    master = Master()
    master.see(register(slots=2))
    events, effects = master.see(submit(alike("a b c", JobTemplate(command="true"))), at=5.0)
    assert events[1:] == [
        ev.JobsQueued([FIRST, FIRST + 1, FIRST + 2], 5.0),
        ev.JobsDispatched(1, [FIRST, FIRST + 1], FIRST, 5.0),
    ]
    assert effects == [fx.ReplySubmitted(CLIENT, 5, "r", 3), fx.SendDispatch(1, [FIRST, FIRST + 1], FIRST)]


def test_the_same_submission_sent_twice_is_one_run() -> None:
    master = Master()
    master.see(submit(dag({"a": "", "b": ""}), run="r1", key="k"))
    assert master.see(submit(dag({"a": "", "b": ""}), run="r2", key="k")) == ([], [fx.ReplySubmitted(CLIENT, 5, "r1", 2)])
    assert list(master.state.runs) == ["r1"]


def test_without_a_key_each_submission_is_a_run() -> None:
    master = Master()
    master.see(submit(dag({"a": ""}), run="r1"), submit(dag({"a": ""}), run="r2"))
    assert [(run.first, run.count) for run in master.state.runs.values()] == [(FIRST, 1), (FIRST + 1, 1)]


def test_a_bad_graph_is_refused_whole_and_says_which_job() -> None:
    master = Master()
    assert master.see(submit(dag({"a": "", "b": "x"}), key="k")) == (
        [],
        [fx.Refuse(CLIENT, 5, "invalid_graph", "job 'b' depends on 'x', which is no job of this DAG", "b")],
    )
    assert master.state.jobs == {} and master.state.keys == {}


def test_a_run_id_that_comes_twice_is_a_bug() -> None:
    master = Master()
    master.see(submit(dag({"a": ""})))
    with pytest.raises(Bug, match="run id r was drawn twice"):
        master.see(submit(dag({"a": ""})))


def test_numbers_of_a_new_term_are_new() -> None:
    master = Master()
    master.see(submit(dag({"a": ""}), run="r1"))
    assert master.see(inputs.MasterBooted("other", 2), at=3.0) == ([ev.MasterStarted(2, "c", 3.0)], [])
    master.see(submit(dag({"a": ""}), run="r2"))
    assert list(master.state.jobs) == [1 << 32, 2 << 32]


def test_higher_priority_first_then_the_older() -> None:
    master = Master()
    urgent = JobTemplate(command="true", priority=5)
    master.see(submit(dag(dict.fromkeys("abcd", ""), {"b": urgent, "d": urgent})))
    _, effects = master.see(register(slots=3))
    assert effects[-1] == fx.SendDispatch(1, [FIRST + 1, FIRST + 3, FIRST], FIRST)
