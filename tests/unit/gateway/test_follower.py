"""A follower of a log has the same state as the leader after each step, and can become the
leader."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from support.core import Master, booted, dag, picture, register, submit
from titan.core.events import events as ev
from titan.core.invariants import check
from titan.core.state import snapshot
from titan.errors import Bug, JournalCorrupt, JournalTooNew
from titan.gateway.follower import Follower
from titan.journal import MemoryEngine, OpenLog
from titan.model.settings import Settings

OURS = b"this test"


def opened(engine: MemoryEngine, after_seq: int = 0) -> OpenLog:
    return engine.open(after_seq=after_seq, above_term=0, on_durable=lambda seq: None, on_failed=lambda error: None)


def follower(engine: MemoryEngine, *, live: bool = False) -> Follower:
    return Follower(engine, Settings(prefetch=0), origin=OURS, live=live)


class Leader:
    """Master that writes each turn as a record."""

    def __init__(self) -> None:
        self.engine = MemoryEngine(origin=OURS)
        self.log = opened(self.engine)
        self.master = Master()
        self._append(self.master.events)
        self.turns: list[Callable[[], None]] = [
            lambda: self._see(register(slots=2), at=1.0),
            *(lambda i=i: self._see(submit(dag({"a": "", "b": "a"}), run=f"r{i}", key=f"k{i}"), at=2.0 + i) for i in range(5)),
            lambda: self._see(booted(self.master.state), at=9.0),
        ]

    def _see(self, *inputs: object, at: float) -> None:
        self._append(self.master.see(*inputs, at=at).events)  # type: ignore[arg-type]

    def _append(self, events: list[ev.Event]) -> None:
        payload, count = ev.encode(events)
        self.log.append(payload, count)

    def snapshot(self) -> None:
        self.engine.put_snapshot(seq=self.log.next_seq - 1, term=1, chunks=list(snapshot.dump(self.master.state)))

    def compact(self) -> None:
        self.snapshot()
        self.engine.prune(keep_snapshots=1)


def test_a_follower_has_the_leaders_state_after_every_turn() -> None:
    leader = Leader()
    standby, late = follower(leader.engine, live=True), follower(leader.engine, live=True)
    for turn in leader.turns:
        turn()
        before = standby.seq
        assert standby.follow() == standby.seq - before > 0
        standby.settle()
        check(standby.state)
        assert picture(standby.state) == picture(leader.master.state) and standby.seq == leader.log.next_seq - 1
    assert standby.follow() == 0
    late.follow()
    late.settle()
    assert picture(late.state) == picture(standby.state) and late.events == standby.events == standby.seq


def test_a_follower_begins_at_the_newest_snapshot() -> None:
    leader = Leader()
    for turn in leader.turns[:3]:
        turn()
    leader.snapshot()
    through = leader.log.next_seq - 1
    for turn in leader.turns[3:]:
        turn()
    new = follower(leader.engine)
    assert new.follow() == new.events == leader.log.next_seq - 1 - through
    new.settle()
    assert picture(new.state) == picture(leader.master.state)


def test_a_follower_stops_at_the_end_of_a_record() -> None:
    leader = Leader()
    ends = []
    for turn in leader.turns:
        turn()
        ends.append(leader.log.next_seq - 1)
    new = follower(leader.engine)
    new.follow(ends[1] + 1)
    assert new.seq == ends[1] if ends[2] > ends[1] + 1 else ends[1] + 1
    new.follow(ends[3])
    assert new.seq == ends[3]
    new.follow()
    assert new.seq == ends[-1]


def test_a_follower_left_behind_by_a_compaction_continues_from_the_snapshot() -> None:
    leader = Leader()
    standby = follower(leader.engine, live=True)
    leader.turns[0]()
    standby.follow()
    for turn in leader.turns[1:5]:
        turn()
    leader.compact()
    leader.turns[5]()
    standby.follow()
    standby.settle()
    assert picture(standby.state) == picture(leader.master.state) and standby.seq == leader.log.next_seq - 1


def test_missing_records_are_damage_for_the_owner_of_the_log() -> None:
    leader = Leader()
    owner = follower(leader.engine)
    leader.turns[0]()
    owner.follow()
    for turn in leader.turns[1:3]:
        turn()
    leader.compact()
    with pytest.raises(JournalCorrupt, match="are missing"):
        owner.follow()


def test_an_event_of_a_later_titan_is_refused() -> None:
    engine = MemoryEngine(origin=b"99.0 later")
    payload, count = ev.encode(Master().events)
    opened(engine).append(payload.replace(b"master_started", b"master_stirred"), count)
    with pytest.raises(JournalTooNew, match=r"Titan 99\.0 wrote it"):
        follower(engine).follow()


def test_an_event_that_does_not_follow_is_named() -> None:
    leader = Leader()
    leader._append([ev.WorkerDrained(77, 3.0)])
    with pytest.raises(Bug, match=rf"sequence {leader.log.next_seq - 1} of the journal, WorkerDrained, contradicts"):
        follower(leader.engine).follow()
