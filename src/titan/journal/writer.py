"""Group commit: many appends, one write, one sync.

Owns the queue and the thread that empties it. It must not know what a payload means, nor the event
loop of whoever appends: callbacks come from the writer thread and the caller marshals them.

The thread takes everything that is queued, writes it with one system call, syncs once and reports
the last sequence; meanwhile the next batch gathers, so the batch grows with the load. While it has
nothing to do, a small record may be written and synced by whoever appends it (`append_now`): on a
quick disk that takes less time than to wake a thread and be woken by it.

Any error of a write or a sync is final. After a failed fsync the kernel may have dropped the pages
and marked them clean, so a second one would succeed and lie: the writer reports once and takes
nothing more.
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
"""`append_now` is for records up to this size, while the disk took no longer than this for the last
one."""


class _Order(Enum):
    ROTATE = "rotate"
    CLOSE = "close"


class JournalWriter:
    """Appends records to segments in `directory`, which is made if it is missing.

    It starts a segment of its own at `next_seq`: repair the tail of the last one first
    (`repair_tail`). That there is one writer per directory is the caller's care (`HomeLock`).
    `on_synced(last_seq)` comes as SyncPolicy says and may cover several appends at once; after
    `on_failed` nothing else is called. The constructor waits for the disk, and raises JournalFailed
    if that fails.
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
        """`places`: files and folders beside the journal's own that must stay what they are (see
        `anchors`) for anything to be reported; JournalFailed when they do not. `origin`: who
        writes, for the headers; at most 32 bytes."""
        if next_seq < 1 or segment_bytes < MIN_SEGMENT_BYTES:
            raise Bug(f"no journal from sequence {next_seq} in segments of {segment_bytes} bytes (at least {MIN_SEGMENT_BYTES})")
        self._directory = directory
        self._on_synced = on_synced
        self._on_failed = on_failed
        self._lock = threading.Lock()
        self._queue: SimpleQueue[Append | _Order] = SimpleQueue()
        self._next_seq = next_seq
        self._term = term
        self._pending_bytes = 0
        self._unfinished = 0
        """Items that the thread has not dealt with."""
        self._directly = False
        self._last_write_s = 0.0
        # whose sync is due later, and the thread's
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
        """Queues one record of `count` events and returns its last sequence. Any thread may call
        it; it never waits for the disk.

        `synced`: it is reported when it is on the disk, whatever the policy.

        Raises JournalFailed after a failure or `close()`, LimitExceeded if the payload is over 1
        GiB.
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
        """Writes and syncs one record here and now and returns its last sequence, if that is likely
        to be short; `on_synced` is not called. None: nothing was done, use `append`.

        It is if the thread has nothing to do, the record is small and fits in the segment, and the
        last sync was quick. One that turns out slow is followed by `append`s until the thread finds
        the disk quick again. Raises JournalFailed.
        """
        size = RECORD_HEADER_BYTES + len(payload)
        if not self._may_be_direct or size > DIRECT_BYTES or self._last_write_s > DIRECT_S or count < 1:
            return None
        with self._lock:
            self._raise_if_stopped()
            if self._unfinished or not self._committer.takes_at_once(size):
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
        """Asks for the segment to be sealed behind all that was appended; returns the last sequence
        of that, without waiting.

        `sealed_through` reaches it once that is done. A segment without records is left as it is,
        and so is any while `low_space` is True.
        """
        with self._lock:
            self._raise_if_stopped()
            self._unfinished += 1
            self._queue.put(_Order.ROTATE)
            return self._next_seq - 1

    def close(self) -> None:
        """Writes and syncs what is queued, cuts the segment to its true size, ends the thread.
        Waits for that; may be called twice.

        A failure in here goes to `on_failed`, as always, and to `failure`.
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
        """The sequence that the next append starts with."""
        return self._next_seq

    @property
    def written_seq(self) -> int:
        """The last sequence that was handed to the kernel: it survives the death of this process."""
        return self._committer.written_seq

    @property
    def synced_seq(self) -> int:
        """The last sequence that was synced: it survives a loss of power. Snapshots go no further."""
        return self._committer.synced_seq

    @property
    def sealed_through(self) -> int:
        """The last sequence in a sealed segment; `next_seq - 1` of the constructor if none was
        sealed."""
        return self._committer.sealed_through

    @property
    def pending_bytes(self) -> int:
        """What was appended and not reported yet. The queue has no bound of its own: take no more
        input while this is too much."""
        return self._pending_bytes

    @property
    def low_space(self) -> bool:
        """No space for the next segment: what is queued still fits, but refuse new work until it is
        False again."""
        return self._maker.low_space

    @property
    def failure(self) -> JournalFailed | None:
        return self._failure

    # -- the writer thread -------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while self._turn():
                pass
        except Exception as error:  # also a bug in a callback: whoever waits for a sync must hear of it
            failure = failure_of(error, self._directory)
            with self._lock:
                self._failure = failure
            self._on_failed(failure)
        finally:
            self._committer.abandon()

    def _turn(self) -> bool:
        """Everything that is queued, then what is due. False at the end."""
        batch: list[Append] = []
        items = self._take()
        if not items:
            self._look_after()
        if self._failure is not None:  # of `append_now`: nothing may follow it
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
        self._committer.tend(time.monotonic())
        with self._lock:
            self._unfinished -= len(items)
        return True

    def _write(self, batch: list[Append]) -> None:
        if batch:
            began = time.monotonic()
            self._committer.write(batch, began)
            self._last_write_s = time.monotonic() - began

    def _look_after(self) -> None:
        """Under the lock, since a record may be written by whoever appends it."""
        with self._lock:
            if self._failure is None:
                self._committer.look_after(time.monotonic())

    def _take(self) -> list[Append | _Order]:
        """Waits for the first item, the time at which something is due, or `CHECK_S`; takes all
        there is."""
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
