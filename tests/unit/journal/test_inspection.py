"""Output of `titan journal inspect` and `titan journal verify`."""

from __future__ import annotations

from pathlib import Path
from queue import SimpleQueue

from titan.journal import (
    FileState,
    JournalWriter,
    SegmentDescription,
    SnapshotDescription,
    SyncPolicy,
    Verdict,
    inspect,
    verify,
    write_snapshot,
)
from titan.journal.files import segment_name, snapshot_name
from titan.journal.records import END_MARK_BYTES, encode_record, encode_segment_header
from titan.journal.watermark import Watermark, write_watermark


def fill(directory: Path) -> None:
    """Write a segment with the sequences 1-5, a segment with 6-7, and a snapshot at 5."""
    told: SimpleQueue[object] = SimpleQueue()
    journal = JournalWriter(directory, next_seq=1, term=4, policy=SyncPolicy.ALWAYS, on_synced=told.put, on_failed=told.put)
    journal.append(b"abc", 3)
    journal.append(b"de", 2)
    journal.rotate()
    journal.append(b"fg", 2)
    journal.close()
    write_snapshot(directory, seq=5, term=4, chunks=[b"state", b"more"])


def test_inspect_describes_every_file(tmp_path: Path) -> None:
    fill(tmp_path)
    assert inspect(tmp_path) == [
        SnapshotDescription(snapshot_name(5), 111, seq=5, term=4, chunks=2, verdict=Verdict(FileState.OK, 111), follows=6),
        SegmentDescription(segment_name(1), 176, 1, 5, records=2, events=5, terms=(4,), verdict=Verdict(FileState.OK, 176)),
        SegmentDescription(segment_name(6), 137, 6, 7, records=1, events=2, terms=(4,), verdict=Verdict(FileState.OK, 137)),
    ]
    assert [file.state for file in inspect(tmp_path)] == ["ok"] * 3
    report = verify(tmp_path)
    assert report.ok and (report.snapshot_seq, report.last_seq, report.records, report.events, report.notes) == (5, 7, 3, 7, ())


def test_an_empty_journal_is_ok(tmp_path: Path) -> None:
    assert inspect(tmp_path / "none") == []
    assert verify(tmp_path).ok and verify(tmp_path).last_seq == 0


def test_a_torn_tail_is_a_note_and_nothing_is_changed(tmp_path: Path) -> None:
    fill(tmp_path)
    last = tmp_path / segment_name(6)
    half = encode_segment_header(6) + encode_record(b"fg", first_seq=6, count=2, term=4, synced_seq=5)[:-1]
    last.write_bytes(half)
    write_watermark(tmp_path, Watermark(5, 6, 4))
    report = verify(tmp_path)
    assert report.ok and report.last_seq == 5
    assert report.notes == (f"{last.name}: torn at 62: record runs past the end of the file; cut off at the next start",)
    assert last.read_bytes() == half


def test_a_missing_end_of_a_closed_journal_is_a_problem(tmp_path: Path) -> None:
    fill(tmp_path)
    last = tmp_path / segment_name(6)
    whole = last.read_bytes()
    for size in (len(whole) - 1, 62):
        last.write_bytes(whole[:size])
        (problem,) = verify(tmp_path).problems
        assert problem.startswith(f"{last.name}: corrupt at ") and "neither its end mark nor the" in problem
    last.unlink()
    assert verify(tmp_path).problems == (
        f"{segment_name(1)}: corrupt at 176: the next segment, from sequence 6 on, is missing",
        f"{snapshot_name(5)}: the log continued after it in {last.name}, which is missing",
    )


def test_a_damaged_watermark_is_a_note(tmp_path: Path) -> None:
    fill(tmp_path)
    (tmp_path / "synced").write_bytes(b"rubbish")
    assert verify(tmp_path).ok
    assert verify(tmp_path).notes == ("synced: damaged: ignored, and written anew at the next start",)


def test_damage_is_a_problem_unless_a_snapshot_covers_it(tmp_path: Path) -> None:
    fill(tmp_path)
    first, snapshot = tmp_path / segment_name(1), tmp_path / snapshot_name(5)
    first.write_bytes(first.read_bytes()[: -1 - END_MARK_BYTES])
    covered = verify(tmp_path)
    assert covered.ok and covered.notes == (f"{first.name}: corrupt at 101: record runs past the end of the file",)
    snapshot.write_bytes(snapshot.read_bytes()[:-1])
    report = verify(tmp_path)
    assert not report.ok
    assert report.problems == covered.notes
    assert report.notes == (f"{snapshot.name}: corrupt at 95: bad snapshot footer; a recovery skips it",)


def test_missing_segments_are_problems(tmp_path: Path) -> None:
    fill(tmp_path)
    (tmp_path / segment_name(1)).unlink()
    assert verify(tmp_path).ok
    snapshot = tmp_path / snapshot_name(5)
    snapshot.write_bytes(b"")
    assert verify(tmp_path).problems == (f"{segment_name(6)}: sequences 1 to 5 are in no file",)
    (tmp_path / segment_name(6)).unlink()
    assert verify(tmp_path).problems == (
        f"{snapshot.name}: damaged, and there are no segments to continue from sequence 0",
        f"{segment_name(6)}: the newest segment is missing: the log had continued to sequence 7",
    )


def test_a_gap_in_the_middle_is_a_problem_unless_a_snapshot_covers_it(tmp_path: Path) -> None:
    fill(tmp_path)
    told: SimpleQueue[object] = SimpleQueue()
    journal = JournalWriter(tmp_path, next_seq=11, term=4, policy=SyncPolicy.ALWAYS, on_synced=told.put, on_failed=told.put)
    journal.append(b"k", 1)
    journal.close()
    gap = f"{segment_name(11)}: it should continue {segment_name(6)} with sequence 8"
    assert verify(tmp_path).problems == (gap,)
    write_snapshot(tmp_path, seq=10, term=4, chunks=[])
    assert verify(tmp_path).ok and verify(tmp_path).notes == (gap,)
