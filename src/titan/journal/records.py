"""Format of a journal segment: the encoding and decoding of its records.

Pure: bytes in, records out. Must not know files, threads, time or the meaning of a payload.

    segment header   magic `TITANJNL` | version u16 | first sequence u64 | capacity u64
                     | origin, 32 bytes | CRC32 u32 of all fields before
    record header    payload length u32 | CRC32 u32 | first_seq u64 | count u32 | term u64
                     | synced_seq u64
    payload          `length` opaque bytes that hold `count` events

All integers are big-endian. `capacity` is the size with which the file was allocated. `origin`
names the writer; this module does not interpret it. Version 1 had neither field.

When the writer is done with a segment, it seals the segment: it appends an end mark and cuts the
file after the mark. An end mark is a record without events (`count` 0). Its payload says whether
the log continues in the next segment or ended there. A segment without an end mark must have
`capacity` bytes; otherwise it has lost its end.

The CRC of a record covers the length, the header fields after the CRC, and the payload. After the
last record a segment contains an end mark, zeros or nothing. `synced_seq` is the highest sequence
that was known to be durable when the record was written. So a later record proves that an earlier
record had been durable (see `titan.journal.scan`).
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

MAGIC = b"TITANJNL"
FORMAT_VERSION = 2
ORIGIN_BYTES = 32
MAX_PAYLOAD_BYTES = 1 << 30

_SEGMENT_1 = struct.Struct(">8sHQ")
_SEGMENT = struct.Struct(f">8sHQQ{ORIGIN_BYTES}s")
_CRC = struct.Struct(">I")
_HEADER = struct.Struct(">IIQIQQ")
# Header fields without the CRC, in the order in which the CRC covers them.
_COVERED = struct.Struct(">IQIQQ")

SEGMENT_HEADER_BYTES = _SEGMENT.size + _CRC.size
RECORD_HEADER_BYTES = _HEADER.size
END_MARK_BYTES = RECORD_HEADER_BYTES + 1

_ZEROS = bytes(1 << 16)


@dataclass(frozen=True, slots=True)
class Record:
    """Batch of events, as bytes."""

    first_seq: int
    count: int
    term: int
    synced_seq: int
    payload: bytes
    origin: bytes = b""
    """Writer of the record, from the header of its segment."""

    @property
    def last_seq(self) -> int:
        return self.first_seq + self.count - 1


class EndMark(Enum):
    """Mark at the end of a sealed segment. It says whether the log continues."""

    CLOSED = b"E"
    """The log ended here, completely synced."""
    CONTINUED = b"N"
    """The log continues in the next segment, which existed before this mark was written."""


class SegmentHeader(NamedTuple):
    """Decoded header of a segment. `capacity` 0: unknown. `size`: bytes of the header itself."""

    version: int
    first_seq: int
    capacity: int = 0
    origin: bytes = b""
    size: int = SEGMENT_HEADER_BYTES


class StopReason(Enum):
    """Reason why a scan ended. Only END and MARK are clean."""

    END = "end"
    MARK = "end mark"
    BAD_HEADER = "bad segment header"
    HOLE = "zeros where a record should be, and data after them"
    CUT = "record runs past the end of the file"
    BAD_LENGTH = "impossible record length"
    BAD_CRC = "checksum does not match"
    WRONG_SEQUENCE = "record is intact but out of sequence"


class Stop(NamedTuple):
    """Position and reason at which a scan ended.

    `offset`: the first byte after the last record and end mark. `next_seq`: the first sequence that
    a record at this offset would have.
    """

    reason: StopReason
    offset: int
    next_seq: int
    mark: EndMark | None = None


def of_later_format(version: int) -> str:
    """Return the text that says why a file with a format version above FORMAT_VERSION cannot be
    read."""
    return f"format version {version}: written by a later Titan (this one reads up to {FORMAT_VERSION}): start the later version"


def encode_segment_header(first_seq: int, *, capacity: int = 0, origin: bytes = b"") -> bytes:
    body = _SEGMENT.pack(MAGIC, FORMAT_VERSION, first_seq, capacity, origin)
    return body + _CRC.pack(zlib.crc32(body))


def decode_segment_header(data: bytes | memoryview) -> SegmentHeader | None:
    """Return the header, or None if these bytes are not a segment header. For a header of a later
    version, only `version` and `first_seq` are set, because the other fields are unknown."""
    start = bytes(data[:SEGMENT_HEADER_BYTES])
    if len(start) < _SEGMENT_1.size + _CRC.size:
        return None
    magic, version, first_seq = _SEGMENT_1.unpack_from(start)
    if magic != MAGIC:
        return None
    if version > FORMAT_VERSION:
        return SegmentHeader(version, first_seq)
    form = _SEGMENT_1 if version == 1 else _SEGMENT
    if len(start) < form.size + _CRC.size or zlib.crc32(start[: form.size]) != _CRC.unpack_from(start, form.size)[0]:
        return None
    _, _, _, *rest = form.unpack_from(start)
    capacity, origin = rest or (0, b"")
    return SegmentHeader(version, first_seq, capacity, origin.rstrip(b"\0"), form.size + _CRC.size)


def encode_end_mark(mark: EndMark, *, next_seq: int, term: int) -> bytes:
    """Return the bytes of an end mark. All records before `next_seq` must be synced."""
    return encode_record(mark.value, first_seq=next_seq, count=0, term=term, synced_seq=next_seq - 1)


def encode_record_header(payload: bytes, *, first_seq: int, count: int, term: int, synced_seq: int) -> bytes:
    """Return the header alone: the caller writes the payload separately, without a copy."""
    length = len(payload)
    crc = zlib.crc32(payload, zlib.crc32(_COVERED.pack(length, first_seq, count, term, synced_seq)))
    return _HEADER.pack(length, crc, first_seq, count, term, synced_seq)


def encode_record(payload: bytes, *, first_seq: int, count: int, term: int, synced_seq: int) -> bytes:
    return encode_record_header(payload, first_seq=first_seq, count=count, term=term, synced_seq=synced_seq) + payload


class RecordScanner:
    """Iterator over the records of a segment. Afterwards `stop` says where and why it ended.

    >>> data = encode_record(b"x", first_seq=7, count=2, term=1, synced_seq=6)
    >>> scanner = RecordScanner(data, next_seq=7, offset=0)
    >>> [record.last_seq for record in scanner], scanner.stop.reason.name
    ([8], 'END')
    """

    def __init__(self, data: bytes | memoryview, *, next_seq: int, offset: int = SEGMENT_HEADER_BYTES, origin: bytes = b"") -> None:
        self._data = memoryview(data)
        self._origin = origin
        self.stop = Stop(StopReason.END, offset, next_seq)

    def __iter__(self) -> Iterator[Record]:
        data, (_, offset, next_seq, _) = self._data, self.stop
        while True:
            record = _record_at(data, offset, self._origin)
            if isinstance(record, Record) and record.first_seq == next_seq and (mark := _mark_of(record)) is not None:
                self.stop = Stop(StopReason.MARK, offset + END_MARK_BYTES, next_seq, mark)
                return
            if isinstance(record, Record) and (record.first_seq != next_seq or not _is_sane(record)):
                record = StopReason.WRONG_SEQUENCE
            if isinstance(record, StopReason):
                self.stop = Stop(record, offset, next_seq)
                return
            offset += RECORD_HEADER_BYTES + len(record.payload)
            next_seq += record.count
            self.stop = Stop(StopReason.END, offset, next_seq)
            yield record


def find_witness(data: bytes | memoryview, *, offset: int, seq: int) -> Record | None:
    """Return the first intact record after `offset` that proves that `seq` was durable when the
    record was written; None if there is no such record.

    Record boundaries are unknown after a bad record, so a header may start at every byte. The
    regular expression quickly discards each offset at which `first_seq` or `synced_seq` is 0, or
    has upper 32 bits that are neither those of `seq` nor one more. The CRC decides about the
    remaining offsets.
    """
    view, high = memoryview(data), seq >> 32
    near = b"(?!\\0{8})(?:" + b"|".join(re.escape(h.to_bytes(4, "big")) for h in (high, high + 1)) + b")"
    header = re.compile(b"(?s)(?=.{8}" + near + b".{16}" + near + b".{4})")
    for match in header.finditer(view, offset + 1):
        _, _, first_seq, count, _, synced_seq = _HEADER.unpack_from(view, match.start())
        if seq <= synced_seq < first_seq:
            record = _record_at(view, match.start())
            if isinstance(record, Record) and (count or _mark_of(record) is not None):
                return record
    return None


def is_zero(data: memoryview) -> bool:
    """Return whether all bytes are zero. Compares in blocks: 16 MiB take 5 ms."""
    size = len(_ZEROS)
    return all(bytes(data[at : at + size]) == _ZEROS[: len(data) - at] for at in range(0, len(data), size))


def _record_at(data: memoryview, offset: int, origin: bytes = b"") -> Record | StopReason:
    room = len(data) - offset - RECORD_HEADER_BYTES
    if room < 0:
        return StopReason.END if is_zero(data[offset:]) else StopReason.CUT
    length, crc, first_seq, count, term, synced_seq = _HEADER.unpack_from(data, offset)
    if not crc and not first_seq and not length:
        return StopReason.END if is_zero(data[offset:]) else StopReason.HOLE
    if length > MAX_PAYLOAD_BYTES:
        return StopReason.BAD_LENGTH
    if length > room:
        return StopReason.CUT
    start = offset + RECORD_HEADER_BYTES
    payload = bytes(data[start : start + length])
    if crc != zlib.crc32(payload, zlib.crc32(_COVERED.pack(length, first_seq, count, term, synced_seq))):
        return StopReason.BAD_CRC
    return Record(first_seq, count, term, synced_seq, payload, origin)


def _mark_of(record: Record) -> EndMark | None:
    if record.count == 0 and record.synced_seq == record.first_seq - 1:
        for mark in EndMark:
            if record.payload == mark.value:
                return mark
    return None


def _is_sane(record: Record) -> bool:
    return record.count > 0 and record.synced_seq < record.first_seq
