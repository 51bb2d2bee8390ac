"""Burst workers in the core: the orders to start and stop them, the state after a restart, and
workers that are no burst workers. Also workers that are told to leave."""

from __future__ import annotations

from support.core import Master, alike, booted, register, submit, succeeded
from titan.core import effects as fx
from titan.core import inputs
from titan.core.apply.apply import apply
from titan.core.events import events as ev
from titan.core.invariants import check
from titan.core.state import snapshot
from titan.core.state.state import State
from titan.core.step import next_due, step
from titan.model.dag import JobTemplate
from titan.model.settings import Settings
from titan.model.states import JobState, WorkerState

SETTINGS = Settings(
    prefetch=0, loss_s=1000.0, scale={"GENERAL": (0, 2)}, scale_every_s=10.0, burst_idle_s=30.0, scale_cooldown_s=5.0
)
PLAIN = JobTemplate(command="true")
LOOK = inputs.TimePassed()


def master() -> Master:
    """Return a master with a permanent worker of one slot, and four jobs."""
    it = Master(SETTINGS)
    it.see(register("w1"), at=1.0)
    it.see(submit(alike("a b c d", PLAIN)), at=2.0)
    return it


def scaled() -> Master:
    """Return a master with two registered burst workers, each with a job."""
    it = master()
    it.see(LOOK, at=10.0)
    it.see(register("burst-1-1", origin=2), register("burst-1-2", origin=3), at=11.0)
    return it


def retired() -> Master:
    """Return a master on which all jobs are done and both burst workers were told to leave."""
    it = scaled()
    it.see(*(succeeded(n, *it.state.workers[n].held) for n in (1, 2, 3)), at=12.0)
    it.see(succeeded(1, *it.state.workers[1].held), at=13.0)
    it.see(LOOK, at=50.0)
    return it


def orders(effects: list[fx.Effect], kind: type) -> list[fx.Effect]:
    return [effect for effect in effects if isinstance(effect, kind)]


def test_a_queue_starts_burst_workers_by_names_of_their_own() -> None:
    it = master()
    assert next_due(it.state) == 10.0
    decided = it.see(LOOK, at=10.0)
    names = ["burst-1-1", "burst-1-2"]
    assert decided.events == [
        ev.BurstRequested(names, "GENERAL", ("GENERAL",), 1, "3 queued for 1 slot", 10.0),
        ev.ScaleReviewed(["GENERAL"], ["started 2: 3 queued for 1 slot"], [True], [True], 10.0),
    ]
    assert decided.effects == [fx.StartBurst(name, ("GENERAL",), 1) for name in names]
    assert it.see(LOOK, at=20.0).effects == []


def test_burst_workers_take_jobs_and_leave_when_they_were_idle_for_long() -> None:
    it = scaled()
    assert [job.state for job in it.state.jobs.values()].count(JobState.DISPATCHED) == 3
    it.see(*(succeeded(n, *it.state.workers[n].held) for n in (1, 2, 3)), at=12.0)
    it.see(succeeded(1, *it.state.workers[1].held), at=13.0)
    assert it.see(LOOK, at=41.0).effects == []
    decided = it.see(LOOK, at=51.5)
    assert orders(decided.effects, fx.SendLeave) == [fx.SendLeave(2, False), fx.SendLeave(3, False)]
    assert [it.state.workers[n].draining for n in (1, 2, 3)] == [False, True, True]
    assert it.see(inputs.WorkerBeat(2, [], []), at=52.0).effects == [fx.SendLeave(2, False)]


def test_a_burst_worker_that_ended_is_forgotten_with_its_name() -> None:
    it = retired()
    it.see(inputs.WorkerLeaving(2), at=51.0)
    decided = it.see(inputs.BurstGone("burst-1-1", "it ended with code 0"), at=52.0)
    assert decided.events == [ev.WorkersForgotten([2], 52.0), ev.BurstEnded(["burst-1-1"], "it ended with code 0", 52.0)]
    assert list(it.state.workers) == [1, 3]
    assert list(it.state.bursts) == ["burst-1-2"]
    assert [it.state.worker_name(n) for n in (1, 2, 9)] == ["w1", "burst-1-1", "a forgotten worker"]
    assert it.see(inputs.WorkerBeat(2, [], []), inputs.WorkerDisconnected(2, 2), at=53.0) == ([], [])
    late = it.see(register("burst-1-1", origin=9), at=54.0)
    (refusal,) = late.effects
    assert isinstance(refusal, fx.Refuse)
    assert "the master has no burst worker 'burst-1-1'" in refusal.message
    it.see(register("w2", origin=10), at=55.0)
    assert it.state.worker_numbers == {"w1": 1, "burst-1-2": 3, "w2": 4}


def test_a_burst_worker_that_dies_with_a_job_is_lost_and_the_job_counts_the_loss() -> None:
    it = scaled()
    (number,) = it.state.workers[2].held.values()
    it.see(inputs.AttemptsStarted(2, list(it.state.workers[2].held), [11.5]), at=11.5)
    decided = it.see(inputs.BurstGone("burst-1-1", "it was killed by signal 9"), at=12.0)
    assert [type(e) for e in decided.events[:2]] == [ev.WorkerLost, ev.JobsLost]
    assert orders(decided.effects, fx.Disconnect) == [fx.Disconnect(2)]
    assert (it.state.jobs[number].losses, it.state.jobs[number].state) == (1, JobState.QUEUED)


