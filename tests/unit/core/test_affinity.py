"""Jobs that run where their parent ran."""

from __future__ import annotations

import pytest

from support.core import FIRST, Master, cancel, completed, dag, picture, register, replay, results, submit, succeeded
from titan.core import effects as fx
from titan.core import inputs
from titan.core.events import events as ev
from titan.model.causes import Cause
from titan.model.dag import Gate, JobTemplate
from titan.model.states import JobState, Outcome

NEAR = JobTemplate(command="true", affinity=True)
A, B, OTHER = FIRST, FIRST + 1, FIRST + 2


def pinned() -> Master:
    """Return a master on which a is done. Worker 1 is full with another job, b is pinned to worker
    1, and worker 2 has room."""
    master = Master()
    other = JobTemplate(command="true", priority=9)
    master.see(register("w1"), submit(dag({"a": "", "b": "a", "other": "a"}, {"b": NEAR, "other": other})))
    assert master.see(succeeded(1, FIRST), at=3.0).events == [
        completed(1, [A], 3.0),
        ev.JobsQueued([B, OTHER], 3.0, [1, -1]),
        ev.JobsDispatched(1, [OTHER], FIRST + 1, 3.0),
    ]
    master.see(register("w2", origin=2))
    return master


def released(why: str, at: float) -> ev.JobsReleased:
    return ev.JobsReleased([B], 1, f"affinity released: worker w1, where its parent ran, {why}", at)


def test_a_pinned_job_waits_for_its_worker_though_another_has_room() -> None:
    master = pinned()
    assert (master.job(1).state, master.job(1).pin) == (JobState.QUEUED, 1)
    assert master.see(succeeded(1, FIRST + 1), at=4.0).effects == [fx.SendAck(1, [FIRST + 1]), fx.SendDispatch(1, [B], FIRST + 2)]
    assert master.job(1).pin == -1


def test_a_pinned_job_waits_for_a_worker_whose_connection_broke() -> None:
    master = pinned()
    assert master.see(inputs.WorkerDisconnected(1, 1), at=4.0) == ([ev.WorkerSuspected(1, 4.0)], [])
    assert master.job(1).pin == 1


def test_a_pinned_job_is_released_when_its_worker_is_lost() -> None:
    master = pinned()
    master.see(inputs.WorkerBeat(2, [], []), at=20.0)
    events, _ = master.see(inputs.TimePassed(), at=31.0)
    lost = "worker w1 was silent for 31 s"
    assert events == [
        ev.WorkerLost(1, lost, 31.0),
        ev.JobsLost(1, [OTHER], [], lost, 31.0, doubted=[OTHER]),
        released("is LOST", 31.0),
        ev.JobsDispatched(2, [OTHER], FIRST + 2, 31.0),
    ]


def test_a_pinned_job_is_released_when_its_worker_drains() -> None:
    master = pinned()
    assert master.see(inputs.WorkerDraining(1), at=4.0) == (
        [ev.WorkerDrained(1, 4.0), released("is draining", 4.0), ev.JobsDispatched(2, [B], FIRST + 2, 4.0)],
        [fx.SendDispatch(2, [B], FIRST + 2)],
    )


def test_a_pinned_job_is_released_when_its_worker_leaves() -> None:
    master = pinned()
    events, _ = master.see(inputs.WorkerLeaving(1), at=4.0)
    assert events == [
        ev.WorkerLeft(1, 4.0),
        ev.JobsLost(1, [OTHER], [], "worker w1 left", 4.0),
        released("is LEFT", 4.0),
        ev.JobsDispatched(2, [OTHER], FIRST + 2, 4.0),
    ]


def test_a_pinned_job_is_released_when_its_worker_returns_without_the_capability() -> None:
    master = pinned()
    master.see(inputs.WorkerDisconnected(1, 1))
    events, _ = master.see(register("w1", origin=3, capabilities=("GPU",), held={FIRST + 1: 3.5}), at=4.0)
    assert released("lacks the capability", 4.0) in events
    assert master.job(1).worker == 2


def test_affinity_is_released_at_once_if_the_worker_cannot_take_the_job_when_the_parent_ends() -> None:
    master = Master()
    master.see(register("w1"), submit(dag({"a": "", "b": "a"}, {"b": NEAR})))
    master.see(inputs.WorkerDraining(1))
    assert master.see(succeeded(1, FIRST), at=3.0).events == [
        completed(1, [A], 3.0),
        ev.JobsQueued([B], 3.0),
        released("is draining", 3.0),
    ]


def test_the_first_parent_decides() -> None:
    master = Master()
    master.see(register("w1"), register("w2", origin=2), submit(dag({"x": "", "y": "", "z": "y x"}, {"z": NEAR})))
    master.see(succeeded(1, FIRST))
    assert master.see(succeeded(2, FIRST + 1)).effects[-1] == fx.SendDispatch(2, [FIRST + 2], FIRST + 2)


def test_without_parents_affinity_means_nothing() -> None:
    master = Master()
    master.see(register("w1"))
    assert master.see(submit(dag({"a": ""}, {"a": NEAR}))).effects[-1] == fx.SendDispatch(1, [FIRST], FIRST)


