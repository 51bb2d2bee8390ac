"""Resources of attempts in the state. They count as long as an attempt exists, also while it is
being stopped."""

from __future__ import annotations

import msgspec
import pytest

from support.core import FIRST, Master, alike, beat, cancel, dag, picture, register, replay, results, submit, succeeded
from titan.core import effects as fx
from titan.core import inputs
from titan.core.events import events as ev
from titan.core.state.state import FENCED_LIMIT
from titan.errors import InvalidGraph
from titan.model.dag import JobTemplate, Needs
from titan.model.settings import Settings
from titan.model.states import JobState, Outcome, WorkerState

ONE_GPU = JobTemplate(command="true", needs=Needs(gpus=1))
HALF = JobTemplate(command="true", needs=Needs(cpus=0.5))


def rich(
    name: str = "w1", *, origin: int = 1, slots: int = 4, cpus: float = 2, gpus: int = 1, held: dict[int, float] | None = None
) -> inputs.WorkerRegistered:
    said = register(name, origin=origin, slots=slots, held=held)
    return msgspec.structs.replace(said, facts={"cpus": cpus, "memory_bytes": 8, "gpus": gpus})


def on_worker(master: Master, worker: int = 1) -> list[int]:
    return [number - FIRST for number in master.state.workers[worker].held.values()]


def test_no_more_jobs_run_than_the_resources_allow() -> None:
    master = Master()
    master.see(rich(slots=9), submit(alike("a b c d e", HALF)))
    assert on_worker(master) == [0, 1, 2, 3]
    assert master.state.workers[1].taken == (2000, 0, 0)
    master.see(succeeded(1, master.lease(0)))
    assert on_worker(master) == [1, 2, 3, 4]


@pytest.mark.parametrize("outcome", [Outcome.SUCCEEDED, Outcome.EXITED, Outcome.RETURNED])
def test_an_ended_attempt_takes_no_resources(outcome: Outcome) -> None:
    master = Master()
    master.see(rich(), submit(alike("a b", ONE_GPU)))
    assert on_worker(master) == [0]
    master.see(results(1, (master.lease(0), outcome)))
    assert on_worker(master) == ([0] if outcome is Outcome.RETURNED else [1])
    assert master.state.workers[1].taken == (0, 0, 1)


def test_a_cancelled_attempt_keeps_its_resources_until_the_worker_reports_its_end() -> None:
    master = Master()
    master.see(rich(), submit(alike("a b", ONE_GPU)))
    lease = master.lease(0)
    master.see(cancel("r", "a"))
    assert (on_worker(master), master.state.workers[1].taken) == ([], (0, 0, 1))
    assert replay(master.events).workers[1].taken == (0, 0, 1)
    master.see(results(1, (lease, Outcome.STOPPED)))
    assert (on_worker(master), master.state.workers[1].fenced) == ([1], {})


def test_a_lost_attempt_takes_its_resources_again_when_its_worker_returns_with_it() -> None:
    """The worker was LOST, and comes back as the same process with its attempt."""
    master = Master()
    master.see(rich(), submit(alike("a b", ONE_GPU)))
    lease = master.lease(0)
    master.see(inputs.TimePassed(), at=40.0)
    assert (master.state.workers[1].state, master.state.workers[1].taken) == (WorkerState.LOST, (0, 0, 0))
    master.see(rich(origin=2, held={lease: 1.0}), at=41.0)
    assert (on_worker(master), list(master.state.workers[1].ending)) == ([], [lease])
    assert picture(replay(master.events)) == picture(master.state)
    master.see(beat(1, {}), at=46.0)
    assert on_worker(master) == [0]


def test_a_new_process_begins_with_nothing_taken() -> None:
    master = Master()
    master.see(rich(), submit(alike("a", ONE_GPU)))
    anew = msgspec.structs.replace(rich(origin=2), incarnation="2")
    master.see(anew, at=20.0)
    assert (on_worker(master), master.state.workers[1].fenced) == ([0], {})


def test_the_number_of_remembered_fenced_attempts_is_limited() -> None:
    master = Master()
    master.see(rich(), submit(alike(" ".join(f"j{i}" for i in range(FENCED_LIMIT + 50)), ONE_GPU)))
    for i in range(FENCED_LIMIT + 40):
        master.see(succeeded(1, master.lease(i)))
    assert len(master.state.workers[1].fenced) == FENCED_LIMIT