def restarted(it: Master, *bursts: str) -> tuple[State, list[ev.Event], list[fx.Effect]]:
    state = State(SETTINGS)
    snapshot.load(state, snapshot.dump(it.state))
    state.reindex()
    events, effects = step(state, 60.0, [booted(state, bursts)])
    check(state)
    return state, events, effects


def test_burst_workers_that_ended_with_the_master_count_no_loss() -> None:
    it = scaled()
    it.see(inputs.AttemptsStarted(2, list(it.state.workers[2].held), [11.5]), at=11.5)
    state, events, effects = restarted(it)
    assert state.bursts == {}
    assert list(state.workers) == [1]
    assert [job.losses for job in state.jobs.values()] == [0, 0, 0, 0]
    assert [type(e) for e in events].count(ev.WorkerLeft) == 2
    assert effects == []


def test_after_a_restart_known_burst_workers_are_kept_and_unknown_ones_are_stopped() -> None:
    state, events, effects = restarted(scaled(), "burst-1-1", "burst-1-2", "burst-0-9")
    assert list(state.bursts) == ["burst-1-1", "burst-1-2"]
    assert [type(e) for e in events] == [ev.MasterStarted]
    assert effects == [fx.StopBurst("burst-0-9")]


def test_a_burst_worker_that_never_registers_is_stopped() -> None:
    it = master()
    it.see(LOOK, at=10.0)
    decided = it.see(LOOK, at=200.0)
    assert orders(decided.effects, fx.StopBurst) == [fx.StopBurst("burst-1-1"), fx.StopBurst("burst-1-2")]
    assert not orders(decided.effects, fx.StartBurst), "stopped burst workers count until they have ended"
    late = it.see(register("burst-1-1", origin=4), at=201.0)
    assert orders(late.effects, fx.SendLeave) == [fx.SendLeave(2, False)]


def test_nothing_is_scaled_without_a_rule() -> None:
    it = Master(Settings(prefetch=0))
    it.see(submit(alike("a", PLAIN)), at=1.0)
    assert next_due(it.state) is None


# -- workers that are told to leave ----------------------------------------------------------------
def tell(name: str, *, now: bool = False) -> inputs.WorkerToldToLeave:
    return inputs.WorkerToldToLeave(8, 5, name, now)


def test_the_order_to_leave_is_repeated_until_the_worker_has_left() -> None:
    it = master()
    decided = it.see(tell("w1"), at=3.0)
    assert decided.events == [ev.WorkerDrained(1, 3.0), ev.WorkerAsked(1, False, 3.0)]
    assert decided.effects == [fx.SendLeave(1, False), fx.ReplyTold(8, 5, "ALIVE", 1)]
    lease = list(it.state.workers[1].held)
    assert fx.SendLeave(1, False) in it.see(inputs.WorkerBeat(1, lease, [0.0]), at=4.0).effects
    assert fx.SendLeave(1, True) in it.see(tell("w1", now=True), at=5.0).effects
    assert fx.SendLeave(1, True) in it.see(tell("w1"), at=5.5).effects, "a later request without `now` does not revoke the first"
    it.see(inputs.WorkerDisconnected(1, 1), at=6.0)
    again = it.see(register("w1", origin=7, held={lease[0]: 0.0}), at=7.0)
    assert fx.SendLeave(1, True) in again.effects


def test_the_next_process_of_its_name_was_not_meant() -> None:
    it = master()
    it.see(tell("w1"), at=3.0)
    it.see(inputs.WorkerLeaving(1), at=4.0)
    it.see(register("w1", origin=7, incarnation="2"), at=5.0)
    assert (it.state.workers[1].draining, it.state.workers[1].asked) == (False, 0)
    assert it.state.workers[1].held


def test_the_order_to_leave_for_an_unknown_or_departed_worker_is_refused() -> None:
    it = master()
    (refusal,) = it.see(tell("w9"), at=3.0).effects
    assert isinstance(refusal, fx.Refuse)
    assert (refusal.code, refusal.message) == ("not_found", "there is no worker 'w9': `titan workers` lists them")
    it.see(inputs.WorkerLeaving(1), at=4.0)
    assert it.see(tell("w1"), at=5.0) == ([], [fx.ReplyTold(8, 5, "LEFT", 0)])


def test_workers_that_are_gone_for_long_are_forgotten() -> None:
    it = Master(Settings(prefetch=0, loss_s=1000.0, forget_s=100.0))
    it.see(register("w1"), register("w2", origin=2), at=1.0)
    it.see(inputs.WorkerLeaving(1), at=2.0)
    it.see(inputs.WorkerLeaving(2), at=2.0)
    it.see(register("w1", origin=3, incarnation="2"), at=50.0)
    assert it.see(LOOK, at=102.0).events == [ev.WorkersForgotten([2], 102.0)]
    assert it.state.workers[1].state is WorkerState.ALIVE
    again = State(it.state.settings)
    for event in it.events:
        apply(again, event)
    assert list(snapshot.dump(again)) == list(snapshot.dump(it.state))
