"""Reader of the journal: all records from a sequence on, and the repair of a torn tail.

Owns the rules by which a directory of segments forms one log. Must not know events or the content
of snapshots. Segments are read whole, one at a time. Only `repair_end` changes files; a master
calls it once at its start, before it reads the log.
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
    """Incomplete tail that was never acknowledged: the `dropped_bytes` bytes from `offset` on.
    Preallocated zeros do not count."""

    path: Path
    offset: int
    dropped_bytes: int
    reason: str

    def __str__(self) -> str:
        return f"{self.path}: torn at {self.offset} ({self.reason}): {self.dropped_bytes} bytes that were never acknowledged"


class LogEnd(NamedTuple):
    """End of a log after the repair. `torn`: the dropped tail."""

    next_seq: int
    term: int
    """Latest term in the last segment and the watermark; 0 if neither has one."""
    torn: TornTail | None


@dataclass(frozen=True, slots=True)
class JournalImage:
    """Overview of a journal. `last_seq` is 0 if there are no segments. `torn` is the tail that
    `repair_tail` would cut off."""

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
    """Return an overview of the journal. Reads the last segment in full, and only the headers of
    the others.

    `read_records` checks every record, and that each segment continues the previous one. Raises
    JournalCorrupt.
    """
    watermark = read_watermark(directory)
    segments = files.list_segments(directory)
    raise_if_shorter(directory, segments, watermark)
    for file in segments[:-1]:
        with file.path.open("rb") as stream:
            header = decode_segment_header(stream.read(SEGMENT_HEADER_BYTES))
        if header is None or header.first_seq != file.seq:
            raise corrupt(file.path, 0, "bad segment header")
    if not segments:
        return JournalImage(directory, (), 0, None)
    scan, torn = _scan_last(segments[-1], watermark)
    return JournalImage(directory, tuple(segments), scan.next_seq - 1, torn)


def read_records(directory: Path, after_seq: int = 0) -> Iterator[Record]:
    """Yield all records after `after_seq`, in order, up to a torn tail of the last segment.

    Raises JournalCorrupt at the first bad place, after the good records before it. A bad place is
    damage, a missing sequence (also between `after_seq` and the first segment), an end before the
    watermark, or an `after_seq` within a record. Segments that `after_seq` covers are not read.
    """
    watermark = read_watermark(directory)  # read the watermark first, because it must not be newer than the segments
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
    """Call `repair_end` and return the dropped tail."""
    return repair_end(directory).torn


def repair_end(directory: Path) -> LogEnd:
    """Cut the last segment after its last good record, durably.

    The segment is synced even if nothing is cut: after a kill its last records may be only in the
    page cache, and the recovered state will depend on them. Preallocated zeros are cut without a
    report. Raises JournalCorrupt for damage that a crash cannot cause.
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
    """Read the whole file and return its scan. The caller iterates over the scan or calls `run`."""
    return SegmentScan(file.path.read_bytes(), first_seq=file.seq, is_last=is_last, synced_seq=watermark.synced_seq)


def raise_if_shorter(directory: Path, segments: list[JournalFile], watermark: Watermark) -> None:
    """Raise JournalCorrupt if the segment that was current at the time of the watermark is
    missing."""
    missing = missing_segment(segments, watermark)
    if missing:
        raise corrupt(directory / files.segment_name(watermark.segment), 0, missing)


def missing_segment(segments: Sequence[JournalFile], watermark: Watermark) -> str:
    """Return the problem if the newest segment is older than the watermark; else ""."""
    if not watermark.segment or (segments and segments[-1].seq >= watermark.segment):
        return ""
    return f"the newest segment is missing: the log had continued to sequence {watermark.synced_seq}"


def covering(segments: list[JournalFile], after_seq: int) -> list[JournalFile]:
    """Return the segments that can contain a sequence after `after_seq`. The last segment is always
    among them."""
    covered = sum(1 for file in segments[1:] if file.seq <= after_seq + 1)
    return segments[covered:]


def corrupt(path: Path, offset: int, reason: str) -> JournalCorrupt:
    return JournalCorrupt(f"{path}: corrupt at {offset}: {reason}; {advice(path.parent)}", path=str(path), offset=offset)


def advice(directory: Path) -> str:
    """Return the next steps for a damaged journal."""
    home = directory.parent
    return (
        f"nothing was changed: look with `titan journal verify --home {home}`; restore the file or the home from a backup,"
        f" or continue without the lost records with `titan journal repair --accept-loss --home {home}`"
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
