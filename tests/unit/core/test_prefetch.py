"""Attempts wait on a worker, so that a slot never waits for the master. The master recalls them
when another worker is idle."""

from __future__ import annotations

import msgspec

from support.core import FIRST, Master, alike, beat, joined, register, results, started, submit
from titan.core import effects as fx
from titan.core.events import events as ev
from titan.core.inputs import ResultsReported
from titan.model.dag import JobTemplate
from titan.model.settings import Settings
from titan.model.states import Outcome

PLAIN = JobTemplate(command="true")


def ahead(*jobs: str, template: JobTemplate = PLAIN) -> Master:
    """Return a master whose worker 1 has one slot and two attempts. The first attempt is
    RUNNING."""
    master = Master(Settings(prefetch=1))
    master.see(register(), submit(alike(" ".join(jobs), template)))
    assert list(master.state.workers[1].held) == [FIRST, FIRST + 1]
    master.see(started(1, {FIRST: 1.0}), at=1.0)
    return master


def test_a_worker_prefetches_one_job_for_each_slot() -> None:
    master = ahead("a", "b", "c")
    assert list(master.state.workers[1].held.values()) == [FIRST, FIRST + 1]


def test_a_prefetched_job_is_recalled_for_an_idle_worker() -> None:
    master = ahead("a", "b")
    assert master.see(register("w2", origin=2), at=2.0) == (
        [joined(2, "w2", 2.0), ev.WorkerConnected(2, 2, 2.0), ev.LeasesRecalled(1, [FIRST + 1])],
        [fx.AcceptWorker(2, 7, 2), fx.SendRecall(1, [FIRST + 1])],
    )
    assert master.see(beat(2, {}), at=2.5) == ([ev.WorkerHeard(2, 2.5)], []), "the job is recalled once"
    assert master.see(results(1, (FIRST + 1, Outcome.RETURNED)), at=3.0) == (
        [ev.JobsLost(1, [FIRST + 1], [], "handed back by its worker", 3.0), ev.JobsDispatched(2, [FIRST + 1], FIRST + 2, 3.0)],
        [fx.SendAck(1, [FIRST + 1]), fx.SendDispatch(2, [FIRST + 1], FIRST + 2)],
    )


def test_a_lost_recall_is_sent_again_after_the_next_heartbeat() -> None:
    master = ahead("a", "b")
    master.see(register("w2", origin=2), at=2.0)
    assert master.see(beat(1, {FIRST: 1.0, FIRST + 1: 0.0}), at=6.0).effects == [fx.SendRecall(1, [FIRST + 1])]


def test_a_queued_job_is_dispatched_before_any_job_is_recalled() -> None:
    master = ahead("a", "b", "c", "d")
    assert master.see(register("w2", origin=2), at=2.0).effects[1:] == [fx.SendDispatch(2, [FIRST + 2, FIRST + 3], FIRST + 2)]


def test_a_recalled_job_that_has_already_started_stays() -> None:
    master = ahead("a", "b")
    master.see(register("w2", origin=2), at=2.0)
    master.see(results(1, (FIRST, Outcome.SUCCEEDED)), started(1, {FIRST + 1: 2.5}), at=3.0)
    assert master.see(beat(1, {FIRST + 1: 2.5}), at=6.0) == ([ev.WorkerHeard(1, 6.0)], [])


def test_a_worker_that_lacks_the_capability_gets_nothing() -> None:
    master = Master(Settings(prefetch=1))
    gpu = JobTemplate(command="true", requirement="GPU")
    master.see(register(capabilities=("GPU",)), submit(alike("a b", gpu)))
    assert master.see(register("w2", origin=2), at=2.0).effects == [fx.AcceptWorker(2, 7, 2)]


def timed(lease: int, took_s: float) -> ResultsReported:
    whole = results(1, (lease, Outcome.SUCCEEDED))
    return msgspec.structs.replace(whole, started=[10.0], finished=[10.0 + took_s])


def test_a_worker_with_short_attempts_prefetches_more_jobs() -> None:
    master = ahead(*[f"j{i}" for i in range(100)])
    master.see(timed(FIRST, 0.01), at=11.0)
    assert len(master.state.workers[1].held) == 1 + 5, "the running attempt, and work for 50 ms"
    master.see(timed(FIRST + 1, 5.0), at=16.0)
    assert master.state.pool.seats[1].depth == 1, "after one long attempt the worker prefetches few jobs again"
    assert len(master.state.workers[1].held) == 5, "prefetched attempts stay, and none is added"


def test_a_worker_never_prefetches_more_than_the_limit() -> None:
    master = Master(Settings(prefetch=1, prefetch_max=3))
    master.see(register(), submit(alike(" ".join(f"j{i}" for i in range(100)), PLAIN)))
    master.see(timed(FIRST, 0.0), at=2.0)
    assert len(master.state.workers[1].held) == 1 + 3
