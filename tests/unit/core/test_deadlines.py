"""Deadlines of runs, and jobs with a start time."""

from __future__ import annotations

import msgspec
import pytest

from support.core import CLIENT, FIRST, PATIENT, Master, alike, booted, dag, register, replay, started, submit, succeeded
from titan.core import effects as fx
from titan.core import inputs
from titan.core.events import events as ev
from titan.core.state.story import story
from titan.core.step import next_due
from titan.errors import InvalidGraph
from titan.model.causes import Cause
from titan.model.dag import DagSpec, JobTemplate
from titan.model.graph import resolve
from titan.model.states import JobState, RunState

WHY = "the deadline of its run passed, 60 s after it was submitted"


def within(spec: DagSpec, seconds: float = 60.0) -> DagSpec:
    return msgspec.structs.replace(spec, deadline_s=seconds)


def test_the_deadline_cancels_unfinished_jobs_and_the_run_is_failed() -> None:
    master = Master(PATIENT)
    master.see(register(), submit(within(dag({"a": "", "b": "a", "c": "b"}))), at=100.0)
    master.see(succeeded(1, FIRST), at=110.0)
    master.see(started(1, {FIRST + 1: 110.5}), at=111.0)
    assert master.see(inputs.TimePassed(), at=159.9) == ([], [])
    assert master.see(inputs.TimePassed(), at=160.0) == (
        [
            ev.RunExpired("r", 160.0),
            ev.JobsCancelled([FIRST + 1, FIRST + 2], WHY, 160.0, cause=Cause.DEADLINE),
            ev.RunFinished("r", RunState.FAILED, 160.0),
        ],
        [fx.SendStop(1, [FIRST + 1])],
    )
    told = story(master.state, FIRST + 1)
    assert told[1] == "100.000  the deadline of its run is 1970-01-01T00:02:40Z"
    assert told[-1] == f"160.000  CANCELLED: {WHY}"


def test_a_deadline_changes_nothing_for_a_run_that_finished_in_time() -> None:
    master = Master(PATIENT)
    master.see(register(), submit(within(dag({"a": ""}))), at=100.0)
    master.see(succeeded(1, FIRST), at=110.0)
    assert master.see(inputs.TimePassed(), at=160.0).events == []
    assert master.state.runs["r"].state is RunState.COMPLETED


def test_a_result_that_comes_with_the_deadline_counts() -> None:
    master = Master(PATIENT)
    master.see(register(), submit(within(dag({"a": ""}))), at=100.0)
    master.see(succeeded(1, FIRST), inputs.TimePassed(), at=160.0)
    assert master.state.runs["r"].state is RunState.COMPLETED


def test_a_deadline_that_passed_while_the_master_was_away() -> None:
    master = Master(PATIENT)
    master.see(submit(within(dag({"a": ""}))), at=100.0)
    master.state = replay(master.events)
    assert next_due(master.state) == 160.0
    master.see(booted(master.state), inputs.TimePassed(), at=500.0)
    assert master.job().reason == WHY and master.state.runs["r"].expired


def test_a_job_whose_time_comes_with_the_deadline_is_cancelled() -> None:
    master = Master(PATIENT)
    master.see(submit(within(alike("a", JobTemplate(command="x", delay_s=60.0)))), at=100.0)
    master.see(inputs.TimePassed(), at=161.0)
    assert master.states() == [JobState.CANCELLED]


def test_the_deadline_of_a_run_in_parts_counts_from_the_last_part() -> None:
    master = Master(PATIENT)
    template = JobTemplate(command="x")
    master.see(inputs.RunBegun(CLIENT, 5, "r", "k", "d", "", [template], 1, 60.0), at=100.0)
    master.see(inputs.JobsArrived(CLIENT, 5, "r", 0, ["a"], [0], [()], [()]), at=130.0)
    assert next_due(master.state) == 190.0


@pytest.mark.parametrize("seconds", [-1.0, float("nan"), 1e12])
def test_an_invalid_deadline_is_refused(seconds: float) -> None:
    with pytest.raises(InvalidGraph, match="deadline must be 0 to"):
        resolve(within(dag({"a": ""}), seconds))


# -- run_at ----------------------------------------------------------------------------------------
def test_a_job_does_not_run_before_its_time() -> None:
    master = Master(PATIENT)
    at = JobTemplate(command="x", run_at=50.0)
    master.see(register(slots=2), submit(dag({"a": "", "b": "a"}, {"b": at})), at=10.0)
    assert master.see(succeeded(1, FIRST), at=20.0).events[1] == ev.JobsDelayed([FIRST + 1], [50.0], 20.0)
    assert master.see(inputs.TimePassed(), at=49.999).events == []
    assert isinstance(master.see(inputs.TimePassed(), at=50.0).events[0], ev.JobsQueued)


def test_a_start_time_in_the_past_means_now_and_a_delay_still_counts() -> None:
    master = Master(PATIENT)
    master.see(submit(alike("a", JobTemplate(command="x", run_at=5.0))), at=10.0)
    assert master.states() == [JobState.QUEUED]
    master.see(submit(alike("b", JobTemplate(command="x", run_at=12.0, delay_s=30.0)), run="s"), at=10.0)
    assert next_due(master.state) == 40.0


@pytest.mark.parametrize("at", [-1.0, float("nan"), 1e15])
def test_an_invalid_start_time_is_refused(at: float) -> None:
    with pytest.raises(InvalidGraph, match="run_at must be a time between the years"):
        resolve(alike("a", JobTemplate(command="x", run_at=at)))
