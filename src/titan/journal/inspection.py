"""Reports of `titan journal inspect` and `titan journal verify`. Read-only: safe on a journal that
is in use or damaged.

Owns the descriptions of files and the verdict about the whole journal. Must not print or repair.
Must not raise an error for damage: damage is part of the report.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from titan.errors import EnvironmentFault
from titan.journal import files
from titan.journal.files import JournalFile
from titan.journal.reader import missing_segment, scan_segment
from titan.journal.retention import lost_successor
from titan.journal.scan import FileState, Verdict
from titan.journal.snapshot import scan_snapshot
from titan.journal.watermark import NAME as WATERMARK_NAME
from titan.journal.watermark import Watermark, read_watermark, watermark_is_damaged

TRIES = 5
"""Attempts to read all files of a journal in use before the master adds or removes one."""


@dataclass(frozen=True, slots=True)
class SegmentDescription:
    """Summary of one segment up to the first bad place. Without records `last_seq` is
    `first_seq - 1`."""

    name: str
    bytes: int
    first_seq: int
    last_seq: int
    records: int
    events: int
    terms: tuple[int, ...]
    verdict: Verdict

    @property
    def state(self) -> str:
        """`ok`, `torn at OFFSET: reason` or `corrupt at OFFSET: reason`."""
        return str(self.verdict)


@dataclass(frozen=True, slots=True)
class SnapshotDescription:
    name: str
    bytes: int
    seq: int
    term: int
    chunks: int
    verdict: Verdict
    follows: int = 0
    """First sequence of the segment in which the log continued after the snapshot; 0: unknown."""

    @property
    def state(self) -> str:
        return str(self.verdict)


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """Verdict about a journal. `ok`: a master would start, and nothing is lost.

    `problems` prevent the start of a master. `notes` do not prevent the start; the master only
    reports them. A recovery starts after `snapshot_seq` (0: at the first record) and ends at
    `last_seq`.
    """

    snapshot_seq: int
    last_seq: int
    records: int
    events: int
    problems: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def ok(self) -> bool:
        return not self.problems


def inspect(directory: Path) -> list[SegmentDescription | SnapshotDescription]:
    """Return all snapshots, then all segments, each sorted by sequence. Reads every file in
    full."""
    snapshots, segments, _ = _read(directory)
    return [*snapshots, *segments]


def verify(directory: Path) -> VerifyReport:
    """Read all files and report whether a recovery would succeed."""
    watermark = read_watermark(directory)
    snapshots, segments, listed = _read(directory)
    problems: list[str] = []
    start, follows = max(((s.seq, s.follows) for s in snapshots if s.verdict.state is FileState.OK), default=(0, 0))
    damaged = [snapshot for snapshot in snapshots if snapshot.verdict.state is not FileState.OK]
    notes = [f"{snapshot.name}: {snapshot.state}; a recovery skips it" for snapshot in damaged]
    for segment, following in zip(segments, [*segments[1:], None], strict=False):
        covered = following is not None and following.first_seq <= start + 1
        if segment.verdict.state is FileState.TORN:
            notes.append(f"{segment.name}: {segment.state}; cut off at the next start")
        elif segment.verdict.state is FileState.CORRUPT:
            (notes if covered else problems).append(f"{segment.name}: {segment.state}")
        elif following is not None and following.first_seq != segment.last_seq + 1:
            gap = f"{following.name}: it should continue {segment.name} with sequence {segment.last_seq + 1}"
            (notes if covered else problems).append(gap)
    problems += _missing_start(snapshots, segments, start)
    problems += _missing_end(listed, watermark, start, follows)
    if watermark_is_damaged(directory):
        notes.append(f"{WATERMARK_NAME}: damaged: ignored, and written anew at the next start")
    return VerifyReport(
        snapshot_seq=start,
        last_seq=max([start, *(segment.last_seq for segment in segments)]),
        records=sum(segment.records for segment in segments),
        events=sum(segment.events for segment in segments),
        problems=tuple(problems),
        notes=tuple(notes),
    )


def _read(directory: Path) -> tuple[list[SnapshotDescription], list[SegmentDescription], list[JournalFile]]:
    """Return a consistent view of all files, and the list of the segments.

    Read them again if a master added or removed files meanwhile, for example by a compaction.
    """
    for tries_left in reversed(range(TRIES)):
        names = _names(directory)
        try:
            listed = files.list_segments(directory)
            described = _snapshots(directory), _segments(directory, listed), listed
        except FileNotFoundError:
            continue
        if not tries_left or names == _names(directory):
            return described
    raise EnvironmentFault(f"the files in {directory} change faster than they can be read: try again")


def _names(directory: Path) -> list[JournalFile]:
    return [*files.list_snapshots(directory), *files.list_segments(directory)]


def _missing_start(snapshots: Sequence[SnapshotDescription], segments: Sequence[SegmentDescription], start: int) -> list[str]:
    if segments and segments[0].first_seq > start + 1:
        return [f"{segments[0].name}: sequences {start + 1} to {segments[0].first_seq - 1} are in no file"]
    if not segments and snapshots and snapshots[-1].seq > start:
        return [f"{snapshots[-1].name}: damaged, and there are no segments to continue from sequence {start}"]
    return []


def _missing_end(listed: list[JournalFile], watermark: Watermark, start: int, follows: int) -> list[str]:
    lost = lost_successor(listed, follows)
    if lost:
        return [f"{files.snapshot_name(start)}: {lost}"]
    missing = missing_segment(listed, watermark)
    return [f"{files.segment_name(watermark.segment)}: {missing}"] if missing else []


def _segments(directory: Path, listed: list[JournalFile]) -> list[SegmentDescription]:
    watermark = read_watermark(directory)
    return [_segment(file, is_last=file is listed[-1], watermark=watermark) for file in listed]


def _segment(file: JournalFile, *, is_last: bool, watermark: Watermark) -> SegmentDescription:
    scan = scan_segment(file, is_last=is_last, watermark=watermark)
    records = 0
    terms: dict[int, None] = {}
    for record in scan:
        records += 1
        terms[record.term] = None
    last_seq = scan.next_seq - 1
    return SegmentDescription(
        name=file.path.name,
        bytes=scan.size,
        first_seq=file.seq,
        last_seq=last_seq,
        records=records,
        events=scan.next_seq - file.seq,
        terms=tuple(terms),
        verdict=scan.verdict,
    )


def _snapshots(directory: Path) -> list[SnapshotDescription]:
    return [_snapshot(file) for file in files.list_snapshots(directory)]


def _snapshot(file: JournalFile) -> SnapshotDescription:
    scan = scan_snapshot(file)
    return SnapshotDescription(
        file.path.name, file.path.stat().st_size, scan.seq, scan.term, scan.chunks, scan.verdict, scan.follows
    )
