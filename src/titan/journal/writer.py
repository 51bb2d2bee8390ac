"""Group commit: many appends, one write, one sync.

Owns the queue and the thread that empties it. Must not know the meaning of a payload or the event
loop of the caller. The writer thread makes the callbacks; the caller passes them to its own thread.

The thread takes all queued records, writes them with one system call, syncs once and reports the
last sequence. Meanwhile the next batch accumulates, so the batch size grows with the load. While
the thread is idle, the caller may write and sync a small record in its own thread (`append_now`).
On a fast disk this takes less time than waking the writer thread and waiting for it.

Any error of a write or a sync is final. After a failed fsync the kernel may have dropped the pages
and marked them clean, so a second fsync would wrongly succeed. The writer reports the error once
and accepts nothing more.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from enum import Enum
from pathlib import Path
from queue import Empty, SimpleQueue

from titan.errors import Bug, JournalFailed, LimitExceeded
from titan.journal.anchors import CHECK_S
from titan.journal.commit import Append, Committer, SyncPolicy, failure_of
from titan.journal.records import MAX_PAYLOAD_BYTES, RECORD_HEADER_BYTES
from titan.journal.segments import SegmentMaker

DEFAULT_SEGMENT_BYTES = 16 * 1024 * 1024
MIN_SEGMENT_BYTES = 256
DIRECT_BYTES = 8 * 1024
DIRECT_S = 0.0005
"""Limit for `append_now`: it writes nothing if the last write took more than DIRECT_S seconds, or
if the record has more than DIRECT_BYTES."""


class _Order(Enum):
    ROTATE = "rotate"
    CLOSE = "close"


class JournalWriter:
    """Writer that appends records to segments in `directory`, which it creates if it is missing.

    The writer begins a new segment at `next_seq`, so the tail of the last segment must be repaired
    first (`repair_tail`). The caller ensures that a directory has one writer (`HomeLock`).

    `on_synced(last_seq)` is called when SyncPolicy reports records as durable, and may cover
    several appends. After `on_failed` no callback follows. The constructor waits for the disk, and
    raises JournalFailed if the disk fails.
    """

    def __init__(
        self,
        directory: Path,
        *,
        next_seq: int,
        term: int,
        policy: SyncPolicy,
        segment_bytes: int = DEFAULT_SEGMENT_BYTES,
        on_synced: Callable[[int], None],
        on_failed: Callable[[JournalFailed], None],
        sync_every_s: float = 1.0,
        space_retry_s: float = 1.0,
        places: Sequence[Path] = (),
        origin: bytes = b"",
    ) -> None:
        """`places`: further files and folders that must stay at their paths (see `anchors`). If one
        is gone, the writer fails with JournalFailed and reports nothing more. `origin`: the name of
        the writer for the headers, at most 32 bytes."""
        if next_seq < 1 or segment_bytes < MIN_SEGMENT_BYTES:
            raise Bug(
                f"a journal cannot begin at sequence {next_seq} with segments of {segment_bytes} bytes:"
                f" sequences begin at 1, and segments have at least {MIN_SEGMENT_BYTES} bytes"
            )
        self._directory = directory
        self._on_synced = on_synced
        self._on_failed = on_failed
        self._lock = threading.Lock()
        self._queue: SimpleQueue[Append | _Order] = SimpleQueue()
        self._next_seq = next_seq
        self._term = term
        self._pending_bytes = 0
        self._unfinished = 0
        """Number of queued items that the thread has not completed."""
        self._directly = False
        self._last_write_s = 0.0
        # Under EVERYSEC the sync comes later, and the thread does it.
        self._may_be_direct = policy is not SyncPolicy.EVERYSEC
        self._failure: JournalFailed | None = None
        self._closing = False
        self._maker = SegmentMaker(directory, segment_bytes=segment_bytes, retry_s=space_retry_s, origin=origin)
        try:
            self._committer = Committer(
                directory,
                next_seq=next_seq,
                term=term,
                policy=policy,
                maker=self._maker,
                sync_every_s=sync_every_s,
                on_committed=self._note_committed,
                places=places,
            )
        except OSError as error:
            raise failure_of(error, directory) from error
        self._thread = threading.Thread(target=self._run, name="titan-journal", daemon=True)
        self._thread.start()

    def append(self, payload: bytes, count: int, *, synced: bool = False) -> int:
        """Queue one record of `count` events and return its last sequence. Thread-safe, and never
        waits for the disk.

        `synced`: report the record only when it is on the disk, whatever the policy. Raises
        JournalFailed after a failure or `close()`, LimitExceeded if the payload is over 1 GiB.
        """
        if count < 1:
            raise Bug(f"a record holds at least one event, not {count}")
        if len(payload) > MAX_PAYLOAD_BYTES:
            raise LimitExceeded(f"a journal record of {len(payload)} bytes is over {MAX_PAYLOAD_BYTES}: use smaller batches")
        with self._lock:
            self._raise_if_stopped()
            first_seq = self._next_seq
            self._next_seq += count
            self._pending_bytes += RECORD_HEADER_BYTES + len(payload)
            self._unfinished += 1
            self._queue.put(Append(payload, first_seq, count, synced))
        return first_seq + count - 1

    def append_now(self, payload: bytes, count: int) -> int | None:
        """Write one record in the calling thread, if that is likely to be fast, and sync it as the
        policy says. Return its last sequence; `on_synced` is not called. Return None if nothing was
        written: then use `append`.

        A write is likely to be fast if the writer thread is idle, the record is small and fits in
        the segment, and the last write was fast. After a slow write, `append_now` returns None
        until a write of the writer thread was fast. Raises JournalFailed.
        """
        size = RECORD_HEADER_BYTES + len(payload)
        if not self._may_be_direct or size > DIRECT_BYTES or self._last_write_s > DIRECT_S or count < 1:
            return None
        with self._lock:
            self._raise_if_stopped()
            if self._unfinished or not self._committer.can_write_now(size):
                return None
            first_seq = self._next_seq
            self._next_seq += count
            self._directly = True
            try:
                self._write([Append(payload, first_seq, count)])
            except Exception as error:
                self._failure = failure_of(error, self._directory)
                raise self._failure from error
            finally:
                self._directly = False
        return first_seq + count - 1

    def rotate(self) -> int:
        """Ask the thread to seal the segment after all appended records. Return the last sequence
        of these records, without waiting.

        `sealed_through` reaches this sequence when the segment is sealed. The thread does not seal
        a segment without records, and seals no segment while `low_space` is True.
        """
        with self._lock:
            self._raise_if_stopped()
            self._unfinished += 1
            self._queue.put(_Order.ROTATE)
            return self._next_seq - 1

    def close(self) -> None:
        """Write and sync all queued records, seal the segment, and end the thread. Wait until this
        is done. May be called twice.

        A failure is reported by `on_failed` and `failure`.
        """
        with self._lock:
            if not self._closing:
                self._closing = True
                self._unfinished += 1
                self._queue.put(_Order.CLOSE)
        if threading.current_thread() is not self._thread:
            self._thread.join()

    @property
    def term(self) -> int:
        return self._term

    @property
    def next_seq(self) -> int:
        """First sequence of the next append."""
        return self._next_seq

    @property
    def written_seq(self) -> int:
        """Last sequence that was written to the kernel. Records up to it survive the end of this
        process."""
        return self._committer.written_seq

    @property
    def synced_seq(self) -> int:
        """Last sequence that was synced. Records up to it survive a power failure."""
        return self._committer.synced_seq

    @property
    def sealed_through(self) -> int:
        """Last sequence in a sealed segment; `next_seq - 1` of the constructor if none was
        sealed."""
        return self._committer.sealed_through

    @property
    def pending_bytes(self) -> int:
        """Bytes that were appended but not reported yet. The queue has no limit, so the caller must
        stop taking input while this number is too high."""
        return self._pending_bytes

    @property
    def low_space(self) -> bool:
        """True while there is no space for the next segment. Queued records still fit, but the
        caller must refuse new work."""
        return self._maker.low_space

    @property
    def failure(self) -> JournalFailed | None:
        return self._failure

    # -- the writer thread -------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while self._turn():
                pass
        except Exception as error:  # even for a bug in a callback: callers that wait for a sync must get the error
            failure = failure_of(error, self._directory)
            with self._lock:
                self._failure = failure
            self._on_failed(failure)
        finally:
            self._committer.abandon()

    def _turn(self) -> bool:
        """Write all queued items, then do the work that is due. Return False at the end."""
        batch: list[Append] = []
        items = self._take()
        if not items:
            self._run_checks()
        if self._failure is not None:  # `append_now` failed: no record may be written after a failure
            return False
        for item in items:
            if isinstance(item, Append):
                batch.append(item)
                continue
            self._write(batch)
            batch = []
            if item is _Order.CLOSE:
                self._committer.finish()
                return False
            self._committer.rotate(time.monotonic())
        self._write(batch)
        self._committer.do_due_work(time.monotonic())
        with self._lock:
            self._unfinished -= len(items)
        return True

    def _write(self, batch: list[Append]) -> None:
        if batch:
            began = time.monotonic()
            self._committer.write(batch, began)
            self._last_write_s = time.monotonic() - began

    def _run_checks(self) -> None:
        """Run the committer's checks under the lock, because `append_now` may write in another
        thread."""
        with self._lock:
            if self._failure is None:
                self._committer.run_checks(time.monotonic())

    def _take(self) -> list[Append | _Order]:
        """Return all queued items. Wait for the first item, but at most until work is due and at
        most `CHECK_S` seconds."""
        due = self._committer.due_at
        try:
            first = self._queue.get(timeout=CHECK_S if due is None else min(CHECK_S, max(0.0, due - time.monotonic())))
        except Empty:
            return []
        return [first, *(self._queue.get_nowait() for _ in range(self._queue.qsize()))]

    def _note_committed(self, last_seq: int, size: int) -> None:
        if self._directly:
            return
        with self._lock:
            self._pending_bytes -= size
        self._on_synced(last_seq)

    def _raise_if_stopped(self) -> None:
        if self._failure is not None:
            raise JournalFailed(str(self._failure)) from self._failure
        if self._closing:
            raise JournalFailed("the journal is closed: the master is stopping")
