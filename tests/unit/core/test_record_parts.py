"""Many changes of one turn become several records. Changes of a transaction stay in one record."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from support.store import Talk, replayed
from titan.core.events import events as ev
from titan.core.events.records import divided, size_of
from titan.core.inputs import StoreWritten
from titan.core.state import snapshot
from titan.core.state.state import State
from titan.host.clock import SteadyClock
from titan.journal import read_records
from titan.master import core_loop
from titan.master.core_loop import CoreLoop
from titan.master.recovery import recover
from titan.master.storage import open_storage
from titan.model.settings import Settings
from titan.store import rewriting
from titan.store.context import Change
from titan.store.store import Store

PART_BYTES = 1 << 20
"""Size of a record in this test, instead of 16 MiB. Each value here is larger than a record."""


def sets(*sizes: int) -> list[Change]:
    return [(0, [b"SET", b"k%d" % i, b"v" * size]) for i, size in enumerate(sizes)]


def changed(changes: list[Change]) -> ev.StoreChanged:
    return ev.StoreChanged([db for db, _ in changes], [args for _, args in changes], 7.0)


def test_changes_are_divided_in_order_and_none_is_lost() -> None:
    changes = sets(*range(0, 3_000, 50))
    events: list[ev.Event] = [ev.MasterStarted(1, "c", 1.0), changed(changes[:30]), changed(changes[30:])]
    parts = list(divided(events, 5_000, 50_000))
    assert len(parts) > 10
    assert all(len(ev.encode(part)[0]) <= 6_000 for part in parts)
    found = [event for part in parts for event in part]
    assert found[0] == events[0]
    stored = [event for event in found[1:] if isinstance(event, ev.StoreChanged)]
    assert [args for event in stored for args in event.commands] == [args for _, args in changes]
    assert {event.at for event in stored} == {7.0}


def test_a_transaction_stays_in_one_record_unless_none_holds_it() -> None:
    inside = sets(900, 900, 900)
    unit = [(0, [b"MULTI"]), *inside, (0, [b"EXEC"])]
    events: list[ev.Event] = [changed([*sets(900), *unit, *sets(900)])]
    whole = [
        [args for event in part if isinstance(event, ev.StoreChanged) for args in event.commands]
        for part in divided(events, 1_000, 5_000)
    ]
    assert [args for _, args in unit] in whole
    pieces = [
        args
        for part in divided(events, 1_000, 2_000)
        for event in part
        if isinstance(event, ev.StoreChanged)
        for args in event.commands
    ]
    assert pieces == [args for _, args in [*sets(900), *inside, *sets(900)]], (
        "a start repeats each part, even if the last part is cut off"
    )


def test_sizes_are_at_least_those_of_the_bytes() -> None:
    for change in [*sets(0, 1, 100, 70_000), (1 << 33, [b"FLUSHDB"]), (3, [b"DEL", *[b""] * 70_000])]:
        assert len(ev.encode([changed([change])])[0]) - len(ev.encode([changed([])])[0]) <= size_of(change)


def test_a_turn_of_more_than_a_record_is_journaled_and_found_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(core_loop, "RECORD_BYTES", 1 << 20)
    changes = sets(*[300_000] * 20)

    async def main() -> None:
        failed: list[BaseException] = []
        recovered = recover(open_storage(tmp_path), Settings())
        recovered.state.store_is_live = True
        core = CoreLoop(
            recovered.state,
            SteadyClock(0.0),
            prepare=lambda effects: [],
            on_events=lambda events: None,
            on_pressure=lambda pressed: None,
            on_fatal=failed.append,
        )
        core.lead(recovered.follower, "c")
        core.see(StoreWritten(changes))
        async with asyncio.timeout(30):
            await core.settled()
            await core.close()
        assert not failed

    asyncio.run(main())
    assert max(len(record.payload) for record in read_records(tmp_path, 0)) < 2 << 20
    assert recover(open_storage(tmp_path), Settings()).state.store.digest() == replayed(changes).digest()


def test_large_values_are_many_commands_and_chunks_of_a_snapshot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rewriting, "PART_BYTES", PART_BYTES)
    monkeypatch.setattr(snapshot, "CHUNK_BYTES", PART_BYTES)
    talk = Talk(proto_max_bulk_len="1gb")
    big = 3 * PART_BYTES + 5
    talk(f"SETRANGE s {big - 1} x")
    value = b"v" * (PART_BYTES // 3)
    for number in range(9):
        talk.say([b"RPUSH", b"l", value])
        talk.say([b"HSET", b"h", b"%d" % number, value])
        talk.say([b"SADD", b"t", value + b"%d" % number])
    assert max(size_of(change) for change in talk.store.rewrite()) <= PART_BYTES + len(value) + 1_000
    copy = replayed(list(talk.store.rewrite()))
    assert copy.digest() == talk.store.digest()
    state = State(Settings())
    state.store = talk.store
    chunks = list(snapshot.dump(state))
    assert max(map(len, chunks)) < 2 * PART_BYTES + len(value) + snapshot.CHUNK_BYTES
    again = State(Settings())
    snapshot.load(again, iter(chunks))
    assert again.store.digest() == talk.store.digest()
    assert Store().digest() != again.store.digest()
