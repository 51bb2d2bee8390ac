"""Gates open, are decided once, by name or by token, and are rejected when their time is up."""

from __future__ import annotations

import pytest

from support.core import CLIENT, FIRST, Master, booted, cancel, dag, picture, refusal, register, replay, submit, succeeded
from titan.core import effects as fx
from titan.core import inputs
from titan.core.events import events as ev
from titan.core.state.story import story
from titan.core.step import next_due
from titan.model.causes import Cause
from titan.model.dag import Gate, JobTemplate
from titan.model.states import JobState, RunState

GATE = JobTemplate(kind="gate", gate=Gate("ship it?", 100.0))
HOOKED = JobTemplate(kind="gate", gate=Gate("ship it?", 100.0, "http://127.0.0.1/hook"))
WAITING, PAUSED, COMPLETED, CANCELLED = JobState.WAITING, JobState.PAUSED, JobState.COMPLETED, JobState.CANCELLED


def opened(gate: JobTemplate = GATE) -> Master:
    """Return a master with a -> gate -> b. a is done, and the gate has been open since 1.0."""
    master = Master()
    master.see(register(), submit(dag({"a": "", "gate": "a", "b": "gate"}, {"gate": gate})))
    master.see(succeeded(1, FIRST), at=1.0)
    return master


def decision(approve: bool = True, *, key: str = "k", by: str = "ann", token: bytes = b"") -> inputs.GateDecisionMade:
    run, job = ("", "") if token else ("r", "gate")
    return inputs.GateDecisionMade(CLIENT, 8, run, job, approve, by, "well", key, token)


def test_a_ready_gate_is_paused_and_takes_no_slot() -> None:
    master = opened()
    assert master.states() == [COMPLETED, PAUSED, WAITING]
    assert ev.GatesOpened([FIRST + 1], [101.0], 1.0) in master.events
    assert not master.state.workers[1].held and next_due(master.state) is not None
    assert story(master.state, FIRST + 1)[-1] == "1.000  PAUSED until 101.000: ship it?"


def test_an_approved_gate_is_completed_and_its_children_run() -> None:
    master = opened()
    assert master.see(decision(), at=5.0) == (
        [
            ev.GatesDecided([FIRST + 1], True, "ann", "well", "k", 5.0),
            ev.JobsQueued([FIRST + 2], 5.0),
            ev.JobsDispatched(1, [FIRST + 2], FIRST + 1, 5.0),
        ],
        [fx.ReplyDecided(CLIENT, 8, "r", "gate", True, "ann", 5.0), fx.SendDispatch(1, [FIRST + 2], FIRST + 1)],
    )
    assert "5.000  approved by ann: well" in story(master.state, FIRST + 1)


def test_a_rejected_gate_is_cancelled_with_its_descendants_and_the_run_is_failed() -> None:
    master = opened()
    events, _ = master.see(decision(approve=False), at=5.0)
    assert events == [
        ev.GatesDecided([FIRST + 1], False, "ann", "well", "k", 5.0),
        ev.JobsCancelled([FIRST + 2], "its ancestor gate was rejected by ann: well", 5.0, cause=Cause.ANCESTOR),
        ev.RunFinished("r", RunState.FAILED, 5.0),
    ]
    assert not master.state.dead


def test_a_second_decision_is_a_conflict_unless_it_is_the_same_request() -> None:
    master = opened()
    first = master.see(decision(), at=5.0)
    assert master.see(decision(), at=6.0) == ([], [first.effects[0]])
    told = ("conflict", "gate r/gate was approved already, by ann: a gate is decided once")
    assert refusal(master.see(decision(key="other"))) == told
    assert refusal(master.see(decision(approve=False))) == told


def test_of_two_decisions_in_one_turn_the_first_counts() -> None:
    master = opened()
    decided = master.see(decision(key="a"), decision(approve=False, key="b", by="bob"), at=5.0)
    assert [type(e) for e in decided.effects[:2]] == [fx.ReplyDecided, fx.Refuse]
    assert master.job(1).state is COMPLETED


def test_an_undecided_gate_is_rejected_when_its_time_is_up() -> None:
    master = opened()
    master.see(inputs.TimePassed(), at=100.9)  # this also makes the worker LOST
    assert master.job(1).state is PAUSED
    events, _ = master.see(inputs.TimePassed(), at=101.0)
    assert events[0] == ev.GatesDecided([FIRST + 1], False, "", "nobody decided within 100 s", "", 101.0)
    assert master.states() == [COMPLETED, CANCELLED, CANCELLED]
    assert refusal(master.see(decision()))[1] == "gate r/gate was rejected already, when its time was up: a gate is decided once"


@pytest.mark.parametrize("approve", [True, False])
def test_the_time_limit_and_the_decision_of_a_gate_survive_a_restart(approve: bool) -> None:
    master = opened()
    master.state = replay(master.events)
    assert list(master.state.gates) == [FIRST + 1] and next_due(master.state) is not None
    first = master.see(decision(approve), at=5.0)
    master.state = replay(master.events)
    assert picture(replay(master.events)) == picture(master.state)
    assert master.see(decision(approve), at=6.0).effects == first.effects[:1]


