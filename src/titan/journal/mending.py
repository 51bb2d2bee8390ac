"""Repair of a damaged journal without a backup: the records after the damage are moved aside.

Owns the cut and the folder for the removed files. Must not know events. No data is deleted: every
file that is changed or removed is first copied or moved into a folder beside the segments. The
caller holds the lock of the home.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from titan.journal import files
from titan.journal.files import JournalFile
from titan.journal.inspection import verify
from titan.journal.reader import covering, scan_segment
from titan.journal.records import EndMark, encode_end_mark, encode_segment_header
from titan.journal.scan import FileState, SegmentScan
from titan.journal.snapshot import scan_snapshot
from titan.journal.watermark import NOTHING, Watermark, read_watermark, write_watermark


@dataclass(frozen=True, slots=True)
class Mended:
    """Result of a repair. The log now ends with `last_seq`; before the damage it reached at least
    `lost_through`.

    `problems`: the damage that `verify` found. `aside`: the folder with the removed files; None if
    there was no damage.
    """

    last_seq: int
    lost_through: int
    problems: tuple[str, ...]
    aside: Path | None


def accept_loss(directory: Path, *, name: str) -> Mended:
    """Cut the journal before its first damage. Do nothing if there is no damage.

    `name`: the name of the new folder for the removed files.
    """
    report = verify(directory)
    if report.ok:
        return Mended(report.last_seq, report.last_seq, (), None)
    aside = directory / name
    aside.mkdir()
    start = _drop_bad_snapshots(directory, aside)
    segments = covering(files.list_segments(directory), start)
    last_seq, known = start, max(report.last_seq, read_watermark(directory).synced_seq)
    while segments and segments[0].seq <= last_seq + 1:
        file = segments.pop(0)
        scan = scan_segment(file, is_last=False, watermark=NOTHING)
        verdict = scan.run()
        if verdict.state is FileState.OK and (not segments or segments[0].seq == scan.next_seq):
            last_seq = max(start, scan.next_seq - 1)
            continue
        last_seq = max(start, scan.next_seq - 1)
        _cut(file, scan, aside)
        break
    for file in segments:
        os.rename(file.path, aside / file.path.name)
    _end_with(directory, last_seq)
    files.sync_directory(aside)
    files.sync_directory(directory)
    return Mended(last_seq, max(known, last_seq), report.problems, aside)


def _drop_bad_snapshots(directory: Path, aside: Path) -> int:
    """Move damaged snapshots aside. Return the sequence of the newest good snapshot; 0 if there is
    none."""
    start = 0
    for file in files.list_snapshots(directory):
        if scan_snapshot(file).is_good:
            start = file.seq
        else:
            os.rename(file.path, aside / file.path.name)
    return start


def _cut(file: JournalFile, scan: SegmentScan, aside: Path) -> None:
    shutil.copy2(file.path, aside / file.path.name)
    if scan.header is None or scan.next_seq == file.seq:
        file.path.unlink()
    elif scan.header.version == 1:
        files.trim(file.path, scan.verdict.offset)
    elif scan.mark is None:
        files.trim(file.path, scan.verdict.offset, end=encode_end_mark(EndMark.CLOSED, next_seq=scan.next_seq, term=0))


def _end_with(directory: Path, last_seq: int) -> None:
    """Write an empty, closed segment at the end, and a watermark. A kept snapshot or end mark may
    say that the log continues. Without the empty segment, the continuation would count as
    missing."""
    path = directory / files.segment_name(last_seq + 1)
    temporary = path.with_suffix(files.TEMPORARY_SUFFIX)
    end = encode_end_mark(EndMark.CLOSED, next_seq=last_seq + 1, term=0)
    with temporary.open("wb") as stream:
        stream.write(encode_segment_header(last_seq + 1) + end)
        stream.flush()
        os.fsync(stream.fileno())
    files.rename(temporary, path)
    write_watermark(directory, Watermark(last_seq, last_seq + 1, 0))
