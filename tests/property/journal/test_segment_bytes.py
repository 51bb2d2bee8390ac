"""Random records with any cut, flipped bit or pattern of lost pages. The scan gives a prefix of the
records or refuses the segment, but never wrong data."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from queue import SimpleQueue

from hypothesis import given, settings
from hypothesis import strategies as st

from titan.journal import FileState, JournalWriter, Record, SyncPolicy, open_journal, read_records, repair_tail
from titan.journal.files import segment_name
from titan.journal.records import SEGMENT_HEADER_BYTES, encode_record, encode_segment_header
from titan.journal.scan import SegmentScan

PAYLOADS = st.one_of(st.binary(max_size=80), st.integers(0, 200).map(bytes))
BATCHES = st.lists(st.tuples(PAYLOADS, st.integers(1, 2000)), min_size=1, max_size=8)
FIRST = st.one_of(st.integers(1, 1000), st.integers(2**32 - 1000, 2**32 + 1000), st.integers(2**63, 2**63 + 10))


def make(first_seq: int, batches: list[tuple[bytes, int]], *, unsynced: int = 0) -> tuple[list[Record], list[bytes]]:
    """Return the records and their bytes. Each record says that all records before it are synced,
    except the last `unsynced` ones."""
    records: list[Record] = []
    seq = first_seq
    for index, (payload, count) in enumerate(batches):
        oldest = max(0, min(index, len(batches) - unsynced))
        synced_seq = records[oldest - 1].last_seq if oldest else first_seq - 1
        records.append(Record(seq, count, 1, synced_seq, payload))
        seq += count
    return records, [
        encode_record(r.payload, first_seq=r.first_seq, count=r.count, term=r.term, synced_seq=r.synced_seq) for r in records
    ]


def scan(first_seq: int, data: bytes) -> tuple[list[Record], SegmentScan]:
    scanned = SegmentScan(data, first_seq=first_seq, is_last=True)
    return list(scanned), scanned


@settings(max_examples=100, deadline=None)
@given(FIRST, BATCHES, st.integers(0, 300))
def test_records_of_a_segment_are_read_as_written(first_seq: int, batches: list[tuple[bytes, int]], zeros: int) -> None:
    records, encoded = make(first_seq, batches)
    data = encode_segment_header(first_seq) + b"".join(encoded)
    found, scanned = scan(first_seq, data + bytes(zeros))
    assert found == records
    assert (scanned.verdict.state, scanned.verdict.offset) == (FileState.OK, len(data))


@settings(max_examples=150, deadline=None)
@given(FIRST, BATCHES, st.data())
def test_any_cut_gives_a_prefix(first_seq: int, batches: list[tuple[bytes, int]], data: st.DataObject) -> None:
    records, encoded = make(first_seq, batches)
    whole = encode_segment_header(first_seq) + b"".join(encoded)
    cut = data.draw(st.integers(0, len(whole)))
    zeros = data.draw(st.integers(0, 300)) if cut >= SEGMENT_HEADER_BYTES else 0
    found, scanned = scan(first_seq, whole[:cut] + bytes(zeros))
    assert found == records[: len(found)]
    assert (scanned.verdict.state is FileState.CORRUPT) == (cut < SEGMENT_HEADER_BYTES)
    complete = cut - SEGMENT_HEADER_BYTES - sum(map(len, encoded[: len(found)]))
    assert complete < 0 or len(found) == len(records) or complete < len(encoded[len(found)])


@settings(max_examples=200, deadline=None)
@given(FIRST, BATCHES, st.data())
def test_a_changed_byte_is_noticed(first_seq: int, batches: list[tuple[bytes, int]], data: st.DataObject) -> None:
    records, encoded = make(first_seq, batches)
    whole = bytearray(encode_segment_header(first_seq) + b"".join(encoded))
    at = data.draw(st.integers(0, len(whole) - 1))
    whole[at] ^= data.draw(st.integers(1, 255))
    found, scanned = scan(first_seq, bytes(whole) + bytes(data.draw(st.integers(0, 100))))
    assert found == records[: len(found)] and len(found) < len(records)
    in_tail = at >= SEGMENT_HEADER_BYTES + sum(map(len, encoded[:-1]))
    assert scanned.verdict.state is (FileState.TORN if in_tail else FileState.CORRUPT)


@settings(max_examples=150, deadline=None)
@given(FIRST, BATCHES, st.data())
def test_unsynced_records_may_be_lost_in_any_pattern(first_seq: int, batches: list[tuple[bytes, int]], data: st.DataObject) -> None:
    unsynced = data.draw(st.integers(1, len(batches)))
    records, encoded = make(first_seq, batches, unsynced=unsynced)
    start = SEGMENT_HEADER_BYTES + sum(map(len, encoded[:-unsynced]))
    whole = bytearray(encode_segment_header(first_seq) + b"".join(encoded) + bytes(64))
    for block in range(start, len(whole), 16):
        if data.draw(st.booleans()):
            end = min(block + 16, len(whole))
            whole[block:end] = bytes(end - block)
    found, scanned = scan(first_seq, bytes(whole))
    assert found == records[: len(found)] and len(found) >= len(records) - unsynced
    assert scanned.verdict.state is not FileState.CORRUPT


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=400), st.booleans())
def test_any_bytes_at_all_are_judged(rubbish: bytes, with_header: bool) -> None:
    found, scanned = scan(1, (encode_segment_header(1) if with_header else b"") + rubbish)
    assert found == [] or with_header
    assert str(scanned.verdict)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 700).map(bytes), st.integers(1, 5)), min_size=1, max_size=30), st.data())
def test_written_cut_repaired_and_written_on(batches: list[tuple[bytes, int]], data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        _append(directory, 1, batches, killed=True)
        before = list(read_records(directory))
        assert [(r.payload, r.count) for r in before] == batches
        last = open_journal(directory).segments[-1].path
        whole = last.read_bytes()
        cut = data.draw(st.integers(SEGMENT_HEADER_BYTES, len(whole)))
        last.write_bytes(whole[:cut] + bytes(len(whole) - cut))
        repair_tail(directory)
        kept = list(read_records(directory))
        assert kept == before[: len(kept)]
        next_seq = open_journal(directory).next_seq
        assert next_seq == (kept[-1].last_seq + 1 if kept else 1)
        _append(directory, next_seq, batches)
        after = list(read_records(directory))
        assert after[: len(kept)] == kept
        assert [(r.payload, r.count) for r in after[len(kept) :]] == batches
        assert (directory / segment_name(1)).exists()


def _append(directory: Path, next_seq: int, batches: list[tuple[bytes, int]], *, killed: bool = False) -> None:
    """Append records. If `killed`, the files are left as they are before an orderly end, and the
    last segment is not synced."""
    failures: list[Exception] = []
    written: SimpleQueue[int] = SimpleQueue()
    writer = JournalWriter(
        directory,
        next_seq=next_seq,
        term=1,
        policy=SyncPolicy.NO,
        segment_bytes=1024,
        on_synced=written.put,
        on_failed=failures.append,
    )
    last = next_seq - 1
    for payload, count in batches:
        last = writer.append(payload, count)
    while written.get(timeout=10) < last:
        pass
    kept = directory.with_name(directory.name + ".killed")
    if killed:
        shutil.copytree(directory, kept)
    writer.close()
    assert failures == []
    if killed:
        shutil.rmtree(directory)
        kept.rename(directory)