def test_deciding_an_unknown_or_closed_gate_is_refused() -> None:
    master = Master()
    master.see(submit(dag({"a": "", "gate": "a"}, {"gate": GATE})))
    assert refusal(master.see(decision()))[1] == "gate r/gate is not open yet: it waits for 1 of its 1 parents"
    other = inputs.GateDecisionMade(CLIENT, 8, "r", "a", True, "ann", "", "k")
    assert refusal(master.see(other)) == ("caller", "r/a is no gate: `titan gates` lists the open ones")
    other = inputs.GateDecisionMade(CLIENT, 8, "r", "x", True, "ann", "", "k")
    assert refusal(master.see(other))[0] == "not_found"
    other = inputs.GateDecisionMade(CLIENT, 8, "x", "x", True, "ann", "", "k")
    assert refusal(master.see(other))[0] == "not_found"
    master.see(cancel("r"))
    assert refusal(master.see(decision()))[1] == "gate r/gate is CANCELLED and cannot be decided: cancelled by a user"


def test_a_cancelled_gate_is_closed_and_its_timer_void() -> None:
    master = opened()
    master.see(cancel("r", "gate"), at=2.0)
    assert not master.state.gates
    assert not any(isinstance(e, ev.GatesDecided) for e in master.see(inputs.TimePassed(), at=200.0).events)
    assert master.states()[1:] == [CANCELLED, CANCELLED]


def test_a_gate_without_parents_opens_at_once_and_a_delayed_gate_opens_later() -> None:
    master = Master()
    late = JobTemplate(kind="gate", gate=Gate(), delay_s=5.0)
    master.see(submit(dag({"now": "", "late": ""}, {"now": GATE, "late": late})), at=1.0)
    assert master.states() == [PAUSED, JobState.DELAYED]
    master.see(inputs.TimePassed(), at=6.0)
    assert master.states() == [PAUSED, PAUSED]
    assert master.job(1).due == 6.0 + 48 * 3600.0


def test_affinity_looks_through_a_gate() -> None:
    near = JobTemplate(command="true", affinity=True)
    master = Master()
    master.see(register("w1"), submit(dag({"a": "", "gate": "a", "b": "gate"}, {"gate": GATE, "b": near})))
    master.see(register("w2", origin=2), succeeded(1, FIRST), submit(dag({"long": ""}), run="s"), at=1.0)
    master.see(decision(), at=2.0)
    assert master.job(2).pin == 1 or master.job(2).worker == 1


# -- webhooks and tokens ---------------------------------------------------------------------------
def test_a_gates_webhook_is_announced_at_the_opening_and_at_each_start_until_the_delivery_is_recorded() -> None:
    master = Master()
    master.see(submit(dag({"gate": ""}, {"gate": HOOKED})))
    announce = fx.AnnounceGate(FIRST)
    assert ev.GatesOpened([FIRST], [100.0], 0.0) in master.events
    master.state = replay(master.events)
    assert master.see(booted(master.state)).effects == [announce]
    assert master.see(inputs.WebhookAnswered(FIRST, "delivered"), at=3.0).events == [ev.WebhookEnded(FIRST, "delivered", 3.0)]
    assert master.see(inputs.WebhookAnswered(FIRST, "given up")).events == []
    master.state = replay(master.events)
    assert master.see(booted(master.state)).effects == []
    assert "3.000  its webhook was delivered" in story(master.state, FIRST)


def test_a_token_decides_once() -> None:
    master = opened(HOOKED)
    assert master.see(inputs.TokenDrawn(FIRST + 1, b"one")).events == [ev.TokenIssued(FIRST + 1, b"one", 1.0)]
    master.see(inputs.TokenDrawn(FIRST + 1, b"two"))
    master.state = replay(master.events)
    assert refusal(master.see(decision(token=b"three")))[0] == "not_found"
    reply = master.see(decision(token=b"one"), at=5.0).effects[0]
    assert reply == fx.ReplyDecided(CLIENT, 8, "r", "gate", True, "ann", 5.0)
    assert master.see(decision(token=b"one"), at=6.0).effects == [reply]
    for token in (b"one", b"two"):
        assert refusal(master.see(decision(token=token, key="other")))[0] == "conflict"
    assert master.see(inputs.TokenDrawn(FIRST + 1, b"late")).events == []


def test_only_the_newest_tokens_are_good_and_they_leave_with_their_run() -> None:
    master = Master()
    master.see(submit(dag({"gate": ""}, {"gate": HOOKED})))
    for i in range(20):
        master.see(inputs.TokenDrawn(FIRST, bytes([i])))
    assert len(master.state.tokens) == 16 and refusal(master.see(decision(token=bytes([3]))))[0] == "not_found"
    master.see(decision(token=bytes([4])))
    master.see(inputs.HistoryKept(["r"]))
    assert not master.state.tokens and not master.state.jobs
