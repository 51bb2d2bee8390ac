"""The state has the time of its last durable event, so a start need not search all jobs for it."""

from __future__ import annotations

from msgspec.structs import replace

from support.core import Master, alike, booted, register, replay, submit
from titan.core import inputs
from titan.core.events import events as ev
from titan.core.state import snapshot
from titan.core.state.state import State
from titan.model.dag import JobTemplate


def lived() -> Master:
    master = Master()
    master.see(register(), at=10.0)
    master.see(submit(alike("a b", JobTemplate(command="x"))), at=20.0)
    return master


def loaded(chunks: list[bytes]) -> State:
    state = State()
    snapshot.load(state, chunks)
    return state


def test_decided_at_is_the_time_of_the_last_durable_event() -> None:
    master = lived()
    assert master.state.decided_at == 20.0
    master.see(inputs.WorkerBeat(1, [], []), at=30.0)
    assert master.state.decided_at == 20.0, "WorkerHeard is not durable"
    assert replay(master.events).decided_at == 20.0


def test_an_event_without_a_time_leaves_decided_at_unchanged() -> None:
    master = lived()
    master.see(inputs.WorkerDraining(1), at=25.0)
    assert replay([*master.events[:-1], replace(master.events[-1], at=0.0)]).decided_at == 20.0


def test_a_snapshot_keeps_decided_at_and_an_older_snapshot_derives_it_from_its_jobs() -> None:
    master = lived()
    chunks = list(snapshot.dump(master.state))
    assert loaded(chunks).decided_at == 20.0
    master.state.decided_at = 0.0
    old = list(snapshot.dump(master.state))
    assert loaded(old).decided_at == 20.0


def test_a_clock_that_is_set_back_sets_decided_at_back() -> None:
    master = lived()
    master.see(booted(master.state, behind_s=15.0), at=5.0)
    assert isinstance(master.events[-1], ev.MasterStarted) and master.state.decided_at == 5.0