def test_a_worker_that_returns_with_more_resources_gets_more_jobs() -> None:
    master = Master()
    master.see(rich(gpus=0), submit(alike("a", ONE_GPU)))
    assert on_worker(master) == []
    master.see(inputs.WorkerDisconnected(1, 1))
    events, _ = master.see(rich(origin=2, gpus=1))
    assert any(isinstance(event, ev.WorkerJoined) for event in events)
    assert on_worker(master) == [0]


def test_affinity_is_released_when_its_node_never_has_enough() -> None:
    master = Master()
    big = msgspec.structs.replace(ONE_GPU, affinity=True)
    master.see(rich(gpus=0), submit(dag({"a": "", "b": "a"}, {"b": big})))
    master.see(rich("w2", origin=2))
    master.see(succeeded(1, FIRST), at=3.0)
    assert on_worker(master, 2) == [1]
    assert [p.reason for p in master.job(1).history or ()] == [
        "affinity released: worker w1, where its parent ran, has less than it asks for"
    ]


def test_a_pinned_job_waits_for_the_resources_of_its_node() -> None:
    master = Master()
    near = msgspec.structs.replace(ONE_GPU, affinity=True)
    other = msgspec.structs.replace(ONE_GPU, priority=5)
    master.see(rich(), submit(dag({"a": "", "b": "a", "c": ""}, {"b": near, "c": other})))
    master.see(rich("w2", origin=2))
    master.see(succeeded(1, master.lease(0)), at=3.0)
    assert (master.job(1).state, master.job(1).pin) == (JobState.QUEUED, 1)
    assert fx.SendDispatch(1, [FIRST + 1], FIRST + 2) in master.see(succeeded(1, master.lease(2)), at=4.0).effects


def test_an_attempt_that_needs_resources_is_never_recalled() -> None:
    """The attempt already has a slot. Only attempts that wait for a slot are recalled for an idle
    worker."""
    master = Master(Settings(prefetch=1))
    master.see(rich(slots=1), submit(alike("a", ONE_GPU)), submit(alike("b", JobTemplate(command="true")), run="s"))
    assert on_worker(master) == [0, 1]
    assert master.see(rich("w2", origin=2)).effects[1:] == [fx.SendRecall(1, [FIRST + 1])]


def test_a_snapshot_of_an_older_version_is_counted_anew() -> None:
    master = Master()
    master.see(rich(), submit(alike("a", ONE_GPU)))
    state = replay(master.events)
    state.workers[1].taken = (0, 0, 0)
    state.reindex()
    assert state.workers[1].taken == state.pool.seats[1].taken == (0, 0, 1)


@pytest.mark.parametrize(
    ("needs", "says"),
    [
        (Needs(cpus=-1.0), "cpus must be 0 to 65,536"),
        (Needs(cpus=float("nan")), "cpus must be"),
        (Needs(memory=1 << 60), "memory must be 0 to"),
        (Needs(gpus=-1), "gpus must be 0 to 1,024"),
        (Needs(capabilities=("a b",)), "requirement 'a b' is malformed"),
        (Needs(capabilities=tuple(f"c{i}" for i in range(16))), "at most 16 capabilities"),
    ],
)
def test_invalid_needs_are_refused(needs: Needs, says: str) -> None:
    (refusal,) = Master().see(submit(alike("a", JobTemplate(command="true", needs=needs)))).effects
    assert isinstance(refusal, fx.Refuse)
    assert (refusal.code, says in refusal.message) == (InvalidGraph.code, True)


def test_a_cancelled_pinned_job_makes_way_for_the_pinned_jobs_after_it() -> None:
    """Earlier, the jobs waited until something else changed on their worker."""
    master = Master()
    wide, narrow = (JobTemplate(command="x", affinity=True, needs=Needs(cpus=cpus)) for cpus in (2, 1))
    kinds = {"a": HALF, "keep": HALF, "b": wide, "c": narrow}
    master.see(rich(), submit(dag({"a": "", "keep": "", "b": "a", "c": "a"}, kinds)))
    master.see(succeeded(1, master.lease(0)))
    assert [job.state for job in master.state.jobs.values()][2:] == [JobState.QUEUED, JobState.QUEUED]
    master.see(cancel("r", "b"))
    assert on_worker(master) == [1, 3]
