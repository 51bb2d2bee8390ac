"""Implementation of the protocol `engine` by a directory with segments, snapshots, a watermark and
a compaction lock.

Owns the rules by which these files form one log. Must not know the meaning of a payload.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from titan.errors import JournalCorrupt, JournalFailed, LogCompacted
from titan.journal import files
from titan.journal.commit import SyncPolicy
from titan.journal.compaction_lock import CompactionLock
from titan.journal.engine import LatestSnapshot, Snapshot, SnapshotInfo, followed_too_far
from titan.journal.files import JournalFile
from titan.journal.reader import LogEnd, read_records, repair_end
from titan.journal.records import Record
from titan.journal.retention import latest_snapshot, prune
from titan.journal.snapshot import read_snapshot, scan_snapshot, write_snapshot
from titan.journal.writer import DEFAULT_SEGMENT_BYTES, JournalWriter

TRIES = 5
"""Attempts to read a bad place of a live log before it counts as damage. The leader may still be
writing there."""
TRY_AGAIN_S = 0.05
"""Seconds between two attempts."""


class FileEngine:
    """Log in `directory`, which `open` creates. The process that opens the log holds the lock of
    the home (`HomeLock`)."""

    def __init__(
        self,
        directory: Path,
        *,
        policy: SyncPolicy = SyncPolicy.ALWAYS,
        segment_bytes: int = DEFAULT_SEGMENT_BYTES,
        places: Sequence[Path] = (),
        origin: bytes = b"",
    ) -> None:
        """`places`: further files and folders that must stay at their paths (see `anchors`). If one
        is gone, no further record becomes durable. `origin`: the name of the writer for the headers
        of segments and snapshots, at most 32 bytes."""
        self.directory = directory
        self._policy = policy
        self._segment_bytes = segment_bytes
        self._places = places
        self._origin = origin
        self._end: LogEnd | None = None
        """End of the log, set by `repair` and used by `open`."""

    @property
    def location(self) -> str:
        return str(self.directory)

    # -- leading -----------------------------------------------------------------------------------
    def repair(self) -> str:
        self.directory.mkdir(parents=True, exist_ok=True)
        files.remove_half_made(self.directory)
        self._end = repair_end(self.directory)
        return str(self._end.torn or "")

    def open(
        self,
        *,
        after_seq: int,
        above_term: int,
        on_durable: Callable[[int], None],
        on_failed: Callable[[JournalFailed], None],
    ) -> JournalWriter:
        if self._end is None:
            guard = self.compaction_guard()
            guard.take_over()
            with guard:
                self.repair()
        assert self._end is not None
        end, self._end = self._end, None
        if after_seq >= end.next_seq and after_seq not in [file.seq for file in files.list_snapshots(self.directory)]:
            raise followed_too_far(after_seq, end.next_seq - 1)
        return JournalWriter(
            self.directory,
            next_seq=max(end.next_seq, after_seq + 1),
            term=1 + max(above_term, end.term),
            policy=self._policy,
            segment_bytes=self._segment_bytes,
            on_synced=on_durable,
            on_failed=on_failed,
            places=self._places,
            origin=self._origin,
        )

    # -- following ---------------------------------------------------------------------------------
    def tail(self, after_seq: int = 0, *, live: bool = False) -> Iterator[Record]:
        """Yield the records as `LogEngine.tail` says. With `live`, a bad place counts as damage
        only after `TRIES` attempts."""
        tries_left = TRIES if live else 1
        while True:
            try:
                for record in read_records(self.directory, after_seq):
                    yield record
                    after_seq, tries_left = record.last_seq, TRIES if live else 1
                return
            except (JournalCorrupt, FileNotFoundError) as error:
                if live and self.first_seq() > after_seq + 1:
                    raise LogCompacted(f"the master compacted {self.directory} while it was read: try again") from error
                tries_left -= 1
                if not tries_left:
                    raise
                time.sleep(TRY_AGAIN_S)

    def first_seq(self) -> int:
        segments = files.list_segments(self.directory)
        return segments[0].seq if segments else 0

    # -- snapshots ---------------------------------------------------------------------------------
    def snapshots(self) -> list[SnapshotInfo]:
        snapshots = []
        for file in files.list_snapshots(self.directory):
            try:
                snapshots.append(_info(file))
            except FileNotFoundError:  # the leader has just removed it, because it has a newer one
                continue
        return snapshots

    def latest_snapshot(self) -> LatestSnapshot:
        choice = latest_snapshot(self.directory)
        warnings = tuple(f"snapshot {d.path} is damaged ({d.verdict.reason}): an older one is used" for d in choice.damaged)
        return LatestSnapshot(_info(JournalFile(choice.path, choice.seq)) if choice.path is not None else None, warnings)

    def is_good(self, snapshot: SnapshotInfo) -> bool:
        return scan_snapshot(JournalFile(self._path_of(snapshot), snapshot.seq)).is_good

    def get_snapshot(self, snapshot: SnapshotInfo) -> Snapshot:
        return read_snapshot(self._path_of(snapshot))

    def put_snapshot(self, *, seq: int, term: int, chunks: Iterable[bytes]) -> SnapshotInfo:
        path = write_snapshot(self.directory, seq=seq, term=term, chunks=chunks, origin=self._origin)
        return _info(JournalFile(path, seq))

    def prune(self, *, keep_snapshots: int = 2, keep_log: bool = False) -> None:
        prune(self.directory, keep_snapshots=keep_snapshots, keep_segments=keep_log)

    def compaction_guard(self, *, module: str = "-") -> CompactionLock:
        self.directory.mkdir(parents=True, exist_ok=True)
        return CompactionLock(self.directory, module=module)

    def _path_of(self, snapshot: SnapshotInfo) -> Path:
        return self.directory / files.snapshot_name(snapshot.seq)


def _info(file: JournalFile) -> SnapshotInfo:
    return SnapshotInfo(file.seq, str(file.path), file.path.stat().st_mtime)
