"""What one whole segment holds, and what to think of a bad place in it.

Pure: the bytes of the file in, a verdict out. It must not know directories, nor repair anything.

What was sealed says so by an end mark, and what was not has the size that it was made with. So a
last segment of another size, and one that says that the log goes on, has lost its end or its
successor. Segments of version 1 say neither.

A crash of the machine leaves the tail of the last segment in any condition: records that were
written and never synced may be there, half there, or missing with later ones present (the kernel
writes pages in its own order). None of them had been acknowledged, so they may be cut off. A bad
record that had been acknowledged is another matter: it is damage, and cutting there would lose what
somebody was told is safe. The difference is found in what follows: each record and end mark carries
`synced_seq`. If anything intact behind the bad place, or the journal's watermark, says that the
sequence due there was durable, the segment is CORRUPT; else it is TORN. Segments other than the
last were synced and sealed before their successor was made, so for them anything bad is CORRUPT. So
is an intact record that is out of sequence: no crash writes one.

The header is synced before the file gets its name, so a file without one is CORRUPT.
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
    """`offset` is the true size of the file if it is OK, else that of the first bad byte."""

    state: FileState
    offset: int
    reason: str = ""

    def __str__(self) -> str:
        return "ok" if self.state is FileState.OK else f"{self.state.value} at {self.offset}: {self.reason}"


class SegmentScan:
    """Iterate once for the records; afterwards `verdict` and `next_seq` hold for the whole segment.

    `first_seq` is what the file's name says, `synced_seq` what is known from elsewhere to have been
    durable in it. The records of a bad segment up to the bad place are good.
    """

    def __init__(self, data: bytes | memoryview, *, first_seq: int, is_last: bool, synced_seq: int = 0) -> None:
        self._data = memoryview(data)
        self._is_last = is_last
        self._synced_seq = synced_seq
        self.next_seq = first_seq
        self.term = 0
        """The term of the last record; 0: there is no record."""
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
        """Of the file."""
        return len(self._data)

    def run(self) -> Verdict:
        """Reads all records for their verdict alone."""
        for _ in self:
            pass
        return self.verdict

    def torn_bytes(self) -> int:
        """How many bytes there are behind the verdict's offset, without the zeros of preallocation."""
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
            return Verdict(FileState.CORRUPT, offset, f"the segment behind it, from sequence {next_seq} on, is missing")
        if reason is StopReason.WRONG_SEQUENCE:
            return Verdict(FileState.CORRUPT, offset, reason.value)
        what = "the log ends here" if clean else reason.value
        if mark is None and capacity and len(self._data) != capacity:
            size = f"the file has {len(self._data)} bytes and neither its end mark nor the {capacity} bytes that it was made with"
            return Verdict(FileState.CORRUPT, offset, f"{what}; {size}")
        if self._synced_seq >= next_seq:
            return Verdict(FileState.CORRUPT, offset, f"{what}; sequences {next_seq} to {self._synced_seq} had been synced")
        if clean:
            return Verdict(FileState.OK, offset)
        witness = find_witness(self._data, offset=offset, seq=next_seq)
        if witness is None:
            return Verdict(FileState.TORN, offset, reason.value)
        proof = f"sequence {next_seq} was acknowledged: the record of {witness.first_seq} says so"
        return Verdict(FileState.CORRUPT, offset, f"{reason.value}; {proof}")
