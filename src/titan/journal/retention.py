"""Which files a recovery needs: the snapshot it starts from, and what may go.

Owns the choice among snapshots and the deletion of files. It must not know what is in a record or a
chunk.
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
    """Where a recovery starts. Without a usable snapshot `path` is None and `seq` 0: replay from
    the first record.

    `damaged` are newer snapshots that had to be passed over: tell the operator.
    """

    path: Path | None
    seq: int
    term: int
    damaged: tuple[DamagedSnapshot, ...]


def latest_snapshot(directory: Path) -> SnapshotChoice:
    """The newest snapshot that is good from end to end (each one tried is read once).

    Raises JournalCorrupt if the newest is damaged and no older one, nor the beginning, has the
    segments to go on from; and if the segment in which the log went on behind the one that is
    chosen is gone.
    """
    damaged: list[DamagedSnapshot] = []
    for file in reversed(files.list_snapshots(directory)):
        scan = scan_snapshot(file)
        if scan.is_good:
            return _choose(directory, SnapshotChoice(scan.path, scan.seq, scan.term, tuple(damaged)), scan.follows)
        damaged.append(DamagedSnapshot(scan.path, scan.verdict))
    return _choose(directory, SnapshotChoice(None, 0, 0, tuple(damaged)))


def prune(directory: Path, *, keep_snapshots: int = 2, keep_segments: bool = False) -> list[Path]:
    """Deletes what no recovery needs: snapshots older than the `keep_snapshots` newest good ones,
    and the segments that the oldest of those covers, unless `keep_segments`. The last segment
    stays. Returns what was deleted. Damaged snapshots do not count as kept.
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
    gone = [file.path for file in snapshots if file.seq < oldest]
    gone += [] if keep_segments else [file.path for file, following in itertools.pairwise(segments) if following.seq <= oldest + 1]
    files.delete(gone)
    return gone


def lost_successor(segments: Sequence[JournalFile], follows: int) -> str:
    """What to say of segments that are all older than the one which followed a snapshot; "" if they
    are not."""
    if follows and (not segments or segments[-1].seq < follows):
        return f"the log went on behind it in {files.segment_name(follows)}, which is missing"
    return ""


def _choose(directory: Path, choice: SnapshotChoice, follows: int = 0) -> SnapshotChoice:
    segments = files.list_segments(directory)
    lost = lost_successor(segments, follows)
    if lost and choice.path is not None:
        raise corrupt(choice.path, 0, lost)
    if choice.damaged and (not segments or segments[0].seq > choice.seq + 1):
        path, verdict = choice.damaged[0]
        reason = f"{verdict.reason}; the journal's segments do not go back far enough to do without it"
        raise corrupt(path, verdict.offset, reason)
    return choice
