"""Prefetched attempts never wait behind a long attempt while a slot is free."""

from __future__ import annotations

import msgspec

from support.core import FIRST, Master, alike, register, started, submit, succeeded
from titan.core import effects as fx
from titan.core import inputs
from titan.core.events import events as ev
from titan.model.dag import JobTemplate
from titan.model.settings import Settings
from titan.model.states import JobState, Outcome

TRUE = JobTemplate(command="true")


def two_busy_workers() -> Master:
    """Return a master with two workers of one slot each. w1 runs `a` and w2 runs `b`. A second
    attempt waits on each worker, and no job is queued."""
    master = Master(Settings(prefetch=1))
    master.see(register("w1"), register("w2", origin=2), submit(alike("a b c d", TRUE)))
    assert [list(w.held.values()) for w in master.state.workers.values()] == [[FIRST, FIRST + 2], [FIRST + 1, FIRST + 3]]
    master.see(started(1, {FIRST: 1.0}), started(2, {FIRST + 2: 1.0}))
    return master


def test_free_slots_are_filled_before_anything_is_prefetched() -> None:
    master = Master(Settings(prefetch=1))
    decision = master.see(register("w1", slots=2), register("w2", origin=2, slots=2), submit(alike("a b c", TRUE)))
    assert [e.jobs for e in decision.events if isinstance(e, ev.JobsDispatched)] == [[FIRST, FIRST + 2], [FIRST + 1]]


def test_an_idle_worker_gets_the_job_prefetched_behind_a_long_job() -> None:
    master = two_busy_workers()
    master.see(succeeded(2, FIRST + 2))
    decision = master.see(started(2, {FIRST + 3: 2.0}), succeeded(2, FIRST + 3))
    assert decision.effects == [fx.SendAck(2, [FIRST + 3]), fx.SendRecall(1, [FIRST + 1])]
    assert master.see(inputs.TimePassed()).effects == [], "asked once"

    back = inputs.ResultsReported(1, [FIRST + 1], [Outcome.RETURNED], [-1], ["taken back"], [0.0], [0.0], [0.0], [0], 0.5)
    decision = master.see(back)
    assert [e for e in decision.effects if isinstance(e, fx.SendDispatch)] == [fx.SendDispatch(2, [FIRST + 2], FIRST + 4)]
    assert master.state.jobs[FIRST + 2].failures == 0


def test_a_recalled_job_that_has_already_started_stays() -> None:
    master = two_busy_workers()
    master.see(succeeded(2, FIRST + 2, FIRST + 3))
    master.see(succeeded(1, FIRST), started(1, {FIRST + 1: 2.0}))
    assert master.state.jobs[FIRST + 2].state is JobState.RUNNING
    assert master.see(succeeded(1, FIRST + 1)).effects[0] == fx.SendAck(1, [FIRST + 1])


def test_a_lost_recall_is_sent_again_after_a_heartbeat() -> None:
    master = two_busy_workers()
    assert fx.SendRecall(1, [FIRST + 1]) in master.see(succeeded(2, FIRST + 2, FIRST + 3)).effects
    decision = master.see(inputs.WorkerBeat(1, [FIRST, FIRST + 1], [1.0, 0.0]))
    assert decision.effects == [fx.SendRecall(1, [FIRST + 1])]


def test_no_job_is_recalled_for_a_worker_that_cannot_run_it_or_from_its_own_node() -> None:
    master = Master(Settings(prefetch=1))
    decision = master.see(register("w1"), register("w2", origin=2, capabilities=("GPU",)), submit(alike("a b", TRUE)))
    assert not [e for e in decision.effects if isinstance(e, fx.SendRecall)]


def test_an_even_share_of_quick_jobs_is_recalled_at_once() -> None:
    master = Master(Settings(prefetch=1, prefetch_s=1.0, prefetch_max=100))
    master.see(register("w1"), register("w2", origin=2), submit(alike("a b", TRUE)))

    def quickly(worker: int, *leases: int) -> inputs.ResultsReported:
        return msgspec.structs.replace(succeeded(worker, *leases), finished=[1.001] * len(leases))

    master.see(quickly(1, FIRST), quickly(2, FIRST + 1))
    names = " ".join(f"j{i}" for i in range(160))
    master.see(submit(alike(names, TRUE), run="s"))
    held = {w.number: list(w.held) for w in master.state.workers.values()}
    assert [len(leases) for leases in held.values()] == [80, 80]
    decision = master.see(quickly(2, *held[2]))
    (recall,) = [e for e in decision.effects if isinstance(e, fx.SendRecall)]
    assert recall.worker == 1 and recall.leases == held[1][:-40:-1], "half of the 79 that wait, the newest first"
