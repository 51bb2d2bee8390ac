"""Recovery of the state from a journal on disk, with and without a snapshot."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

from support.core import FIRST, Master, booted, dag, picture, register, results, started, submit, succeeded
from titan.core import inputs
from titan.core.events import events as ev
from titan.core.invariants import check
from titan.core.state import snapshot
from titan.core.state.state import State
from titan.core.step import step
from titan.journal import JournalWriter, SyncPolicy, latest_snapshot, open_journal
from titan.journal.records import END_MARK_BYTES, SEGMENT_HEADER_BYTES, encode_segment_header
from titan.journal.watermark import Watermark, write_watermark
from titan.master.compaction import MODULE, compact
from titan.master.recovery import recover, replay
from titan.master.storage import open_storage
from titan.model.settings import LoggedSettings, Settings
from titan.model.states import Outcome


def write(store: Path, turns: list[list[ev.Event]], *, next_seq: int = 1) -> int:
    """Write each turn as one record, and return the last sequence."""
    synced = threading.Event()
    last = next_seq - 1
    journal = JournalWriter(
        store,
        next_seq=next_seq,
        term=1,
        policy=SyncPolicy.ALWAYS,
        on_synced=lambda seq: synced.set() if seq == last else None,
        on_failed=lambda error: synced.set(),
    )
    for events in turns:
        payload, count = ev.encode(events)
        if count:
            last = journal.append(payload, count)
    journal.close()
    return last


def life() -> tuple[Master, list[list[ev.Event]]]:
    """Return a master and its events, turn by turn."""
    master, turns = Master(), []
    turns.append(list(master.events))
    script: list[tuple[float, list[inputs.Input]]] = [
        (1.0, [register(slots=2)]),
        (2.0, [submit(dag({"a": "", "b": "a", "c": "a"}), key="k")]),
        (3.0, [started(1, {FIRST: 3.0})]),
        (4.0, [results(1, (FIRST, Outcome.EXITED))]),
        (8.0, [inputs.TimePassed()]),
        (9.0, [succeeded(1, FIRST + 1)]),
        (10.0, [inputs.WorkerDraining(1)]),
    ]
    for at, moment in script:
        turns.append(master.see(*moment, at=at).events)
    return master, turns


def test_an_empty_home_recovers_to_an_empty_state(tmp_path: Path) -> None:
    recovered = recover(open_storage(tmp_path / "store"), Settings())
    assert (recovered.follower.seq, recovered.follower.events, recovered.dropped, recovered.warnings) == (0, 0, "", [])
    assert recovered.state.jobs == {} and recovered.state.term == 0


def test_the_log_gives_the_state_of_its_master(tmp_path: Path) -> None:
    master, turns = life()
    last = write(tmp_path, turns)
    recovered = recover(open_storage(tmp_path), Settings())
    check(recovered.state)
    assert picture(recovered.state) == picture(master.state)
    assert (recovered.follower.seq, recovered.follower.events) == (last, last)


def test_a_torn_tail_is_cut_off_and_reported(tmp_path: Path) -> None:
    _, turns = life()
    write(tmp_path, turns[:-1])
    whole = recover(open_storage(tmp_path), Settings())
    next_seq = whole.follower.seq + 1
    write(tmp_path, turns[-1:], next_seq=next_seq)
    newest = open_journal(tmp_path).segments[-1].path
    data = newest.read_bytes()[:-END_MARK_BYTES]
    newest.write_bytes(encode_segment_header(next_seq) + data[SEGMENT_HEADER_BYTES:-2])
    write_watermark(tmp_path, Watermark(next_seq - 1, next_seq, 1))
    recovered = recover(open_storage(tmp_path), Settings())
    assert recovered.dropped in recovered.warnings and "never acknowledged" in recovered.dropped
    assert picture(recovered.state) == picture(whole.state)
    assert recover(open_storage(tmp_path), Settings()).dropped == ""


def test_replay_can_stop_early(tmp_path: Path) -> None:
    _, turns = life()
    write(tmp_path, turns)
    seq = 0
    for events in turns:
        seq += ev.encode(events)[1]
        follower = replay(open_storage(tmp_path), Settings(), seq)
        assert follower.seq == seq
        check(follower.state)
    assert replay(open_storage(tmp_path), Settings(), 0).state.jobs == {}


def test_a_snapshot_and_the_log_after_it_give_the_state(tmp_path: Path) -> None:
    master, turns = life()
    middle = write(tmp_path, turns[:4])
    made = compact(open_storage(tmp_path), middle)
    assert made is not None and latest_snapshot(tmp_path).seq == middle
    assert compact(open_storage(tmp_path), middle) is None, "there is nothing newer to put into one"
    last = write(tmp_path, turns[4:], next_seq=middle + 1)
    recovered = recover(open_storage(tmp_path), Settings())
    check(recovered.state)
    assert picture(recovered.state) == picture(master.state)
    assert (recovered.follower.seq, recovered.follower.events) == (last, last - middle)


def test_a_snapshot_of_everything_needs_no_log(tmp_path: Path) -> None:
    master, turns = life()
    last = write(tmp_path, turns)
    # The compaction runs in a process of its own, because it lowers the priority of its process and
    # binds it to its parent. Otherwise both would also affect later tests.
    command = [sys.executable, "-m", MODULE, str(tmp_path), str(last), str(os.getpid())]
    assert subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip().endswith(".snap")
    recovered = recover(open_storage(tmp_path), Settings())
    assert (recovered.follower.seq, recovered.follower.events) == (last, 0)
    assert picture(recovered.state) == picture(master.state)


def test_a_damaged_snapshot_is_named_and_an_older_state_is_used(tmp_path: Path) -> None:
    master, turns = life()
    last = write(tmp_path, turns)
    made = compact(open_storage(tmp_path), last)
    assert made is not None
    path = Path(made.name)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)
    recovered = recover(open_storage(tmp_path), Settings())
    assert len(recovered.warnings) == 1 and str(path) in recovered.warnings[0]
    assert picture(recovered.state) == picture(master.state)


def all_of(state: State) -> list[object]:
    """Return everything that `apply` writes, including derived data and data that a restart sets
    again."""
    depths = {number: seat.depth for number, seat in state.pool.seats.items()}
    return [list(snapshot.dump(state)), sorted(state.timers), state.scale_due, depths]


def test_a_journal_is_replayed_with_its_own_settings_and_not_with_todays(tmp_path: Path) -> None:
    master = Master(Settings(loss_s=7.0, forget_s=70.0, prefetch=3, scale={"GPU": (0, 2)}, scale_every_s=5.0))
    master.see(register(), register("w2", origin=2), submit(dag({"a": ""})), at=1.0)
    master.see(inputs.WorkerLeaving(2), at=2.0)
    master.see(booted(master.state), at=3.0)
    write(tmp_path, [master.events])
    first = replay(open_storage(tmp_path), master.state.settings).state
    other = replay(open_storage(tmp_path), Settings(loss_s=300.0, forget_s=9.0, prefetch=0)).state
    assert all_of(other) == all_of(first)
    assert first.workers[1].deadline == 10.0 and first.scale_due == 8.0


def test_a_journal_without_settings_is_replayed_with_todays_until_a_start_records_them(tmp_path: Path) -> None:
    master = Master(Settings(loss_s=7.0))
    master.see(register(), at=1.0)
    master.see(booted(master.state), at=3.0)
    last = write(tmp_path, [[e for e in master.events if not isinstance(e, ev.SettingsChanged)]])
    state = replay(open_storage(tmp_path), Settings(loss_s=300.0)).state
    assert state.logged is None and state.workers[1].deadline == 303.0
    events = step(state, 4.0, [booted(state)]).events
    assert [type(e) for e in events] == [ev.SettingsChanged, ev.MasterStarted]
    write(tmp_path, [events], next_seq=last + 1)
    again = replay(open_storage(tmp_path), Settings(loss_s=9.0)).state
    assert again.workers[1].deadline == 304.0
    assert not any(isinstance(e, ev.SettingsChanged) for e in step(state, 5.0, [booted(state)]).events)


def test_a_snapshot_holds_the_settings(tmp_path: Path) -> None:
    master = Master(Settings(loss_s=7.0, prefetch=3))
    master.see(register(), at=1.0)
    master.see(booted(master.state), at=3.0)
    last = write(tmp_path, [master.events])
    before = replay(open_storage(tmp_path), Settings()).state
    assert compact(open_storage(tmp_path), last) is not None
    follower = replay(open_storage(tmp_path), Settings(prefetch=0))
    after = follower.state
    assert follower.events == 0 and after.in_force == LoggedSettings.of(master.state.settings)
    assert after.workers[1].deadline == 10.0 and all_of(after)[3] == all_of(before)[3] == {1: 3}
