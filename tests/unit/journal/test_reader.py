"""Segments as one journal: continuity, torn tails, damage, repair."""

from __future__ import annotations

from pathlib import Path

import pytest

from titan.errors import JournalCorrupt
from titan.journal import TornTail, open_journal, read_records, repair_tail
from titan.journal.files import JournalFile, segment_name
from titan.journal.records import END_MARK_BYTES, SEGMENT_HEADER_BYTES, encode_record, encode_segment_header
from titan.journal.watermark import Watermark, write_watermark


def record(seq: int) -> bytes:
    return encode_record(b"event %d" % seq, first_seq=seq, count=1, term=1, synced_seq=seq - 1)


def write_segment(directory: Path, first_seq: int, count: int, rest: bytes = b"") -> Path:
    path = directory / segment_name(first_seq)
    path.write_bytes(encode_segment_header(first_seq) + b"".join(map(record, range(first_seq, first_seq + count))) + rest)
    return path


def seqs(directory: Path, after_seq: int = 0) -> list[int]:
    found = list(read_records(directory, after_seq))
    assert [r.payload for r in found] == [b"event %d" % r.first_seq for r in found]
    return [r.first_seq for r in found]


def test_no_directory_and_no_segments_are_an_empty_journal(tmp_path: Path) -> None:
    for directory in (tmp_path, tmp_path / "none"):
        image = open_journal(directory)
        assert (image.last_seq, image.next_seq, image.segments, image.torn) == (0, 1, (), None)
        assert list(image.records()) == [] and repair_tail(directory) is None


def test_segments_continue_one_another_and_other_files_are_left_alone(tmp_path: Path) -> None:
    paths = [write_segment(tmp_path, 1, 3), write_segment(tmp_path, 4, 2, bytes(1000)), write_segment(tmp_path, 6, 1, bytes(1000))]
    (tmp_path / "next.tmp").write_bytes(bytes(100))
    (tmp_path / "notes.txt").write_text("mine")
    image = open_journal(tmp_path)
    assert image.segments == tuple(JournalFile(path, seq) for path, seq in zip(paths, (1, 4, 6), strict=True))
    assert (image.last_seq, image.torn) == (6, None)
    assert [r.first_seq for r in image.records(4)] == [5, 6]
    assert seqs(tmp_path) == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("after_seq", range(8))
def test_reading_behind_a_sequence(tmp_path: Path, after_seq: int) -> None:
    write_segment(tmp_path, 1, 3)
    write_segment(tmp_path, 4, 3)
    assert seqs(tmp_path, after_seq) == list(range(after_seq + 1, 7))


def test_segments_that_a_snapshot_covers_are_not_needed(tmp_path: Path) -> None:
    write_segment(tmp_path, 1, 2, b"rubbish")
    write_segment(tmp_path, 7, 2)
    assert seqs(tmp_path, after_seq=6) == [7, 8]
    with pytest.raises(JournalCorrupt):
        seqs(tmp_path, after_seq=5)


@pytest.mark.parametrize("first", [3, 5])
def test_a_gap_or_an_overlap_between_segments_is_corrupt(tmp_path: Path, first: int) -> None:
    write_segment(tmp_path, 1, 3)
    path = write_segment(tmp_path, first, 2)
    with pytest.raises(JournalCorrupt, match="missing") as caught:
        seqs(tmp_path)
    assert caught.value.path == str(path)


def test_a_missing_beginning_is_corrupt(tmp_path: Path) -> None:
    write_segment(tmp_path, 4, 2)
    with pytest.raises(JournalCorrupt, match="sequences 1 to 3 are missing"):
        seqs(tmp_path)
    assert seqs(tmp_path, after_seq=3) == [4, 5]


def test_a_start_within_a_record_is_refused(tmp_path: Path) -> None:
    data = encode_record(b"", first_seq=1, count=5, term=1, synced_seq=0)
    (tmp_path / segment_name(1)).write_bytes(encode_segment_header(1) + data)
    with pytest.raises(JournalCorrupt, match="sequence 3 is not the end of a record"):
        seqs(tmp_path, after_seq=3)


