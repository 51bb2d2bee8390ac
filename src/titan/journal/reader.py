"""Reading the journal back: all records from a sequence on, and the repair of the tail that a crash
leaves.

Owns what a directory of segments means as a whole. It must not know events or snapshots' contents.
Segments are read whole, one at a time. Nothing is changed but by `repair_tail`, which a master
calls once at start, before it reads.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from titan.errors import JournalCorrupt
from titan.journal import files
from titan.journal.files import JournalFile
from titan.journal.records import SEGMENT_HEADER_BYTES, EndMark, Record, decode_segment_header, encode_end_mark
from titan.journal.scan import FileState, SegmentScan, Verdict
from titan.journal.watermark import Watermark, read_watermark


@dataclass(frozen=True, slots=True)
class TornTail:
    """A tail that was never acknowledged: `dropped_bytes` from `offset` on, not counting the zeros
    of preallocation."""

    path: Path
    offset: int
    dropped_bytes: int
    reason: str

    def __str__(self) -> str:
        return f"{self.path}: torn at {self.offset} ({self.reason}): {self.dropped_bytes} bytes that nobody was told of"


class LogEnd(NamedTuple):
    """Where a log ends once it is repaired. `torn`: what was dropped."""

    next_seq: int
    term: int
    """The latest that is known from the last segment and the watermark; 0: none."""
    torn: TornTail | None


@dataclass(frozen=True, slots=True)
class JournalImage:
    """`last_seq` is 0 for a journal without segments. `torn` is what `repair_tail` would cut off."""

    directory: Path
    segments: tuple[JournalFile, ...]
    last_seq: int
    torn: TornTail | None

    @property
    def next_seq(self) -> int:
        return self.last_seq + 1

    def records(self, after_seq: int = 0) -> Iterator[Record]:
        return read_records(self.directory, after_seq)


def open_journal(directory: Path) -> JournalImage:
    """A look at the journal: its segments, and the last of them in full. The others are only
    checked by their headers here; `read_records` checks every record and that each segment
    continues the one before.

    Raises JournalCorrupt.
    """
    watermark = read_watermark(directory)
    segments = files.list_segments(directory)
    raise_if_shorter(directory, segments, watermark)
    for file in segments[:-1]:
        with file.path.open("rb") as stream:
            found = decode_segment_header(stream.read(SEGMENT_HEADER_BYTES))
        if found is None or found.first_seq != file.seq:
            raise corrupt(file.path, 0, "bad segment header")
    if not segments:
        return JournalImage(directory, (), 0, None)
    scan, torn = _scan_last(segments[-1], watermark)
    return JournalImage(directory, tuple(segments), scan.next_seq - 1, torn)


def read_records(directory: Path, after_seq: int = 0) -> Iterator[Record]:
    """All records behind `after_seq`, in order; a torn tail of the last segment ends them.

    Raises JournalCorrupt at the first bad place, after the good records before it: for damage, for
    sequences that are missing (also between `after_seq` and the first segment), for an end that is
    known to have been further on, and if `after_seq` lies within a record. Segments that
    `after_seq` covers are not read.
    """
    watermark = read_watermark(directory)  # first: it must not be younger than the segments
    listed = files.list_segments(directory)
    raise_if_shorter(directory, listed, watermark)
    segments = covering(listed, after_seq)
    expected = after_seq + 1
    for index, file in enumerate(segments):
        if (file.seq > expected) if index == 0 else (file.seq != expected):
            raise corrupt(file.path, 0, f"sequences {expected} to {file.seq - 1} are missing before it")
        scan = scan_segment(file, is_last=index == len(segments) - 1, watermark=watermark)
        for record in scan:
            if record.last_seq <= after_seq:
                continue
            if record.first_seq <= after_seq:
                raise corrupt(file.path, 0, f"sequence {after_seq} is not the end of a record")
            yield record
        raise_if_corrupt(file.path, scan.verdict)
        expected = scan.next_seq


def repair_tail(directory: Path) -> TornTail | None:
    """The same as `repair_end`; returns what was dropped."""
    return repair_end(directory).torn


def repair_end(directory: Path) -> LogEnd:
    """Make the last segment end with its last good record, durably.

    It syncs also where there is nothing to cut: after a kill the last records may be in the page
    cache only, and what is read from there will be built upon. The zeros of preallocation go
    without a word. Raises JournalCorrupt if the bad place is damage.
    """
    watermark = read_watermark(directory)
    segments = files.list_segments(directory)
    raise_if_shorter(directory, segments, watermark)
    if not segments:
        return LogEnd(1, watermark.term, None)
    path, _ = segments[-1]
    scan, torn = _scan_last(segments[-1], watermark)
    if scan.mark is None and scan.header is not None and scan.header.version > 1:
        mark = encode_end_mark(EndMark.CLOSED, next_seq=scan.next_seq, term=0)
        files.trim(path, scan.verdict.offset, end=mark)
    else:
        files.trim(path, scan.verdict.offset)
    files.sync_directory(directory)
    return LogEnd(scan.next_seq, max(scan.term, watermark.term), torn)


def scan_segment(file: JournalFile, *, is_last: bool, watermark: Watermark) -> SegmentScan:
    """Reads the whole file. Iterate the result, or `run` it."""
    return SegmentScan(file.path.read_bytes(), first_seq=file.seq, is_last=is_last, synced_seq=watermark.synced_seq)


def raise_if_shorter(directory: Path, segments: list[JournalFile], watermark: Watermark) -> None:
    """Raises JournalCorrupt if the segment that was current when the watermark was written is not
    there."""
    missing = missing_segment(segments, watermark)
    if missing:
        raise corrupt(directory / files.segment_name(watermark.segment), 0, missing)


def missing_segment(segments: Sequence[JournalFile], watermark: Watermark) -> str:
    """What to say of a directory whose newest segment is older than the watermark; "" if it is not."""
    if not watermark.segment or (segments and segments[-1].seq >= watermark.segment):
        return ""
    return f"the newest segment is missing: the log had gone on to sequence {watermark.synced_seq}"


def covering(segments: list[JournalFile], after_seq: int) -> list[JournalFile]:
    """The segments that can hold a sequence behind `after_seq`; always the last one."""
    covered = sum(1 for file in segments[1:] if file.seq <= after_seq + 1)
    return segments[covered:]


def corrupt(path: Path, offset: int, reason: str) -> JournalCorrupt:
    return JournalCorrupt(f"{path}: corrupt at {offset}: {reason}; {advice(path.parent)}", path=str(path), offset=offset)


def advice(directory: Path) -> str:
    """What to do about a damaged journal."""
    home = directory.parent
    return (
        f"nothing was changed: look with `titan journal verify --home {home}`; put back the file or the home from a backup,"
        f" or go on without what is lost with `titan journal repair --accept-loss --home {home}`"
    )


def raise_if_corrupt(path: Path, verdict: Verdict) -> None:
    if verdict.state is FileState.CORRUPT:
        raise corrupt(path, verdict.offset, verdict.reason)


def _scan_last(file: JournalFile, watermark: Watermark) -> tuple[SegmentScan, TornTail | None]:
    scan = scan_segment(file, is_last=True, watermark=watermark)
    verdict = scan.run()
    raise_if_corrupt(file.path, verdict)
    if verdict.state is FileState.OK:
        return scan, None
    return scan, TornTail(file.path, verdict.offset, scan.torn_bytes(), verdict.reason)
