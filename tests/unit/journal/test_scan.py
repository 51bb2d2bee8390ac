"""Verdict about the bytes of one segment: OK, torn or corrupt."""

from __future__ import annotations

import pytest

from titan.journal.records import SEGMENT_HEADER_BYTES, EndMark, encode_end_mark, encode_record, encode_segment_header
from titan.journal.scan import FileState, SegmentScan

HEADER = encode_segment_header(1)
BIG = b"x" * 300


def record(first_seq: int, *, synced_seq: int) -> bytes:
    return encode_record(b"payload %d " % first_seq + BIG, first_seq=first_seq, count=1, term=1, synced_seq=synced_seq)


def judged(data: bytes, *, is_last: bool = True) -> tuple[FileState, int, int]:
    """Return (state, offset, number of records)."""
    scan = SegmentScan(data, first_seq=1, is_last=is_last)
    found = list(scan)
    assert [r.payload for r in found] == [b"payload %d " % n + BIG for n in range(1, len(found) + 1)]
    assert scan.next_seq == len(found) + 1
    return scan.verdict.state, scan.verdict.offset, len(found)


def test_a_good_segment_is_ok_with_its_true_size() -> None:
    data = HEADER + record(1, synced_seq=0) + record(2, synced_seq=1)
    assert judged(data + bytes(4096)) == (FileState.OK, len(data), 2)
    assert judged(data + bytes(4096), is_last=False) == (FileState.OK, len(data), 2)
    assert judged(HEADER) == (FileState.OK, SEGMENT_HEADER_BYTES, 0)


def test_every_cut_of_the_last_segment_is_torn_or_clean_and_of_another_corrupt_or_clean() -> None:
    """The size of the segment is not known here. The header is synced before the file gets its
    name, so no crash leaves half a header."""
    parts = [HEADER, record(1, synced_seq=0), record(2, synced_seq=1), record(3, synced_seq=2)]
    data = b"".join(parts)
    borders = [sum(map(len, parts[: n + 1])) for n in range(len(parts))]
    for cut in range(len(data)):
        whole = sum(1 for border in borders if border <= cut)
        offset = borders[whole - 1] if whole else 0
        # a record begins with zero bytes, so a rest of zero bytes is no record
        clean = whole > 0 and not data[offset:cut].strip(b"\0")
        for padding in (b"", bytes(5000)):
            expected = (FileState.OK if clean else FileState.TORN, offset, max(0, whole - 1))
            if cut < SEGMENT_HEADER_BYTES:
                assert judged(data[:cut] + padding) == (FileState.CORRUPT, 0, 0)
                continue
            assert judged(data[:cut] + padding) == expected
        if not clean:
            assert judged(data[:cut], is_last=False)[0] is FileState.CORRUPT


def test_every_flipped_bit_is_damage_if_it_was_acknowledged_and_a_torn_tail_if_it_may_not_have_been() -> None:
    parts = [HEADER, record(1, synced_seq=0), record(2, synced_seq=1), record(3, synced_seq=2)]
    data = b"".join(parts)
    last = len(data) - len(parts[-1])
    for at in range(len(data)):
        flipped = bytearray(data + bytes(64))
        flipped[at] ^= 1 << at % 8
        state, offset, count = judged(bytes(flipped))
        assert state is (FileState.TORN if at >= last else FileState.CORRUPT)
        assert offset <= at and count <= 2


def test_unsynced_records_may_be_missing_in_any_pattern() -> None:
    """With the sync policy everysec, the kernel writes pages in its own order. This can leave a
    hole before records that nobody was told are durable."""
    acknowledged = HEADER + record(1, synced_seq=0)
    hole = bytes(len(record(2, synced_seq=1)))
    data = acknowledged + hole + record(3, synced_seq=1) + record(4, synced_seq=1)
    assert judged(data) == (FileState.TORN, len(acknowledged), 1)
    assert judged(data + record(5, synced_seq=4)) == (FileState.CORRUPT, len(acknowledged), 1)


