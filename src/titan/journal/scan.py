"""Scan of one whole segment: its records, and a verdict about the first bad place.

Pure: the bytes of the file in, a verdict out. Must not know directories, and must not repair.

A sealed segment ends with an end mark. An unsealed segment has the size with which it was
allocated; a last segment of another size has lost its end. A last segment whose end mark says that
the log continues has lost its successor. Segments of version 1 have no end mark and do not record
their original size.

A crash of the machine leaves the tail of the last segment in any condition. Records that were
written but never synced may be complete, partial, or missing while later records are present,
because the kernel writes pages in its own order. None of these records was known to be durable, so
they may be cut off. Such a segment is TORN.

A bad record that was known to be durable is damage: a cut there would lose data that was reported
as durable. Such a segment is CORRUPT. The bytes after the bad place tell the difference, because
each record and end mark carries `synced_seq`. The segment is CORRUPT if an intact record after the
bad place, or the journal's watermark, says that the expected sequence was durable.

Every segment before the last was synced before its successor was made, so a bad place in such a
segment is CORRUPT. An intact record out of sequence is CORRUPT, too: a crash cannot write one. The
header is synced before the file gets its name, so a file without a header is CORRUPT.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from typing import NamedTuple

from titan.journal.records import (
    FORMAT_VERSION,
    EndMark,
    Record,
    RecordScanner,
    SegmentHeader,
    Stop,
    StopReason,
    decode_segment_header,
    find_witness,
    of_later_format,
)


class FileState(Enum):
    OK = "ok"
    TORN = "torn"
    CORRUPT = "corrupt"


class Verdict(NamedTuple):
    """State of a file. `offset`: the size of its content if it is OK, else the first bad byte."""

    state: FileState
    offset: int
    reason: str = ""

    def __str__(self) -> str:
        return "ok" if self.state is FileState.OK else f"{self.state.value} at {self.offset}: {self.reason}"


class SegmentScan:
    """Scan of a segment. `verdict` and `next_seq` are final after one iteration over the records.

    `first_seq` comes from the name of the file. `synced_seq` is the last sequence that was durable
    according to the watermark. In a bad segment, the records before the bad place are good.
    """

    def __init__(self, data: bytes | memoryview, *, first_seq: int, is_last: bool, synced_seq: int = 0) -> None:
        self._data = memoryview(data)
        self._is_last = is_last
        self._synced_seq = synced_seq
        self.next_seq = first_seq
        self.term = 0
        """Term of the last record; 0 without records."""
        self.mark: EndMark | None = None
        self.header = decode_segment_header(self._data)
        self.verdict = self._judge_header(self.header, first_seq)

    def __iter__(self) -> Iterator[Record]:
        if self.verdict.state is not FileState.OK or self.header is None:
            return
        scanner = RecordScanner(self._data, next_seq=self.next_seq, offset=self.header.size, origin=self.header.origin)
        for record in scanner:
            self.next_seq, self.term = record.last_seq + 1, record.term
            yield record
        self.mark = scanner.stop.mark
        self.verdict = self._judge_stop(scanner.stop, self.header.capacity)

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return len(self._data)

    def run(self) -> Verdict:
        """Read all records and return the verdict."""
        for _ in self:
            pass
        return self.verdict

    def torn_bytes(self) -> int:
        """Return the number of bytes after the verdict's offset, without preallocated zeros."""
        return len(bytes(self._data[self.verdict.offset :]).rstrip(b"\0"))

    def _judge_header(self, header: SegmentHeader | None, first_seq: int) -> Verdict:
        if header is None:
            empty = "; the file is empty" if not len(self._data) else ""
            return Verdict(FileState.CORRUPT, 0, StopReason.BAD_HEADER.value + empty)
        if header.version > FORMAT_VERSION:
            return Verdict(FileState.CORRUPT, 0, of_later_format(header.version))
        if header.first_seq != first_seq:
            return Verdict(FileState.CORRUPT, 0, f"the header says first sequence {header.first_seq}, the name says {first_seq}")
        return Verdict(FileState.OK, header.size)

    def _judge_stop(self, stop: Stop, capacity: int) -> Verdict:
        reason, offset, next_seq, mark = stop
        clean = reason in (StopReason.END, StopReason.MARK)
        if not self._is_last:
            return Verdict(FileState.OK, offset) if clean else Verdict(FileState.CORRUPT, offset, reason.value)
        if mark is EndMark.CONTINUED:
            return Verdict(FileState.CORRUPT, offset, f"the next segment, from sequence {next_seq} on, is missing")
        if reason is StopReason.WRONG_SEQUENCE:
            return Verdict(FileState.CORRUPT, offset, reason.value)
        end = "the log ends here" if clean else reason.value
        if mark is None and capacity and len(self._data) != capacity:
            size = f"the file has {len(self._data)} bytes and neither its end mark nor the {capacity} bytes that it was made with"
            return Verdict(FileState.CORRUPT, offset, f"{end}; {size}")
        if self._synced_seq >= next_seq:
            return Verdict(FileState.CORRUPT, offset, f"{end}; sequences {next_seq} to {self._synced_seq} had been synced")
        if clean:
            return Verdict(FileState.OK, offset)
        witness = find_witness(self._data, offset=offset, seq=next_seq)
        if witness is None:
            return Verdict(FileState.TORN, offset, reason.value)
        proof = f"sequence {next_seq} was acknowledged: the record at sequence {witness.first_seq} proves it"
        return Verdict(FileState.CORRUPT, offset, f"{reason.value}; {proof}")
