"""Synchronous half of the writer: it writes one batch after another into segments.

Owns the current segment, the written, synced and sealed sequences, and the time of the next sync.
Must not know threads, queues or clocks: the caller passes the time. Write errors are raised as
OSError. After any error the caller may only call `abandon`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from titan.errors import Bug, JournalFailed
from titan.journal import files
from titan.journal.anchors import CHECK_S, Anchors
from titan.journal.records import RECORD_HEADER_BYTES, EndMark, encode_record_header
from titan.journal.scan import SegmentScan
from titan.journal.segments import SPACE_ERRORS, SegmentMaker
from titan.journal.watermark import Watermark, WatermarkFile

WATERMARK_S = 1.0
"""Maximum age of the watermark in seconds."""


class SyncPolicy(Enum):
    """Policy that decides when a batch is reported as durable.

    `always` reports a batch after the sync. `everysec` and `no` report a batch after the write.
    `everysec` syncs at most one second after a write. `no` leaves the sync to the kernel, except
    when a segment is sealed and when the journal is closed.
    """

    ALWAYS = "always"
    EVERYSEC = "everysec"
    NO = "no"


@dataclass(slots=True)
class Append:
    """Record in the queue. The committer adds the term and `synced_seq` when it writes the
    record."""

    payload: bytes
    first_seq: int
    count: int
    synced: bool = False
    """True if the record must be synced before it is reported, under every policy."""

    @property
    def record_bytes(self) -> int:
        return RECORD_HEADER_BYTES + len(self.payload)


class Committer:
    """Writer of batches.

    It calls `on_committed(last_seq, size)` after each write. If the records must be synced before
    they are reported, it calls this after the sync. `size`: bytes of the committed records.
    """

    def __init__(
        self,
        directory: Path,
        *,
        next_seq: int,
        term: int,
        policy: SyncPolicy,
        maker: SegmentMaker,
        sync_every_s: float,
        on_committed: Callable[[int, int], None],
        places: Sequence[Path] = (),
    ) -> None:
        """`places`: further files and folders that must stay at their paths. If one is moved,
        deleted or replaced, the committer raises HomeGone and reports no more records."""
        self._term = term
        self._policy = policy
        self._maker = maker
        self._sync_every_s = sync_every_s
        self._on_committed = on_committed
        self._sync_due: float | None = None
        self._next_check = 0.0
        self._next_watermark = 0.0
        self.written_seq = self.synced_seq = self.sealed_through = next_seq - 1
        _prepare_directory(directory, next_seq)
        self._segment = maker.make(next_seq)
        self._anchors = Anchors([directory, self._segment.path, *places])
        self._watermark = WatermarkFile(directory)
        self._mark_synced(sync=True)
        files.sync_directory(directory)

    @property
    def due_at(self) -> float | None:
        """Time of the next sync or allocation by `do_due_work`; None if there is none."""
        due = [] if self._sync_due is None else [self._sync_due]
        if self._maker.low_space:
            due.append(self._maker.retry_at)
        return min(due, default=None)

    def can_write_now(self, record_bytes: int) -> bool:
        """Return True if the record fits in the segment and the next segment need not be allocated
        first."""
        return record_bytes <= self._segment.room and not (self._segment.is_half_full and not self._maker.is_prepared)

    def write(self, batch: list[Append], now: float) -> None:
        """Write the batch. Records that fit in the segment share one write and one sync. The other
        records share a write and a sync in the next segment."""
        buffers: list[bytes] = []
        size, last_seq, room = 0, self.written_seq, self._segment.room
        synced = self._policy is SyncPolicy.ALWAYS or any(append.synced for append in batch)
        for append in batch:
            if size + append.record_bytes > room:
                self._commit(buffers, size, last_seq, now, synced=synced)
                self._next_segment(append.record_bytes)
                buffers, size, room = [], 0, self._segment.room
            header = encode_record_header(
                append.payload, first_seq=append.first_seq, count=append.count, term=self._term, synced_seq=self.synced_seq
            )
            buffers += (header, append.payload)
            size += append.record_bytes
            last_seq = append.first_seq + append.count - 1
        self._commit(buffers, size, last_seq, now, synced=synced)

    def rotate(self, now: float) -> None:
        """If the segment contains a record, seal it and start the next segment.

        Does nothing while disk space is low, because the rest of the segment is then the only room
        for records.
        """
        if self._segment.is_empty:
            return
        self._maker.prepare(now)
        if not self._maker.low_space:
            self._next_segment(0)

    def do_due_work(self, now: float) -> None:
        """Do the work that is due and that no report waits for: the sync of `everysec`, and the
        allocation of the next segment."""
        if self._sync_due is not None and now >= self._sync_due:
            self._sync()
        if self._segment.is_half_full or self._maker.low_space:
            self._maker.prepare(now)

    def run_checks(self, now: float) -> None:
        """Check the anchors and update the watermark, if their time has come. The caller calls this
        regularly, even while there is nothing to write. Raises HomeGone."""
        if now >= self._next_check:
            self._anchors.check()
            self._next_check = now + CHECK_S
        if now >= self._next_watermark:
            self._mark_synced()
            self._next_watermark = now + WATERMARK_S

    def finish(self) -> None:
        self._anchors.check()
        self._sync_rest()
        self._segment.seal(EndMark.CLOSED, next_seq=self.written_seq + 1, term=self._term)
        self.sealed_through = self.written_seq
        self._mark_synced(sync=True)

    def abandon(self) -> None:
        """Close the descriptors and free the disk space of the spare segment. The caller calls this
        last, even after `finish`."""
        self._segment.close()
        self._watermark.close()
        self._maker.discard()

    def _commit(self, buffers: list[bytes], size: int, last_seq: int, now: float, *, synced: bool) -> None:
        if not buffers:
            return
        self._segment.write(buffers, size)
        self.written_seq = last_seq
        if synced:
            self._sync()
        elif self._policy is SyncPolicy.EVERYSEC and self._sync_due is None:
            self._sync_due = now + self._sync_every_s
        self.run_checks(now)
        self._on_committed(last_seq, size)

    def _sync(self) -> None:
        os.fdatasync(self._segment.fd)
        self._note_synced()

    def _sync_rest(self) -> None:
        if self.synced_seq < self.written_seq:
            self._sync()

    def _note_synced(self) -> None:
        self.synced_seq = self.written_seq
        self._sync_due = None

    def _mark_synced(self, *, sync: bool = False) -> None:
        self._watermark.write(Watermark(self.synced_seq, self._segment.first_seq, self._term), sync=sync)

    def _next_segment(self, record_bytes: int) -> None:
        """Make the next segment, then seal the old one.

        The old segment is synced before the new one exists, so only the last segment can be torn.
        The old segment is sealed afterwards: its end mark says that a next segment exists.
        """
        old, next_seq = self._segment, self.written_seq + 1
        self._sync_rest()
        if old.is_empty:
            old.close()  # the segment is too small for the record: a larger segment takes its name
        self._segment = self._maker.make(next_seq, record_bytes=record_bytes)
        self._anchors.add(self._segment.path, instead_of=old.path)
        if not old.is_empty:
            try:
                old.seal(EndMark.CONTINUED, next_seq=next_seq, term=self._term)
            finally:
                old.close()
        self._mark_synced(sync=True)
        self.sealed_through = self.written_seq


def failure_of(error: Exception, directory: Path) -> JournalFailed:
    """Return the error that users see when the journal stops."""
    if isinstance(error, JournalFailed):
        return error
    if isinstance(error, OSError) and error.errno in SPACE_ERRORS:
        reason = f"no space for the next journal segment: free space under {directory} and start the master again"
    elif isinstance(error, OSError):
        reason = f"the disk under {directory} failed ({error}) and the journal stopped: check the disk, then start the master again"
    else:
        reason = f"the journal's writer failed ({error!r}): please report it, and start the master again"
    failure = JournalFailed(f"{reason}; nothing acknowledged is lost")
    failure.__cause__ = error
    return failure


def _prepare_directory(directory: Path, next_seq: int) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    files.sync_directory(directory.parent)
    files.remove_half_made(directory)
    for path, first_seq in files.list_segments(directory)[-1:]:
        scan = SegmentScan(path.read_bytes(), first_seq=first_seq, is_last=True)
        scan.run()
        if scan.next_seq > next_seq or first_seq > next_seq:
            raise Bug(f"the journal in {directory} already goes past sequence {next_seq - 1}: see {path.name}")
