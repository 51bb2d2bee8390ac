"""Replay of a journal that is being written, and of an old journal whose events lack times."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

from titan.core.events import events as ev
from titan.journal import JournalWriter, SyncPolicy, latest_snapshot
from titan.master.recovery import replay
from titan.master.replay import END, Moment, open_playback
from titan.master.storage import open_storage
from titan.model.settings import Settings

ROOT = Path(__file__).parents[2]
RECORDS = 1_000
NOW = 4e9


def test_a_replay_of_a_journal_that_is_being_written_gives_a_prefix(tmp_path: Path) -> None:
    synced = threading.Event()
    writer = JournalWriter(
        tmp_path / "store", next_seq=1, term=1, policy=SyncPolicy.NO, segment_bytes=1 << 14,
        on_synced=lambda seq: synced.set() if seq >= 2 * RECORDS else None, on_failed=lambda error: None,
    )  # fmt: skip

    def write() -> None:
        writer.append(*ev.encode([ev.MasterStarted(1, "c", 1.0), ev.StoreChanged([0], [[b"SET", b"n", b"0"]], 1.0)]))
        for i in range(1, RECORDS):
            changes: list[ev.Event] = [
                ev.StoreChanged([0], [[b"INCR", b"n"]], float(1 + i)),
                ev.StoreChanged([0], [[b"INCR", b"m"]], float(1 + i)),
            ]
            writer.append(*ev.encode(changes))

    thread = threading.Thread(target=write)
    thread.start()
    seen = 0
    while thread.is_alive() or not synced.is_set():
        if not list((tmp_path / "store").glob("*.seg")):
            continue
        playback = open_playback(tmp_path, None, NOW)
        for step in playback.play(END):
            seen = max(seen, step.seq)
        assert playback.seq % 2 == 0, "whole records"
    thread.join()
    writer.close()
    assert seen > 0
    for end in (2, 1001, 2 * RECORDS):
        playback = open_playback(tmp_path, Moment(seq=end), NOW)
        playback.run(Moment(seq=end))
        assert playback.seq == end
    playback = open_playback(tmp_path, Moment(at=501.5), NOW)
    state = playback.run(Moment(at=501.5))
    assert playback.seq == 2 * 501
    assert [args for _, args in state.store.rewrite()] == [[b"SET", b"n", b"500"], [b"SET", b"m", b"500"]]


def test_an_old_journal_is_replayed(tmp_path: Path) -> None:
    """Some events of this old journal have no time. They count with the events before them."""
    store = tmp_path / "store"
    shutil.copytree(ROOT / "journals" / "v1", store)
    follower = replay(open_storage(store), Settings())
    state, last = follower.state, follower.seq
    playback = open_playback(tmp_path, END, NOW)
    shown = playback.run(END)
    assert (playback.seq, len(shown.jobs), len(shown.runs)) == (last, len(state.jobs), len(state.runs))
    assert playback.at > 0
    snapshot = latest_snapshot(store)
    times = {step.seq: step.at for step in open_playback(tmp_path, None, NOW).play(END)}
    assert list(times.values()) == sorted(times.values())
    for seq, at in times.items():
        if seq > snapshot.seq:
            again = open_playback(tmp_path, Moment(at=at), NOW)
            again.run(Moment(at=at))
            assert again.seq >= seq and times[again.seq] == at
