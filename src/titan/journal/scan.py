"""What one whole segment holds, and what to think of a bad place in it.

Pure: the bytes of the file in, a verdict out. It must not know directories, nor repair anything.

A crash of the machine leaves the tail of the last segment in any condition: records that were written and never synced may be
there, half there, or missing with later ones present (the kernel writes pages in its own order). None of them had been
acknowledged, so they may be cut off. A bad record that had been acknowledged is another matter: it is damage, and cutting there
would lose what somebody was told is safe. The difference is found in what follows: each record carries `synced_seq`. If any
intact record behind the bad place says that the sequence due there was durable, the segment is CORRUPT; if none does, it is TORN.
Segments other than the last were synced and sealed before their successor was made, so for them anything bad is CORRUPT. So is an
intact record that is out of sequence: no crash writes one.

The header is synced before the file gets its name; a file that ends within it or holds only zeros is TORN at 0, any other bad
header is CORRUPT.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from typing import NamedTuple

from titan.journal.records import (
    FORMAT_VERSION,
    SEGMENT_HEADER_BYTES,
    Record,
    RecordScanner,
    StopReason,
    decode_segment_header,
    find_witness,
    is_zero,
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

    `first_seq` is what the file's name says. The records of a bad segment up to the bad place are good.
    """

    def __init__(self, data: bytes | memoryview, *, first_seq: int, is_last: bool) -> None:
        self._data = memoryview(data)
        self._is_last = is_last
        self.next_seq = first_seq
        self.verdict = self._judge_header(first_seq)

    def __iter__(self) -> Iterator[Record]:
        if self.verdict.state is not FileState.OK:
            return
        scanner = RecordScanner(self._data, next_seq=self.next_seq)
        for record in scanner:
            self.next_seq = record.last_seq + 1
            yield record
        reason, offset, next_seq = scanner.stop
        self.verdict = self._judge_stop(reason, offset, next_seq)

    def run(self) -> Verdict:
        """Reads all records for their verdict alone."""
        for _ in self:
            pass
        return self.verdict

    def torn_bytes(self) -> int:
        """How many bytes there are behind the verdict's offset, without the zeros of preallocation."""
        return len(bytes(self._data[self.verdict.offset :]).rstrip(b"\0"))

    def _judge_header(self, first_seq: int) -> Verdict:
        found = decode_segment_header(self._data)
        if found is None:
            unwritten = len(self._data) < SEGMENT_HEADER_BYTES or is_zero(self._data)
            state = FileState.TORN if unwritten and self._is_last else FileState.CORRUPT
            return Verdict(state, 0, StopReason.BAD_HEADER.value)
        version, found_seq = found
        if version != FORMAT_VERSION:
            return Verdict(FileState.CORRUPT, 0, f"format version {version}: written by another version of Titan")
        if found_seq != first_seq:
            return Verdict(FileState.CORRUPT, 0, f"the header says first sequence {found_seq}, the name says {first_seq}")
        return Verdict(FileState.OK, SEGMENT_HEADER_BYTES)

    def _judge_stop(self, reason: StopReason, offset: int, next_seq: int) -> Verdict:
        if reason is StopReason.END:
            return Verdict(FileState.OK, offset)
        if not self._is_last or reason is StopReason.WRONG_SEQUENCE:
            return Verdict(FileState.CORRUPT, offset, reason.value)
        witness = find_witness(self._data, offset=offset, seq=next_seq)
        if witness is None:
            return Verdict(FileState.TORN, offset, reason.value)
        proof = f"sequence {next_seq} was acknowledged: the record of {witness.first_seq} says so"
        return Verdict(FileState.CORRUPT, offset, f"{reason.value}; {proof}")
