"""The codec of records: bytes in, records out, and the place where a scan stops."""

from __future__ import annotations

import doctest
import zlib

import pytest

from titan.journal import records
from titan.journal.records import (
    RECORD_HEADER_BYTES,
    EndMark,
    Record,
    RecordScanner,
    SegmentHeader,
    Stop,
    StopReason,
    decode_segment_header,
    encode_end_mark,
    encode_record,
    encode_segment_header,
    find_witness,
)


def record(first_seq: int, payload: bytes = b"payload", *, count: int = 1, synced_seq: int = 0) -> bytes:
    return encode_record(payload, first_seq=first_seq, count=count, term=3, synced_seq=synced_seq)


def scan(data: bytes, next_seq: int = 1) -> tuple[list[Record], Stop]:
    scanner = RecordScanner(data, next_seq=next_seq, offset=0)
    return list(scanner), scanner.stop


def test_the_layout_is_fixed() -> None:
    assert encode_segment_header(7)[:18] == b"TITANJNL" + b"\0\2" + (7).to_bytes(8, "big")
    data = record(5, b"ab", count=2, synced_seq=4)
    assert len(encode_segment_header(7)) == 62 and len(data) == RECORD_HEADER_BYTES + 2 == 38
    assert data[:4] == (2).to_bytes(4, "big")
    assert data[8:] == b"".join(n.to_bytes(size, "big") for n, size in ((5, 8), (2, 4), (3, 8), (4, 8))) + b"ab"


def test_the_example_in_the_docstring_runs() -> None:
    assert doctest.testmod(records).failed == 0


def test_a_segment_header_is_read_back_or_refused() -> None:
    header = encode_segment_header(9, capacity=4096, origin=b"titan 9")
    assert decode_segment_header(header) == SegmentHeader(2, 9, 4096, b"titan 9", 62)
    assert decode_segment_header(header[:-1]) is None
    assert decode_segment_header(b"X" + header[1:]) is None
    assert decode_segment_header(header[:-1] + b"X") is None


def test_the_header_of_version_1_is_read_and_of_a_later_one_its_version() -> None:
    body = b"TITANJNL" + b"\0\1" + (9).to_bytes(8, "big")
    old = body + zlib.crc32(body).to_bytes(4, "big")
    assert decode_segment_header(old + b"records") == SegmentHeader(1, 9, 0, b"", 22)
    assert decode_segment_header(old[:-1] + b"X") is None
    assert decode_segment_header(b"TITANJNL" + b"\0\3" + (9).to_bytes(8, "big") + b"whatever") == SegmentHeader(3, 9)


def test_an_end_mark_ends_a_scan_and_proves_the_records_before_it() -> None:
    for mark in EndMark:
        data = record(1) + encode_end_mark(mark, next_seq=2, term=3)
        found, stop = scan(data + b"rubbish")
        assert [r.first_seq for r in found] == [1] and stop == Stop(StopReason.MARK, len(data), 2, mark)
        witness = find_witness(data, offset=0, seq=1)
        assert witness is not None and (witness.first_seq, witness.count) == (2, 0)
    assert scan(record(1) + encode_end_mark(EndMark.CLOSED, next_seq=3, term=3))[1].reason is StopReason.WRONG_SEQUENCE


def test_records_come_back_in_order() -> None:
    data = record(1, b"a", count=3) + record(4, b"", synced_seq=3) + record(5, b"c" * 1000, count=2, synced_seq=4)
    found, stop = scan(data)
    assert found == [Record(1, 3, 3, 0, b"a"), Record(4, 1, 3, 3, b""), Record(5, 2, 3, 4, b"c" * 1000)]
    assert [r.last_seq for r in found] == [3, 4, 6]
    assert stop == Stop(StopReason.END, len(data), 7)


@pytest.mark.parametrize("zeros", [0, 1, RECORD_HEADER_BYTES - 1, RECORD_HEADER_BYTES, 70_000, 200_000])
def test_zeros_behind_the_last_record_are_a_clean_end(zeros: int) -> None:
    data = record(1)
    assert scan(data + bytes(zeros))[1] == Stop(StopReason.END, len(data), 2)


@pytest.mark.parametrize(
    ("rest", "reason"),
    [
        (record(2)[:20], StopReason.CUT),
        (record(2)[:-1], StopReason.CUT),
        (record(2)[:-1] + b"X", StopReason.BAD_CRC),
        (record(2)[:4] + b"XXXX" + record(2)[8:], StopReason.BAD_CRC),
        (b"\xff" + record(2)[1:], StopReason.BAD_LENGTH),
        (bytes(100_000) + record(2), StopReason.HOLE),
        (record(3), StopReason.WRONG_SEQUENCE),
        (record(1), StopReason.WRONG_SEQUENCE),
        (record(2, count=0), StopReason.WRONG_SEQUENCE),
        (record(2, synced_seq=2), StopReason.WRONG_SEQUENCE),
    ],
)
def test_a_scan_says_where_and_why_it_stopped(rest: bytes, reason: StopReason) -> None:
    good = record(1)
    found, stop = scan(good + rest)
    assert [r.first_seq for r in found] == [1]
    assert stop == Stop(reason, len(good), 2)


@pytest.mark.parametrize("base", [1, 2**32 - 2, 2**40])
def test_a_witness_is_found_behind_rubbish(base: int) -> None:
    rubbish = b"\0\0\0\1" * 50 + b"\xff" * 33
    data = rubbish + record(base + 2, synced_seq=base + 1) + bytes(500)
    witness = find_witness(data, offset=0, seq=base + 1)
    assert witness is not None and witness.first_seq == base + 2
    assert find_witness(data, offset=0, seq=base + 2) is None
    assert find_witness(rubbish + record(base + 2, synced_seq=base + 1)[:-1], offset=0, seq=base + 1) is None