def test_a_pinned_job_can_be_cancelled() -> None:
    master = pinned()
    assert master.see(cancel("r", "b")).events == [ev.JobsCancelled([B], "cancelled by a user", 3.0, cause=Cause.ASKED)]


def test_a_job_that_was_released_and_comes_back_to_its_node_is_dispatched_once() -> None:
    """Earlier, the job was twice in that node's lane."""
    master = Master()
    fill = JobTemplate(command="true", priority=9)
    master.see(register("w1", slots=2), submit(dag({"a": "", "b": "a", "x": "a", "y": "a"}, {"b": NEAR, "x": fill, "y": fill})))
    master.see(succeeded(1, FIRST))
    held = {master.lease(n): 1.0 for n in (2, 3)}
    master.see(inputs.TimePassed(), at=40.0)
    assert master.job(1).pin == -1
    master.see(register("w2", origin=2, slots=3), at=40.0)
    assert master.job(1).worker == 2
    master.see(register("w1", origin=3, slots=2, held=held), at=41.0)
    master.see(succeeded(2, master.lease(2), master.lease(3)), inputs.WorkerLeaving(2), at=42.0)
    assert master.job(1).pin == 1
    _, effects = master.see(succeeded(1, *held), at=43.0)
    assert [e.jobs for e in effects if isinstance(e, fx.SendDispatch)] == [[B]]


@pytest.mark.parametrize("reason", ["released", "kept"])
def test_the_history_says_that_affinity_was_released(reason: str) -> None:
    master = pinned()
    if reason == "released":
        master.see(inputs.WorkerDraining(1))
    notes = [past.reason for past in master.job(1).history or ()]
    assert bool(notes) == (reason == "released")


def moved(parents: dict[str, str], *templates: JobTemplate, capabilities: tuple[str, ...] = ("GENERAL",)) -> Master:
    """Return a master on which a is DEAD after an attempt on worker 1, and b continues without it.
    Worker 1 is full with a job of another run, and worker 2 has room."""
    optional = JobTemplate(command="x", retries=0, on_failure="continue")
    master = Master()
    near = dict(zip(parents, (optional, *templates), strict=True))
    master.see(register("w1", capabilities=("GENERAL", "GPU")), submit(dag(parents, near)))
    master.see(submit(dag({"busy": ""}, {"busy": JobTemplate(command="x", priority=9)}), run="r2"))
    master.see(results(1, (master.lease(0), Outcome.EXITED)))
    master.see(register("w2", origin=2, capabilities=capabilities))
    return master


@pytest.mark.parametrize("gate", [False, True])
@pytest.mark.parametrize("outcome", [Outcome.SUCCEEDED, Outcome.EXITED])
def test_a_job_is_pinned_to_the_worker_of_its_parents_latest_attempt(*, gate: bool, outcome: Outcome) -> None:
    """Earlier, the job stayed bound to the worker of its parent's earlier attempt."""
    if gate:
        master = moved({"a": "", "gate": "a", "b": "gate"}, JobTemplate(kind="gate", gate=Gate()), NEAR)
        master.see(inputs.GateDecisionMade(3, 3, "r", "gate", approve=True, by="ann", comment="", key="k"))
    else:
        master = moved({"a": "", "b": "a"}, NEAR)
    b = 2 if gate else 1
    assert (master.job(b).state, master.job(b).pin) == (JobState.QUEUED, 1)
    events, _ = master.see(inputs.DeadRetried(3, 3, "r", "a", by="ann", key="k"))
    again = ev.JobsDispatched(2, [A], master.lease(0), master.now)
    assert events[-2:] == [again, ev.JobsBound([FIRST + b], [2], master.now)]
    _, effects = master.see(results(2, (master.lease(0), outcome)))
    assert [e for e in effects if isinstance(e, fx.SendDispatch)] == [fx.SendDispatch(2, [FIRST + b], master.lease(b))]
    assert picture(replay(master.events)) == picture(master.state)


def test_a_job_is_released_if_the_worker_that_its_parent_moved_to_cannot_take_it() -> None:
    master = moved({"a": "", "b": "a"}, JobTemplate(command="true", affinity=True, requirement="GPU"))
    assert master.job(1).pin == 1
    events, _ = master.see(inputs.DeadRetried(3, 3, "r", "a", by="ann", key="k"))
    why = "affinity released: worker w2, where its parent ran, lacks the capability"
    assert events[-1] == ev.JobsReleased([B], 2, why, master.now)
    assert master.job(1).pin == -1


def test_only_children_of_the_moved_job_are_pinned_anew() -> None:
    master = moved({"a": "", "c": "", "b": "c a"}, JobTemplate(command="x", priority=8), NEAR)
    master.see(succeeded(1, master.lease(1)))
    events, _ = master.see(inputs.DeadRetried(3, 3, "r", "a", by="ann", key="k"))
    assert not any(isinstance(e, ev.JobsBound) for e in events)
