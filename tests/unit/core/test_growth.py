"""Runs that grow while they run, and saved pipelines."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest

from support.core import (
    CLIENT,
    FIRST,
    Master,
    alike,
    cancel,
    dag,
    picture,
    refusal,
    register,
    replay,
    results,
    started,
    submit,
    succeeded,
)
from titan.core import effects as fx
from titan.core import inputs
from titan.core.events import events as ev
from titan.core.handlers import growth
from titan.core.invariants import check
from titan.core.step import Decision, step
from titan.model.dag import DagSpec, JobTemplate
from titan.model.settings import Settings
from titan.model.states import JobState, Outcome, RunState

WORKER = 1
"""Number of the worker, and of its connection."""


def running(parents: dict[str, str], templates: dict[str, JobTemplate] | None = None, settings: Settings | None = None) -> Master:
    """Return a master with a run whose first job is RUNNING."""
    master = Master(settings)
    master.see(register(slots=1), submit(dag(parents, templates)), at=1.0)
    master.see(started(1, {master.lease(): 1.5}), at=2.0)
    return master


def grow(
    master: Master,
    spec: DagSpec,
    *,
    by: int | None = 0,
    before: tuple[str, ...] = (),
    children: bool = False,
    key: str = "k",
    at: float = 3.0,
) -> Decision:
    """Request an addition, by the job at position `by` of the run. If `by` is None, a user requests
    it."""
    lease = master.lease(by) if by is not None else 0
    worker, run = (1, "") if by is not None else (0, "r")
    return master.see(inputs.RunGrowthRequested(WORKER, 8, worker, lease, run, key, spec, before, children), at=at)


def by_name(master: Master) -> dict[str, JobState]:
    return {job.name: job.state for job in master.state.jobs.values()}


def test_a_job_adds_jobs_and_a_join_that_runs_once_after_all() -> None:
    master = running({"plan": "", "end": "plan"})
    spec = dag({"part-1": "", "part-2": "", "join": "part-1 part-2"})
    events, effects = grow(master, spec, children=True)
    assert [type(e) for e in events] == [ev.RunGrown, ev.JobsQueued]
    assert effects == [fx.ReplyGrown(WORKER, 8, "r", 3)]
    run = master.state.runs["r"]
    assert (run.count, [it.position for it in run.grown]) == (5, [2])
    assert by_name(master)["join"] is JobState.WAITING
    master.see(succeeded(1, master.lease(0)), at=4.0)
    assert by_name(master)["end"] is JobState.WAITING  # "end" now waits for "join"
    ran = []
    while run.state is RunState.RUNNING:
        (lease, number), *_ = master.state.workers[1].held.items()
        ran.append(master.state.jobs[number].name)
        master.see(succeeded(1, lease), at=master.now + 1)
    assert ran == ["part-1", "part-2", "join", "end"]
    assert run.state is RunState.COMPLETED
    again = replay(master.events)
    assert picture(again) == picture(master.state)


def test_an_addition_sent_twice_is_one_addition_even_from_a_later_attempt() -> None:
    master = running({"plan": ""})
    spec = dag({"a": "", "b": "a"})
    grow(master, spec)
    assert grow(master, spec) == ([], [fx.ReplyGrown(WORKER, 8, "r", 2)])
    master.see(results(1, (master.lease(0), Outcome.EXITED)), at=4.0)
    master.see(inputs.TimePassed(), at=6.0)
    master.see(*(succeeded(1, lease) for lease in list(master.state.workers[1].held)), at=7.0)
    plan = master.job(0)
    assert plan.attempt == 2 and plan.lease
    assert grow(master, spec, at=8.0) == ([], [fx.ReplyGrown(WORKER, 8, "r", 2)])
    assert "has a job 'a' already" in refusal(grow(master, spec, key="other", at=9.0))[1]


def test_new_jobs_may_stand_behind_jobs_that_are_over_or_not() -> None:
    master = running({"first": "", "second": "", "third": ""})
    master.see(succeeded(1, master.lease(0)), at=3.0)  # the second job is RUNNING now
    events, _ = grow(master, dag({"x": "", "y": "", "z": ""}), by=1)
    assert isinstance(events[0], ev.RunGrown)
    spec = DagSpec("d", "", [JobTemplate(command="true")], ["p", "q"], [0, 0], [(), ()], [("first",), ("third", "x")])
    grow(master, spec, by=1, key="more", at=4.0)
    assert by_name(master)["p"] is JobState.QUEUED and by_name(master)["q"] is JobState.WAITING
    assert [master.state.jobs[p].name for p in master.state.jobs[master.state.find(master.state.runs["r"], "q") or 0].parents] == [
        "third", "x",
    ]  # fmt: skip


def test_a_job_that_still_waits_can_be_made_to_wait_for_the_addition() -> None:
    master = running({"plan": "", "long": "", "end": "long"})
    grow(master, dag({"a": "", "b": "a"}), before=("end",))
    end = master.job(2)
    assert [master.state.jobs[p].name for p in end.parents] == ["long", "b"] and end.missing == 2


@pytest.mark.parametrize(
    ("spec", "before", "says"),
    [
        (dag({"a": "nobody"}), (), "invalid_graph: job 'a' depends on 'nobody', which is no job of this addition or its run"),
        (dag({"a": "b", "b": "a"}), (), "invalid_graph: with this addition jobs would depend on each other in a cycle: "),
        (dag({"a": "end"}), ("mid",), "invalid_graph: with this addition jobs would depend on each other in a cycle: "),
        (dag({"plan": ""}), (), "invalid_graph: the run has a job 'plan' already"),
        (dag({"a": ""}), ("nobody",), "not_found: run r has no job 'nobody' that could wait for the addition"),
        (dag({"a": ""}), ("other",), "conflict: other cannot wait for the addition any more: it is QUEUED"),
        (dag({"a": ""}), ("plan",), "conflict: plan cannot wait for the addition any more: it is RUNNING"),
        (dag({"a": ""}, {"a": JobTemplate(command="x", kind="handler")}), (), "invalid_graph: job 'a' is a handler that no job"),
        (DagSpec("d", "", [], [], [], [], []), (), "invalid_graph: DAG 'd' has no jobs"),
    ],
)
def test_an_invalid_addition_is_refused_whole(spec: DagSpec, before: tuple[str, ...], says: str) -> None:
    master = running({"plan": "", "other": "", "mid": "plan", "end": "mid"})
    assert ": ".join(refusal(grow(master, spec, before=before))).startswith(says)
    assert len(master.state.jobs) == 4


def test_nothing_is_added_after_a_job_that_will_never_complete() -> None:
    master = running({"plan": "", "bad": ""}, {"bad": JobTemplate(command="false", retries=0)})
    master.see(cancel("r", "bad"), at=2.5)
    spec = DagSpec("d", "", [JobTemplate(command="true")], ["a"], [0], [()], [("bad",)])
    assert refusal(grow(master, spec)) == ("invalid_graph", "job 'a' depends on 'bad', which is CANCELLED: it would never run")


def test_an_attempt_that_has_ended_adds_nothing() -> None:
    master = running({"plan": "", "other": ""})
    lease = master.lease()
    master.see(succeeded(1, lease), at=3.0)
    decision = master.see(inputs.RunGrowthRequested(WORKER, 8, 1, lease, "", "k", alike("a", JobTemplate(command="x"))), at=4.0)
    assert ": ".join(refusal(decision)).startswith("conflict: this attempt is no longer current")


def test_a_user_can_add_jobs_only_to_a_run_that_is_running() -> None:
    master = running({"plan": ""})
    grow(master, dag({"a": ""}), by=None)
    assert master.state.runs["r"].grown[0].by == 0
    master.see(cancel("r"), at=4.0)
    assert ": ".join(refusal(grow(master, dag({"b": ""}), by=None, key="2", at=5.0))).startswith("conflict: run r is CANCELLED")
    decision = master.see(inputs.RunGrowthRequested(CLIENT, 8, 0, 0, "none", "k", dag({"a": ""})), at=6.0)
    assert ": ".join(refusal(decision)).startswith("not_found: there is no run 'none'")


def test_a_graph_does_not_grow_for_ever() -> None:
    master = running({"plan": ""}, settings=Settings(prefetch=0, growth_depth=3, run_jobs=5))
    for depth in range(3):
        grow(master, dag({f"d{depth}": ""}), by=depth, at=3.0 + depth)
        master.see(succeeded(1, master.lease(depth)), at=3.5 + depth)
    assert "3 deep" not in refusal(grow(master, dag({"more": ""}), by=3, at=9.0))[1]
    assert "check that the growth ends" in refusal(grow(master, dag({"more": ""}), by=3, at=9.0))[1]
    assert "the limit is 5" in refusal(grow(master, alike("a b", JobTemplate(command="x")), by=None, at=9.0))[1]


def test_added_jobs_are_cancelled_retried_and_archived_with_the_run() -> None:
    master = running({"plan": "", "other": ""})
    grow(master, dag({"bad": "", "behind": "bad"}, {"bad": JobTemplate(command="false", retries=0, priority=9)}), at=3.0)
    master.see(succeeded(1, master.lease(0)), at=4.0)
    bad = master.state.find(master.state.runs["r"], "bad")
    assert bad is not None
    master.see(results(1, (master.state.jobs[bad].lease, Outcome.EXITED)), at=5.0)
    master.see(succeeded(1, master.lease(1)), at=6.0)
    run = master.state.runs["r"]
    assert (run.state, by_name(master)["behind"]) == (RunState.FAILED, JobState.CANCELLED)
    master.see(inputs.DeadRetried(CLIENT, 8, "r", "", "ann", "again"), at=7.0)
    assert (run.state, by_name(master)["behind"]) == (RunState.RUNNING, JobState.WAITING)
    master.see(cancel("r"), at=8.0)
    master.see(inputs.HistoryKept(["r"], [run.changes]), at=9.0)
    assert not master.state.jobs and not master.state.runs


def test_positions_and_numbers_of_a_run_in_parts() -> None:
    master = running({"plan": "", "one": ""})
    master.see(submit(dag({"x": "", "y": ""}), run="s"), at=2.5)
    grow(master, alike("a b", JobTemplate(command="x")), at=3.0)
    master.see(submit(dag({"z": ""}), run="t"), at=3.5)
    grow(master, alike("c", JobTemplate(command="x")), key="2", at=4.0)
    run = master.state.runs["r"]
    numbers = [0, 1, 4, 5, 7]
    assert list(run.numbers()) == [FIRST + n for n in numbers]
    assert [run.position(FIRST + n) for n in numbers] == [0, 1, 2, 3, 4]
    assert [run.number(p) for p in range(5)] == [FIRST + n for n in numbers]
    assert list(run.numbers(1, 4)) == [FIRST + 1, FIRST + 4, FIRST + 5]
    assert list(run.numbers(3, 99)) == [FIRST + 5, FIRST + 7] and list(run.numbers(5)) == []
    assert run.begun_with == 2


# -- saved pipelines -------------------------------------------------------------------------------
def save(name: str, spec: DagSpec, *, replace: bool = False) -> inputs.PipelineSaveRequested:
    return inputs.PipelineSaveRequested(CLIENT, 8, name, spec, replace)


def test_a_pipeline_is_saved_replaced_and_removed() -> None:
    master = Master()
    one, other = dag({"a": ""}), dag({"a": "", "b": "a"})
    assert master.see(save("p", one), at=1.0) == ([ev.PipelineSaved("p", one, 1.0)], [fx.ReplySaved(CLIENT, 8, "p")])
    assert master.see(save("p", one), at=2.0) == ([], [fx.ReplySaved(CLIENT, 8, "p")])
    assert ": ".join(refusal(master.see(save("p", other), at=3.0))).startswith("conflict: there is a saved pipeline 'p' already")
    master.see(save("p", other, replace=True), at=4.0)
    assert master.state.saved["p"].dag == other
    assert picture(replay(master.events)) == picture(master.state)
    master.see(inputs.PipelineRemovalRequested(CLIENT, 8, "p"), at=5.0)
    assert ": ".join(refusal(master.see(inputs.PipelineRemovalRequested(CLIENT, 8, "p"), at=6.0))).startswith(
        "not_found: there is no saved"
    )


@pytest.mark.parametrize(("name", "spec"), [("no name", dag({"a": ""})), ("p", dag({"a": "b", "b": "a"}))])
def test_an_invalid_pipeline_cannot_be_saved(name: str, spec: DagSpec) -> None:
    master = Master()
    assert ": ".join(refusal(master.see(save(name, spec)))).startswith("invalid_graph: ")


def test_the_group_of_a_run_comes_from_its_dag() -> None:
    master = Master()
    spec = DagSpec("d", "", [JobTemplate(command="true")], ["a"], [0], [()], [()], group="agents-7")
    master.see(submit(spec))
    assert master.state.runs["r"].group == "agents-7"


@pytest.mark.parametrize("children", [True, False])
def test_an_addition_costs_the_same_however_many_came_before(children: bool) -> None:
    master = running({"plan": "", "end": "plan", "after": "end"})

    def add(i: int) -> int:
        spec = dag({f"x{i}": "" if children else "plan"})
        request = inputs.RunGrowthRequested(WORKER, 8, 1, master.lease(), "", f"k{i}", spec, (), children)
        return _bytecodes_of(lambda: step(master.state, 3.0, [request]))

    costs = [add(i) for i in range(400)]
    check(master.state)
    assert master.state.runs["r"].count == 403
    assert max(costs[-20:]) < 1.1 * max(costs[20:40])


def _bytecodes_of(what: Callable[[], object]) -> int:
    count, before = 0, sys.gettrace()

    def on_event(frame: FrameType, event: str, _: object) -> Any:
        nonlocal count
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        count += event == "opcode"
        return on_event

    sys.settrace(on_event)
    try:
        what()
    finally:
        sys.settrace(before)
    return count


def test_a_cycle_far_from_the_waiting_job_is_found_and_named() -> None:
    master = running({"plan": "", "end": "plan", "middle": "end", "last": "middle", "other": "plan"})
    _, refused = refusal(grow(master, dag({"x": "last", "y": "x", "z": ""}), before=("end",)))
    named = refused.rpartition("cycle: ")[2].split(" -> ")
    assert set(named) == {"end", "middle", "last", "x", "y"} and named[0] == named[-1] and len(named) == 6
    assert not grow(master, dag({"x": "last", "y": ""}), before=("end",)).events
    events, _ = grow(master, dag({"x": "other", "y": "x"}), before=("end",))
    assert isinstance(events[0], ev.RunGrown)
    assert "cycle" in refusal(grow(master, dag({"w": "end"}), before=("other",), key="k2"))[1]


# -- additions and waits that are refused ----------------------------------------------------------
def test_a_job_that_has_begun_cannot_wait_for_an_addition() -> None:
    master = running({"plan": "", "free": "", "end": "plan"})
    assert refusal(grow(master, dag({"a": ""}), before=("free",))) == (
        "conflict",
        "free cannot wait for the addition any more: it is QUEUED",
    )
    assert refusal(grow(master, dag({"a": ""}), before=("nope",)))[1] == "run r has no job 'nope' that could wait for the addition"
    assert by_name(master).keys() == {"plan", "free", "end"}


def test_a_handler_cannot_wait_for_an_addition_and_no_job_can_wait_for_added_handlers() -> None:
    handler = JobTemplate(command="h", kind="handler")
    master = running({"plan": "", "alarm": "plan", "end": "plan"}, {"alarm": handler})
    code, text = refusal(grow(master, dag({"a": ""}), before=("alarm",)))
    assert (code, text.partition(":")[0]) == ("invalid_graph", "alarm is a handler")
    only = dag({"fix": "end"}, {"fix": handler})
    assert refusal(grow(master, only, before=("end",))) == (
        "invalid_graph",
        "no job can wait for an addition that has only handlers",
    )


def test_children_that_are_over_or_handlers_do_not_wait_for_an_addition() -> None:
    handler = JobTemplate(command="h", kind="handler")
    master = running({"plan": "", "gone": "plan", "alarm": "plan", "end": "plan"}, {"alarm": handler})
    master.see(cancel("r", "gone"), at=2.5)
    (grown, *_), _ = grow(master, dag({"a": ""}), children=True)
    assert isinstance(grown, ev.RunGrown)
    assert [number for number, _ in grown.before] == [FIRST + 3], "`end` alone waits"


def test_a_handler_of_a_finished_job_cannot_be_added() -> None:
    master = running({"plan": "", "other": ""}, settings=Settings(prefetch=0))
    master.see(cancel("r", "other"), at=2.5)
    spec = dag({"fix": "other"}, {"fix": JobTemplate(command="h", kind="handler")})
    spec = DagSpec("d", "", spec.templates, ["fix"], [0], [()], [("other",)])
    assert refusal(grow(master, spec)) == ("invalid_graph", "job 'fix' is a handler of 'other', which is over: CANCELLED")


def test_an_addition_and_the_number_of_additions_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growth, "MAX_ADDITION", 2)
    monkeypatch.setattr(growth, "MAX_GROWTHS", 1)
    master = running({"plan": ""})
    three = alike("a b c", JobTemplate(command="x"))
    assert refusal(grow(master, three)) == ("invalid_graph", "3 jobs at once; the limit of one addition is 2: add them in parts")
    assert grow(master, dag({"a": ""})).events
    code, text = refusal(grow(master, dag({"b": ""}), key="k2"))
    assert (code, text) == ("invalid_graph", "run r has grown 1 times, which is the limit: add more jobs at a time")


def test_the_number_of_saved_pipelines_is_limited_and_an_existing_one_can_be_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growth, "MAX_SAVED", 1)
    master = Master()
    first, second = dag({"a": ""}), dag({"b": ""})
    assert master.see(inputs.PipelineSaveRequested(CLIENT, 8, "p", first, False)).events
    code, text = refusal(master.see(inputs.PipelineSaveRequested(CLIENT, 8, "q", first, False)))
    assert (code, text) == ("conflict", "1 pipelines are saved, which is the limit: `titan save --remove NAME` removes one")
    assert master.see(inputs.PipelineSaveRequested(CLIENT, 8, "p", second, True)).events
    assert master.state.saved["p"].dag == second
