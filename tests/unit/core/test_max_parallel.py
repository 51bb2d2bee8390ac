"""Arrays with a limit: how many of their jobs are on workers, and what the others are told."""

from __future__ import annotations

import msgspec
import pytest

from support.core import FIRST, Master, alike, cancel, dag, picture, register, replay, results, submit, succeeded
from titan.core import inputs
from titan.core.handlers.scaling import look_at, rules_of
from titan.core.invariants import check
from titan.core.state import snapshot
from titan.core.state.state import State
from titan.errors import InvalidGraph
from titan.model.dag import JobTemplate, Kind, Needs, Parallel, Service
from titan.model.graph import resolve
from titan.model.settings import Settings
from titan.model.states import JobState, Outcome, WorkerState

QUEUED, DISPATCHED, COMPLETED, FAILED = JobState.QUEUED, JobState.DISPATCHED, JobState.COMPLETED, JobState.FAILED
PAIR = JobTemplate(command="true", retries=1, parallel=Parallel("part", 2))


def on_workers(master: Master) -> list[str]:
    return [job.name for job in master.state.jobs.values() if job.state in (DISPATCHED, JobState.RUNNING)]


def four(slots: int = 8, template: JobTemplate = PAIR, settings: Settings | None = None) -> Master:
    master = Master(settings)
    master.see(register(slots=slots), submit(alike("a b c d", template)))
    return master


def test_no_more_jobs_of_an_array_are_on_workers_than_its_limit() -> None:
    master = four()
    assert on_workers(master) == ["a", "b"]
    master.see(submit(alike("x y", JobTemplate(command="true")), run="r2", key="2"), at=1.0)
    assert on_workers(master) == ["a", "b", "x", "y"]
    master.see(succeeded(1, master.lease(0)), at=2.0)
    assert on_workers(master) == ["b", "c", "x", "y"]
    assert picture(replay(master.events)) == picture(master.state)


def test_arrays_of_other_names_and_other_runs_have_limits_of_their_own() -> None:
    master = four()
    other = msgspec.structs.replace(PAIR, parallel=Parallel("other", 1))
    master.see(submit(alike("e f", other), run="r2", key="2"), submit(alike("a b c", PAIR), run="r3", key="3"), at=1.0)
    assert on_workers(master) == ["a", "b", "e", "a", "b"]


@pytest.mark.parametrize("needs", [None, Needs(cpus=0.5), Needs(capabilities=("GENERAL",))])
def test_jobs_of_an_array_with_several_demands_share_its_limit(needs: Needs | None) -> None:
    master = Master()
    said = msgspec.structs.replace(register(slots=8), facts={"cpus": 8})
    master.see(
        said, submit(dag(dict.fromkeys("abcd", ""), {"a": PAIR, "b": PAIR, "c": msgspec.structs.replace(PAIR, needs=needs)}))
    )
    assert on_workers(master) == ["a", "b", "d"]


def test_an_attempt_that_waits_for_its_retry_takes_no_place_and_gets_its_turn_by_age() -> None:
    master = four()
    master.see(results(1, (master.lease(0), Outcome.EXITED)), at=1.0)
    assert master.job(0).state is FAILED and on_workers(master) == ["b", "c"]
    master.see(inputs.TimePassed(), at=master.job(0).due)
    assert master.job(0).state is QUEUED
    master.see(succeeded(1, master.lease(1)), at=master.now + 1.0)
    assert on_workers(master) == ["a", "c"]


def test_places_of_a_lost_worker_and_of_cancelled_jobs_are_free_again() -> None:
    master = four()
    master.see(cancel("r", "a"), at=1.0)
    assert on_workers(master) == ["b", "c"]
    master.see(register("w2", origin=9, slots=4), inputs.WorkerDisconnected(1, 1), at=2.0)
    worker = master.state.workers[1]
    master.see(inputs.TimePassed(), at=worker.deadline)
    assert worker.state is WorkerState.LOST and on_workers(master) == ["b", "c"]
    assert {master.job(n).worker for n in (1, 2)} == {2}


def test_the_limit_survives_a_restart_from_a_snapshot() -> None:
    master = four()
    state = State(master.state.settings)
    snapshot.load(state, list(snapshot.dump(master.state)))
    state.reindex()
    assert state.active_in == master.state.active_in == {"r/part": 2}
    check(state)


def test_why_names_the_limit_and_how_many_jobs_run() -> None:
    master = four()
    (reason,) = master.explained(3).reasons
    assert (reason.code, reason.text) == ("max_parallel", "max_parallel 2 of part: 2 running")
    assert reason.detail == {"max_parallel": 2, "array": "part", "running": 2}
    master.see(submit(alike("later", JobTemplate(command="true", priority=0)), run="r2", key="2"), at=1.0)
    assert on_workers(master) == ["a", "b", "later"]


def test_jobs_that_wait_for_their_limit_hold_back_nobody() -> None:
    master = four(slots=2)
    master.see(submit(alike("later", JobTemplate(command="true")), run="r2", key="2"), at=1.0)
    assert master.explained(4).reasons[0].code == "placeable"
    assert master.explained(2).reasons[0].code == "max_parallel"


def test_jobs_that_wait_for_their_limit_start_no_burst_workers() -> None:
    settings = Settings(prefetch=0, scale={"GENERAL": (0, 9)})
    master = four(settings=settings)
    (rule,) = rules_of(master.state)
    assert look_at(master.state, rule, master.now).demand == 0
    master.see(submit(alike("a b c d", PAIR), run="r2", key="2"), at=1.0)
    for worker in master.state.workers.values():
        assert worker.used == 4
    master.see(submit(alike("x y", JobTemplate(command="true", requirement="GPU")), run="r3", key="3"), at=2.0)
    assert look_at(master.state, rule, master.now).demand == 0


def test_a_retry_from_the_dead_letter_queue_waits_for_its_place() -> None:
    master = four(template=msgspec.structs.replace(PAIR, retries=0))
    master.see(results(1, (master.lease(0), Outcome.EXITED)), at=1.0)
    assert on_workers(master) == ["b", "c"]
    master.see(inputs.DeadRetried(9, 1, "r", "a", "ann", "k"), at=2.0)
    assert master.job(0).state is QUEUED and master.state.active_in == {"r/part": 2}


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"parallel": Parallel("part", 0)}, "max_parallel: must be 1 to 1,000,000"),
        ({"parallel": Parallel("a b", 1)}, "max_parallel: the array's name 'a b' is malformed"),
        ({"affinity": True}, "max_parallel: a job with affinity waits for one worker"),
        ({"kind": Kind.SERVICE, "service": Service()}, "max_parallel: a service does not end"),
    ],
)
def test_the_master_refuses_a_limit_that_cannot_be_kept(changes: dict[str, object], problem: str) -> None:
    with pytest.raises(InvalidGraph, match=problem):
        resolve(alike("a", msgspec.structs.replace(PAIR, **changes)))


def test_a_job_that_a_worker_broke_goes_to_any_worker_because_no_job_of_the_array_is_pinned() -> None:
    master = four()
    master.see(register("w2", origin=9, slots=4), at=1.0)
    master.see(results(1, (master.lease(0), Outcome.BROKEN)), at=2.0)
    master.see(inputs.TimePassed(), at=max(2.0, master.job(0).due))
    assert not any(lane.count for lane in master.state.pinned.values()) and len(on_workers(master)) == 2
    assert FIRST in master.state.jobs