def test_every_cut_of_the_last_segment_gives_a_prefix_and_is_repaired(tmp_path: Path) -> None:
    write_segment(tmp_path, 1, 2)
    last = write_segment(tmp_path, 3, 3)
    whole = last.read_bytes()
    size = len(record(3))
    for cut in range(SEGMENT_HEADER_BYTES, len(whole)):
        last.write_bytes(whole[:cut])
        good = max(0, cut - SEGMENT_HEADER_BYTES) // size
        assert seqs(tmp_path) == list(range(1, 3 + good))
        torn = open_journal(tmp_path).torn
        rest = whole[SEGMENT_HEADER_BYTES + good * size : cut]
        is_clean = not rest.strip(b"\0")  # A record begins with zero bytes, so a rest of zero bytes is no record.
        assert repair_tail(tmp_path) == torn and (torn is None) == is_clean
        assert repair_tail(tmp_path) is None
        assert last.stat().st_size == SEGMENT_HEADER_BYTES + good * size + END_MARK_BYTES
        assert seqs(tmp_path) == list(range(1, 3 + good)) and open_journal(tmp_path).next_seq == 3 + good


@pytest.mark.parametrize("cut", [0, 1, SEGMENT_HEADER_BYTES - 1])
def test_a_last_segment_that_was_emptied_is_damage(tmp_path: Path, cut: int) -> None:
    write_segment(tmp_path, 1, 2)
    last = write_segment(tmp_path, 3, 3)
    last.write_bytes(last.read_bytes()[:cut])
    for attempt in (repair_tail, open_journal, seqs):
        with pytest.raises(JournalCorrupt, match="bad segment header"):
            attempt(tmp_path)
    assert last.stat().st_size == cut


def test_a_newest_segment_that_the_watermark_knows_and_that_is_missing_is_damage(tmp_path: Path) -> None:
    write_segment(tmp_path, 1, 2)
    write_watermark(tmp_path, Watermark(2, 3, 1))
    for attempt in (repair_tail, open_journal, seqs):
        with pytest.raises(JournalCorrupt, match="the newest segment is missing: the log had continued to sequence 2"):
            attempt(tmp_path)
    write_segment(tmp_path, 3, 0)
    assert seqs(tmp_path) == [1, 2]
    write_watermark(tmp_path, Watermark(3, 3, 1))
    with pytest.raises(JournalCorrupt, match="the log ends here; sequences 3 to 3 had been synced"):
        repair_tail(tmp_path)


def test_a_repair_says_what_it_dropped_and_leaves_out_the_preallocation(tmp_path: Path) -> None:
    path = write_segment(tmp_path, 1, 2, record(3)[:20] + bytes(5000))
    offset = SEGMENT_HEADER_BYTES + 2 * len(record(1))
    torn = repair_tail(tmp_path)
    assert torn == TornTail(path, offset, len(record(3)[:20].rstrip(b"\0")), "checksum does not match")
    assert str(torn).startswith(f"{path}: torn at {offset}")
    assert path.stat().st_size == offset + END_MARK_BYTES


def test_zeros_after_the_last_record_are_cut_without_a_report(tmp_path: Path) -> None:
    path = write_segment(tmp_path, 1, 2, bytes(5000))
    assert repair_tail(tmp_path) is None
    assert path.stat().st_size == SEGMENT_HEADER_BYTES + 2 * len(record(1)) + END_MARK_BYTES


def test_damage_to_acknowledged_records_is_not_repaired(tmp_path: Path) -> None:
    path = write_segment(tmp_path, 1, 3)
    data = bytearray(path.read_bytes())
    data[SEGMENT_HEADER_BYTES + len(record(1)) + 40] ^= 1
    path.write_bytes(data)
    for attempt in (repair_tail, open_journal):
        with pytest.raises(JournalCorrupt, match="titan journal verify") as caught:
            attempt(tmp_path)
        assert (caught.value.path, caught.value.offset) == (str(path), SEGMENT_HEADER_BYTES + len(record(1)))
    assert path.read_bytes() == data
    records = read_records(tmp_path)
    assert next(records).first_seq == 1
    with pytest.raises(JournalCorrupt):
        next(records)


def test_a_bad_segment_before_the_last_is_corrupt_wherever_it_is_bad(tmp_path: Path) -> None:
    first = write_segment(tmp_path, 1, 2)
    write_segment(tmp_path, 3, 2)
    whole = first.read_bytes()
    for at in range(len(whole)):
        first.write_bytes(whole[:at] + bytes([whole[at] ^ 0x10]) + whole[at + 1 :])
        with pytest.raises(JournalCorrupt):
            seqs(tmp_path)
    first.write_bytes(whole[:10])
    with pytest.raises(JournalCorrupt, match="bad segment header"):
        open_journal(tmp_path)
