"""Log in memory for tests, and an empty log for a master without a journal. Neither outlives its
process."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import NamedTuple, NoReturn, Self

from titan.errors import Bug, Conflict, JournalCorrupt, JournalFailed, LimitExceeded, LogCompacted
from titan.journal.engine import LatestSnapshot, Snapshot, SnapshotInfo, followed_too_far
from titan.journal.records import MAX_PAYLOAD_BYTES, Record


class _Kept(NamedTuple):
    term: int
    chunks: tuple[bytes, ...]
    origin: bytes


class MemoryEngine:
    """Log in memory. With `at_once`, a record is durable and reported when `append` returns.
    Without it, records become durable and are reported when the test calls `sync`."""

    location = ""

    def __init__(self, *, at_once: bool = True, origin: bytes = b"") -> None:
        self._at_once = at_once
        self._origin = origin
        self._lock = threading.RLock()
        self._guard = threading.Lock()
        self._records: list[Record] = []
        self._kept: dict[int, _Kept] = {}
        self._base = 0
        """Last sequence that was pruned."""
        self._term = 0
        self._opened = False
        self._durable_seq = 0
        self._log: _MemoryLog | None = None

    # -- faults ------------------------------------------------------------------------------------
    def sync(self) -> None:
        """Make all appended records durable, and report them."""
        with self._lock:
            synced = self._durable_seq = self._last_seq
            log = self._log
        if log is not None:
            log.reported(synced)

    def crash(self) -> None:
        """Drop the records that are not durable, and fail the open log."""
        with self._lock:
            self._records = [record for record in self._records if record.last_seq <= self._durable_seq]
            if self._log is not None:
                self._log.failure = JournalFailed("the process that had this log open is gone")
            self._log = None

    # -- leading -----------------------------------------------------------------------------------
    def repair(self) -> str:
        self._durable_seq = self._last_seq
        return ""

    def open(
        self,
        *,
        after_seq: int,
        above_term: int,
        on_durable: Callable[[int], None],
        on_failed: Callable[[JournalFailed], None],
    ) -> _MemoryLog:
        with self._lock:
            self.repair()
            if after_seq > self._last_seq and after_seq not in self._kept:
                raise followed_too_far(after_seq, self._last_seq)
            self._term = 1 + max(self._term, above_term)
            self._opened = True
            if self._log is not None:
                self._log.failure = JournalFailed("a later term has begun")
            self._log = _MemoryLog(self, self._term, max(self._last_seq, after_seq) + 1, on_durable)
            return self._log

    # -- following ---------------------------------------------------------------------------------
    def tail(self, after_seq: int = 0, *, live: bool = False) -> Iterator[Record]:
        with self._lock:
            records, base = list(self._records), self._base
        if after_seq < base:
            if live and self._kept:
                raise LogCompacted("the log was compacted while it was read: try again")
            raise JournalCorrupt(f"sequences {after_seq + 1} to {base} are missing")
        for record in records:
            if record.first_seq <= after_seq < record.last_seq:
                raise JournalCorrupt(f"sequence {after_seq} is not the end of a record")
            if record.last_seq > after_seq:
                yield record

    def first_seq(self) -> int:
        return self._base + 1 if self._opened else 0

    # -- snapshots ---------------------------------------------------------------------------------
    def snapshots(self) -> list[SnapshotInfo]:
        return [_info(seq) for seq in sorted(self._kept)]

    def latest_snapshot(self) -> LatestSnapshot:
        return LatestSnapshot(_info(max(self._kept)) if self._kept else None)

    def is_good(self, snapshot: SnapshotInfo) -> bool:
        self._find(snapshot)
        return True

    def get_snapshot(self, snapshot: SnapshotInfo) -> Snapshot:
        kept = self._find(snapshot)
        return Snapshot(snapshot.seq, kept.term, iter(kept.chunks), kept.origin)

    def put_snapshot(self, *, seq: int, term: int, chunks: Iterable[bytes]) -> SnapshotInfo:
        self._kept[seq] = _Kept(term, tuple(chunks), self._origin)
        return _info(seq)

    def prune(self, *, keep_snapshots: int = 2, keep_log: bool = False) -> None:
        with self._lock:
            for seq in sorted(self._kept)[: -max(1, keep_snapshots)]:
                del self._kept[seq]
            if self._kept and not keep_log:
                self._base = max(self._base, min(self._kept))
                self._records = [record for record in self._records if record.last_seq > self._base]

    def compaction_guard(self, *, module: str = "-") -> MemoryGuard:
        return MemoryGuard(self._guard)

    # -- for the open log --------------------------------------------------------------------------
    @property
    def _last_seq(self) -> int:
        return self._records[-1].last_seq if self._records else self._base

    def _add(self, record: Record) -> None:
        self._records.append(record)

    def _find(self, snapshot: SnapshotInfo) -> _Kept:
        try:
            return self._kept[snapshot.seq]
        except KeyError:
            raise FileNotFoundError(snapshot.name) from None


class _MemoryLog:
    def __init__(self, engine: MemoryEngine, term: int, next_seq: int, on_durable: Callable[[int], None]) -> None:
        self.term = term
        self.next_seq = next_seq
        self.pending_bytes = 0
        self.low_space = False
        self.failure: JournalFailed | None = None
        self._engine = engine
        self._on_durable = on_durable
        self._closed = False

    @property
    def sealed_through(self) -> int:
        return self._engine._durable_seq

    def append(self, payload: bytes, count: int, *, synced: bool = False) -> int:
        last_seq = self._write(payload, count)
        if self._engine._at_once or synced:
            self._engine.sync()
        return last_seq

    def append_now(self, payload: bytes, count: int) -> int | None:
        with self._engine._lock:
            if not self._engine._at_once or self.pending_bytes:
                return None
            last_seq = self._write(payload, count)
            self._engine._durable_seq, self.pending_bytes = last_seq, 0
            return last_seq

    def rotate(self) -> int:
        return self.next_seq - 1

    def close(self) -> None:
        if not self._closed and self.failure is None:
            self._engine.sync()
        self._closed = True

    def reported(self, seq: int) -> None:
        if self.pending_bytes:
            self.pending_bytes = 0
            self._on_durable(seq)

    def _write(self, payload: bytes, count: int) -> int:
        if count < 1:
            raise Bug(f"a record holds at least one event, not {count}")
        if len(payload) > MAX_PAYLOAD_BYTES:
            raise LimitExceeded(f"a journal record of {len(payload)} bytes is over {MAX_PAYLOAD_BYTES}: use smaller batches")
        engine = self._engine
        with engine._lock:
            if self.failure is not None or self._closed:
                raise JournalFailed(str(self.failure or "the journal is closed: the master is stopping"))
            record = Record(self.next_seq, count, self.term, engine._durable_seq, payload, engine._origin)
            self.next_seq += count
            self.pending_bytes += len(payload)
            engine._add(record)
            return record.last_seq


class MemoryGuard:
    """Compaction guard of a log within one process."""

    def __init__(self, lock: threading.Lock) -> None:
        self._lock = lock
        self._held = False

    def take(self) -> None:
        if not self._lock.acquire(blocking=False):
            raise Conflict("the log is being compacted: try again when that has ended")
        self._held = True

    def take_over(self, patience_s: float = 2.0) -> None:
        if not self._lock.acquire(timeout=patience_s):
            raise Conflict("the log is still being compacted")
        self._held = True

    def release(self) -> None:
        if self._held:
            self._held = False
            self._lock.release()

    def __enter__(self) -> Self:
        if not self._held:
            self.take()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.release()


class NoLog:
    """Log that stores nothing, for a master without a journal. It reports an appended record as
    durable and drops it."""

    location = ""
    term = 0
    next_seq = 1
    pending_bytes = 0
    low_space = False

    def repair(self) -> str:
        return ""

    def open(
        self,
        *,
        after_seq: int,
        above_term: int,
        on_durable: Callable[[int], None],
        on_failed: Callable[[JournalFailed], None],
    ) -> Self:
        self.term = 1 + max(self.term, above_term)
        self.next_seq = max(self.next_seq, after_seq + 1)
        self._on_durable = on_durable
        return self

    @property
    def sealed_through(self) -> int:
        return self.next_seq - 1

    def append(self, payload: bytes, count: int, *, synced: bool = False) -> int:
        self.next_seq += count
        self._on_durable(self.next_seq - 1)
        return self.next_seq - 1

    def append_now(self, payload: bytes, count: int) -> int | None:
        self.next_seq += count
        return self.next_seq - 1

    def rotate(self) -> int:
        return self.next_seq - 1

    def close(self) -> None:
        """Do nothing: nothing is stored or open."""

    def tail(self, after_seq: int = 0, *, live: bool = False) -> Iterator[Record]:
        return iter(())

    def first_seq(self) -> int:
        return 0

    def snapshots(self) -> list[SnapshotInfo]:
        return []

    def latest_snapshot(self) -> LatestSnapshot:
        return LatestSnapshot(None)

    def is_good(self, snapshot: SnapshotInfo) -> bool:
        self._has_none()

    def get_snapshot(self, snapshot: SnapshotInfo) -> Snapshot:
        self._has_none()

    def put_snapshot(self, *, seq: int, term: int, chunks: Iterable[bytes]) -> SnapshotInfo:
        self._has_none()

    def prune(self, *, keep_snapshots: int = 2, keep_log: bool = False) -> None:
        """Do nothing: there is nothing to delete."""

    def compaction_guard(self, *, module: str = "-") -> MemoryGuard:
        return MemoryGuard(threading.Lock())

    def _has_none(self) -> NoReturn:
        raise Bug("a master without a journal has no snapshots")


def _info(seq: int) -> SnapshotInfo:
    return SnapshotInfo(seq, f"snapshot {seq} in memory", 0.0)