def test_a_record_out_of_sequence_is_never_a_torn_tail() -> None:
    assert judged(HEADER + record(1, synced_seq=0) + record(3, synced_seq=1))[0] is FileState.CORRUPT


def test_rubbish_in_the_zeros_of_a_segment_that_is_not_the_last_is_corrupt() -> None:
    data = HEADER + record(1, synced_seq=0) + bytes(100) + b"?"
    assert judged(data) == (FileState.TORN, len(data) - 101, 1)
    assert judged(data, is_last=False) == (FileState.CORRUPT, len(data) - 101, 1)


@pytest.mark.parametrize("data", [b"", bytes(4096), b"TITAN"])
def test_a_segment_without_a_header_was_emptied(data: bytes) -> None:
    assert judged(data) == judged(data, is_last=False) == (FileState.CORRUPT, 0, 0)


def test_a_segment_of_another_size_without_its_end_mark_was_cut() -> None:
    sized = encode_segment_header(1, capacity=2000) + record(1, synced_seq=0)
    whole = sized + bytes(2000 - len(sized))
    assert judged(whole) == (FileState.OK, len(sized), 1)
    assert judged(whole[:-1]) == judged(sized) == (FileState.CORRUPT, len(sized), 1)
    assert judged(sized, is_last=False) == (FileState.OK, len(sized), 1), "the next one says where it ended"
    half = sized[:-10]
    assert judged(half + bytes(2000 - len(half)))[0] is FileState.TORN
    assert judged(half)[0] is FileState.CORRUPT
    closed = sized + encode_end_mark(EndMark.CLOSED, next_seq=2, term=1)
    assert judged(closed) == (FileState.OK, len(closed), 1)
    for at in range(SEGMENT_HEADER_BYTES, len(closed)):
        assert judged(closed[:at])[0] is FileState.CORRUPT
        assert judged(closed[:at] + bytes([closed[at] ^ 1]) + closed[at + 1 :])[0] is FileState.CORRUPT


def test_a_last_segment_whose_successor_is_missing_is_corrupt() -> None:
    data = HEADER + record(1, synced_seq=0) + encode_end_mark(EndMark.CONTINUED, next_seq=2, term=1)
    assert judged(data, is_last=False) == (FileState.OK, len(data), 1)
    verdict = SegmentScan(data, first_seq=1, is_last=True).run()
    assert str(verdict) == f"corrupt at {len(data)}: the next segment, from sequence 2 on, is missing"


def test_a_torn_or_clean_end_before_the_synced_sequence_is_damage() -> None:
    data = HEADER + record(1, synced_seq=0) + record(2, synced_seq=1)
    for end in (len(data), len(data) - 5):
        there = 2 if end == len(data) else 1
        for synced_seq in range(4):
            verdict = SegmentScan(data[:end], first_seq=1, is_last=True, synced_seq=synced_seq).run()
            assert (verdict.state is FileState.CORRUPT) == (synced_seq > there)


def test_a_header_of_another_segment_or_version_is_corrupt() -> None:
    scan = SegmentScan(encode_segment_header(2), first_seq=1, is_last=True)
    assert str(scan.run()) == "corrupt at 0: the header says first sequence 2, the name says 1"


def test_a_later_format_is_named() -> None:
    scan = SegmentScan(b"TITANJNL" + b"\0\3" + (1).to_bytes(8, "big") + b"whatever", first_seq=1, is_last=True)
    verdict = "corrupt at 0: format version 3: written by a later Titan (this one reads up to 2): start the later version"
    assert str(scan.run()) == verdict


def test_the_verdict_names_its_witness() -> None:
    data = bytearray(HEADER + record(1, synced_seq=0) + record(2, synced_seq=1))
    data[SEGMENT_HEADER_BYTES + 50] ^= 1
    verdict = SegmentScan(bytes(data), first_seq=1, is_last=True).run()
    assert str(verdict) == "corrupt at 62: checksum does not match; sequence 1 was acknowledged: the record at sequence 2 proves it"
