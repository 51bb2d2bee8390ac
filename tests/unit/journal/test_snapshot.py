"""Snapshots and retention: writing and reading, every cut, fallback to an older snapshot, and
pruning."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from titan.errors import JournalCorrupt
from titan.journal import latest_snapshot, prune, read_snapshot, write_snapshot
from titan.journal.files import segment_name, snapshot_name
from titan.journal.records import encode_segment_header

CHUNKS = [b"first", b"", b"x" * 70]


def write_segment(directory: Path, first_seq: int) -> Path:
    path = directory / segment_name(first_seq)
    path.write_bytes(encode_segment_header(first_seq))
    return path


def damage(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def test_a_snapshot_comes_back(tmp_path: Path) -> None:
    path = write_snapshot(tmp_path, seq=12, term=3, chunks=iter(CHUNKS))
    assert [p.name for p in tmp_path.iterdir()] == [path.name] == [snapshot_name(12)]
    seq, term, chunks, origin = read_snapshot(path)
    assert (seq, term, list(chunks), origin) == (12, 3, CHUNKS, b"")
    write_snapshot(tmp_path, seq=12, term=4, chunks=[], origin=b"titan 9")
    seq, term, chunks, origin = read_snapshot(path)
    assert (seq, term, list(chunks), origin) == (12, 4, [], b"titan 9")


def test_every_cut_and_every_flipped_bit_of_a_snapshot_is_noticed(tmp_path: Path) -> None:
    path = write_snapshot(tmp_path, seq=12, term=3, chunks=CHUNKS)
    whole = path.read_bytes()
    bad = [whole[:cut] for cut in range(len(whole))] + [whole + b"\0"]
    bad += [whole[:at] + bytes([whole[at] ^ 1 << at % 8]) + whole[at + 1 :] for at in range(len(whole))]
    for data in bad:
        path.write_bytes(data)
        found: list[bytes] = []
        with pytest.raises(JournalCorrupt) as caught:
            found.extend(_each(path))
        assert caught.value.path == str(path) and caught.value.offset <= len(data)
        assert found == CHUNKS[: len(found)]


def _each(path: Path) -> Iterator[bytes]:
    yield from read_snapshot(path).chunks


def test_chunks_that_changed_places_are_noticed(tmp_path: Path) -> None:
    path = write_snapshot(tmp_path, seq=1, term=1, chunks=[b"aaaa", b"bbbb"])
    data = path.read_bytes()
    start = len(data) - 16 - 24
    path.write_bytes(data[:start] + data[start + 12 : start + 24] + data[start : start + 12] + data[start + 24 :])
    with pytest.raises(JournalCorrupt, match="bad snapshot chunk"):
        list(read_snapshot(path).chunks)


def test_a_writer_that_gives_up_leaves_nothing(tmp_path: Path) -> None:
    def chunks() -> Iterator[bytes]:
        yield b"a"
        raise RuntimeError("state is broken")

    with pytest.raises(RuntimeError):
        write_snapshot(tmp_path, seq=1, term=1, chunks=chunks())
    assert list(tmp_path.iterdir()) == []


def test_without_snapshots_a_recovery_starts_at_the_beginning(tmp_path: Path) -> None:
    assert tuple(latest_snapshot(tmp_path)) == (None, 0, 0, ())
    assert tuple(latest_snapshot(tmp_path / "none")) == (None, 0, 0, ())


def test_the_newest_snapshot_is_taken(tmp_path: Path) -> None:
    for seq in (5, 9, 7):
        path = write_snapshot(tmp_path, seq=seq, term=seq * 10, chunks=[])
    choice = latest_snapshot(tmp_path)
    assert (choice.path, choice.seq, choice.term, choice.damaged) == (path.with_name(snapshot_name(9)), 9, 90, ())


def test_a_damaged_newest_snapshot_is_reported_and_an_older_one_is_used(tmp_path: Path) -> None:
    older = write_snapshot(tmp_path, seq=5, term=1, chunks=[])
    newest = write_snapshot(tmp_path, seq=9, term=1, chunks=[])
    damage(newest)
    write_segment(tmp_path, 6)
    choice = latest_snapshot(tmp_path)
    assert (choice.path, choice.seq) == (older, 5)
    assert [(d.path, str(d.verdict)) for d in choice.damaged] == [(newest, "corrupt at 70: bad snapshot footer")]
    damage(older)
    with pytest.raises(JournalCorrupt, match="do not go back far enough") as caught:
        latest_snapshot(tmp_path)
    assert caught.value.path == str(newest)
    write_segment(tmp_path, 1)
    assert latest_snapshot(tmp_path).path is None and len(latest_snapshot(tmp_path).damaged) == 2


def test_no_falling_back_over_segments_that_are_gone(tmp_path: Path) -> None:
    write_snapshot(tmp_path, seq=5, term=1, chunks=[])
    damage(write_snapshot(tmp_path, seq=9, term=1, chunks=[]))
    with pytest.raises(JournalCorrupt):
        latest_snapshot(tmp_path)
    write_segment(tmp_path, 7)
    with pytest.raises(JournalCorrupt):
        latest_snapshot(tmp_path)


def test_prune_keeps_what_the_oldest_kept_snapshot_needs(tmp_path: Path) -> None:
    segments = {first: write_segment(tmp_path, first) for first in (1, 4, 7, 10)}
    assert prune(tmp_path) == []
    snapshots = {seq: write_snapshot(tmp_path, seq=seq, term=1, chunks=[]) for seq in (2, 3, 6, 9)}
    assert prune(tmp_path, keep_snapshots=4) == []
    assert prune(tmp_path) == [snapshots[2], snapshots[3], segments[1], segments[4]]
    assert sorted(tmp_path.iterdir()) == sorted([segments[7], segments[10], snapshots[6], snapshots[9]])
    assert prune(tmp_path) == []
    assert prune(tmp_path, keep_snapshots=1) == [snapshots[6], segments[7]]


def test_prune_never_takes_the_last_segment_nor_counts_on_a_damaged_snapshot(tmp_path: Path) -> None:
    first, last = write_segment(tmp_path, 1), write_segment(tmp_path, 4)
    damaged = write_snapshot(tmp_path, seq=50, term=1, chunks=[])
    damage(damaged)
    assert prune(tmp_path, keep_snapshots=1) == []
    write_snapshot(tmp_path, seq=2, term=1, chunks=[])
    assert prune(tmp_path, keep_snapshots=1) == []
    write_snapshot(tmp_path, seq=40, term=1, chunks=[])
    assert prune(tmp_path, keep_snapshots=1) == [tmp_path / snapshot_name(2), first]
    assert last.exists() and damaged.exists()
