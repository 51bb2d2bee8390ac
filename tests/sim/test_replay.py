"""Compare `titan replay` with the live state. For any moment of a simulation with faults, the
replay gives the state that the master had in memory at that moment."""

from __future__ import annotations

import functools
from bisect import bisect_right
from collections import Counter
from pathlib import Path
from random import Random
from typing import NamedTuple

import pytest

from titan.core.events import events as ev
from titan.core.state import snapshot
from titan.errors import JournalCorrupt, NotFound
from titan.journal import Record, write_snapshot
from titan.journal.files import list_segments, list_snapshots, segment_name
from titan.journal.records import encode_record, encode_segment_header
from titan.master.replay import END, Moment, open_playback
from titan.sim import run as sim
from titan.sim.master import SimMaster, canonical
from titan.sim.world import World

SEEDS = (*range(1, 24), 34)
MOMENTS = 100
NOW = 2_000_000_000.0


class Life(NamedTuple):
    """Course of a simulated master: its states in memory, and its records on disk."""

    records: list[Record]
    pictures: dict[int, bytes]
    """Last sequence of each record -> the durable part of the live state after this record."""
    times: dict[int, float]
    dumps: dict[int, list[bytes]]
    """Sequence -> snapshot of the live state, for some of the states."""


def live(seed: int, monkeypatch: pytest.MonkeyPatch) -> Life:
    pictures: dict[int, bytes] = {}
    times: dict[int, float] = {}
    dumps: dict[int, list[bytes]] = {}
    masters: list[SimMaster] = []
    append, start, rng = SimMaster._append, SimMaster.__init__, Random(seed)

    def recording(self: SimMaster, events: list[ev.Event]) -> int:
        seq = append(self, events)
        count = ev.encode(events)[1]
        if count:
            # A torn tail was lost, and its sequences are used again.
            for known in (pictures, times, dumps):
                for gone in [s for s in known if s > seq - count]:
                    del known[gone]
            pictures[seq], times[seq] = canonical(self.state), self.world.clock.now
            if rng.random() < 0.05:
                dumps[seq] = list(snapshot.dump(self.state))
        return seq

    def remembered(self: SimMaster, world: World) -> None:
        start(self, world)
        masters.append(self)

    monkeypatch.setattr(SimMaster, "_append", recording)
    monkeypatch.setattr(SimMaster, "__init__", remembered)
    sim.simulate(seed)
    return Life(list(masters[0].disk.tail()), pictures, times, dumps)


def write(home: Path, life: Life) -> list[int]:
    """Write the home of such a master: segments of 8 records, and the snapshots. Return the
    sequences of the snapshots."""
    store = home / "store"
    store.mkdir(parents=True)
    for i in range(0, len(life.records), 8):
        part = life.records[i : i + 8]
        data = encode_segment_header(part[0].first_seq)
        for r in part:
            data += encode_record(r.payload, first_seq=r.first_seq, count=r.count, term=r.term, synced_seq=r.synced_seq)
        (store / segment_name(part[0].first_seq)).write_bytes(data)
    ends = {r.last_seq: r.term for r in life.records}
    kept = sorted(seq for seq in life.dumps if seq in ends)
    for seq in kept:
        write_snapshot(store, seq=seq, term=ends[seq], chunks=life.dumps[seq])
    return kept


def replayed(home: Path, moment: Moment) -> bytes:
    playback = open_playback(home, moment, NOW)
    for _ in playback.play(moment):
        pass
    return canonical(playback.state)


def moments(life: Life, count: int) -> list[tuple[Moment, int]]:
    """Return (moment, last sequence of the newest record at that moment)."""
    rng, ends = Random(5), [r.last_seq for r in life.records]
    times = [life.times[end] for end in ends]
    chosen = [(Moment(seq=end), end) for end in rng.choices(ends, k=count // 2)]
    while len(chosen) < count:
        at = rng.uniform(times[0], times[-1] + 100.0)
        chosen.append((Moment(at=at), ends[bisect_right(times, at) - 1]))
    return chosen


@functools.cache
def life_of(seed: int) -> Life:
    """Return the course of a seed. Each seed is simulated once per process, when a test first needs
    it."""
    with pytest.MonkeyPatch.context() as patch:
        return live(seed, patch)


def test_the_simulated_masters_met_archives_losses_restores_and_growth() -> None:
    happened = Counter(type(e) for life in map(life_of, SEEDS) for r in life.records for e in ev.decode(r.payload))
    assert all(happened[kind] for kind in (ev.RunArchived, ev.StoreChanged, ev.MasterStarted, ev.JobsLost, ev.RunFinished))
    assert happened[ev.RunRestored] and happened[ev.ServicesReported] and happened[ev.RunGrown]


@pytest.mark.parametrize("seed", SEEDS)
def test_a_replay_equals_what_was_in_memory(seed: int, tmp_path: Path) -> None:
    life = life_of(seed)
    snapshots = write(tmp_path, life)
    starts = set()
    for moment, end in moments(life, MOMENTS):
        assert replayed(tmp_path, moment) == life.pictures[end], moment
        starts.add(open_playback(tmp_path, moment, NOW).seq)
    assert len(snapshots) < 3 or starts & set(snapshots), "some began at a snapshot"
    assert replayed(tmp_path, END) == life.pictures[life.records[-1].last_seq]


def test_after_a_compaction_it_goes_back_to_the_oldest_snapshot(tmp_path: Path) -> None:
    life = max(map(life_of, SEEDS[:5]), key=lambda life: len(life.records))
    snapshots = write(tmp_path, life)
    first = snapshots[1]
    store = tmp_path / "store"
    for file, following in zip(segments := list_segments(store), segments[1:], strict=False):
        if following.seq <= first + 1:
            file.path.unlink()
    list_snapshots(store)[0].path.unlink()
    assert list_segments(store)[0].seq > 1
    for moment, end in moments(life, MOMENTS):
        if end >= first and (moment.seq or life.times[end] > life.times[first]):
            assert replayed(tmp_path, moment) == life.pictures[end], moment
    for early in (Moment(seq=first - 1), Moment(at=life.times[first] - 0.001), Moment(at=life.times[life.records[0].last_seq])):
        with pytest.raises(NotFound, match=f"goes back to sequence {first:,}, .*keep_journal=1"):
            open_playback(tmp_path, early, NOW)
    assert open_playback(tmp_path, None, NOW).seq == first


def test_a_damaged_snapshot_is_passed_over(tmp_path: Path) -> None:
    life = life_of(SEEDS[0])
    write(tmp_path, life)
    for file in list_snapshots(tmp_path / "store"):
        file.path.write_bytes(file.path.read_bytes()[:-1])
    end = life.records[-1].last_seq
    assert open_playback(tmp_path, Moment(seq=end), NOW).seq == 0
    assert replayed(tmp_path, Moment(seq=end)) == life.pictures[end]
    list_segments(tmp_path / "store")[0].path.unlink()
    with pytest.raises(JournalCorrupt, match="no snapshot"):
        open_playback(tmp_path, Moment(seq=end), NOW)


def test_a_tail_that_is_being_written_ends_it(tmp_path: Path) -> None:
    life = life_of(SEEDS[0])
    write(tmp_path, life)
    last = list_segments(tmp_path / "store")[-1].path
    last.write_bytes(last.read_bytes()[:-7] + bytes(4096))
    before = life.records[-2].last_seq
    assert replayed(tmp_path, END) == life.pictures[before]
