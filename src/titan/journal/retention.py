"""Retention of files: the choice of the snapshot for a recovery, and the deletion of files that no
recovery needs.

Must not know the content of a record or a chunk.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from titan.journal import files
from titan.journal.files import JournalFile
from titan.journal.reader import corrupt
from titan.journal.scan import Verdict
from titan.journal.snapshot import scan_snapshot


class DamagedSnapshot(NamedTuple):
    path: Path
    verdict: Verdict


class SnapshotChoice(NamedTuple):
    """Snapshot that a recovery starts from. Without a usable snapshot, `path` is None, `seq` is 0,
    and the replay starts at the first record.

    `damaged`: newer snapshots that were skipped. The caller must report them to the operator.
    """

    path: Path | None
    seq: int
    term: int
    damaged: tuple[DamagedSnapshot, ...]


def latest_snapshot(directory: Path) -> SnapshotChoice:
    """Return the newest snapshot that is good from end to end. Each snapshot is read at most once.

    Raises JournalCorrupt if a newer snapshot is damaged and the segments do not go back far enough
    to recover without it. Also raises JournalCorrupt if the segment in which the log continued
    after the chosen snapshot is missing.
    """
    damaged: list[DamagedSnapshot] = []
    for file in reversed(files.list_snapshots(directory)):
        scan = scan_snapshot(file)
        if scan.is_good:
            return _choose(directory, SnapshotChoice(scan.path, scan.seq, scan.term, tuple(damaged)), scan.follows)
        damaged.append(DamagedSnapshot(scan.path, scan.verdict))
    return _choose(directory, SnapshotChoice(None, 0, 0, tuple(damaged)))


def prune(directory: Path, *, keep_snapshots: int = 2, keep_segments: bool = False) -> list[Path]:
    """Delete the files that no recovery needs, and return their paths.

    These are snapshots older than the `keep_snapshots` newest good ones and, without
    `keep_segments`, the segments that the oldest kept snapshot covers. The last segment stays.
    Damaged snapshots do not count as kept.
    """
    snapshots = files.list_snapshots(directory)
    kept: list[int] = []
    for file in reversed(snapshots):
        if len(kept) < max(1, keep_snapshots) and scan_snapshot(file).is_good:
            kept.append(file.seq)
    if not kept:
        return []
    oldest = kept[-1]
    segments = files.list_segments(directory)
    old = [file.path for file in snapshots if file.seq < oldest]
    old += [] if keep_segments else [file.path for file, following in itertools.pairwise(segments) if following.seq <= oldest + 1]
    files.delete(old)
    return old


def lost_successor(segments: Sequence[JournalFile], follows: int) -> str:
    """Return the problem if the segment that followed a snapshot is missing; else ""."""
    if follows and (not segments or segments[-1].seq < follows):
        return f"the log continued after it in {files.segment_name(follows)}, which is missing"
    return ""


def _choose(directory: Path, choice: SnapshotChoice, follows: int = 0) -> SnapshotChoice:
    segments = files.list_segments(directory)
    lost = lost_successor(segments, follows)
    if lost and choice.path is not None:
        raise corrupt(choice.path, 0, lost)
    if choice.damaged and (not segments or segments[0].seq > choice.seq + 1):
        path, verdict = choice.damaged[0]
        reason = f"{verdict.reason}; the journal's segments do not go back far enough to recover without it"
        raise corrupt(path, verdict.offset, reason)
    return choice
