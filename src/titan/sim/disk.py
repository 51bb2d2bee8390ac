"""Simulated disk of the master, which implements an engine of the journal.

The disk keeps synced bytes, unsynced bytes that a crash may tear, and snapshots. The journal's own
code frames the records and detects a torn tail. The disk has one segment and never rotates it,
because the simulation tests which bytes survive, not how files are handled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from random import Random
from threading import Lock
from typing import NamedTuple

from titan.errors import Bug, JournalCorrupt, JournalFailed
from titan.journal.engine import LatestSnapshot, Snapshot, SnapshotInfo, followed_too_far
from titan.journal.memory_engine import MemoryGuard
from titan.journal.records import Record, RecordScanner, encode_record, encode_segment_header
from titan.journal.scan import FileState, SegmentScan

Sync = Callable[[Callable[[], None]], None]
"""Function that begins a sync, and calls its argument when the sync is done."""


class _Kept(NamedTuple):
    seq: int
    term: int
    chunks: list[bytes]


class Disk:
    """Simulated disk. `sync` determines how long a sync takes. `origin` is the origin of all
    records."""

    location = ""

    def __init__(self, sync: Sync, *, origin: bytes = b"") -> None:
        self._sync = sync
        self.origin = origin
        self.data = bytearray(encode_segment_header(1, origin=origin))
        self.safe = len(self.data)
        """Number of leading bytes that survive every crash."""
        self.next_seq = 1
        self.safe_seq = 0
        self._ends = {0: len(self.data)}
        """Last sequence of each record -> offset of its end."""
        self.term = 0
        """Latest term. It survives every crash."""
        self.log: DiskLog | None = None
        self._kept: list[_Kept] = []
        self._guard = Lock()

    # -- faults ------------------------------------------------------------------------------------
    def crash(self, rng: Random) -> bool:
        """Keep the safe bytes and a random part of the unsynced bytes. Return whether there were
        unsynced bytes."""
        self.log = None
        unsynced = len(self.data) - self.safe
        if not unsynced:
            return False
        if rng.random() < 0.3:  # pages are written in any order: leave a hole with data behind it
            at = self.safe + rng.randrange(unsynced)
            size = min(1 + rng.randrange(unsynced), len(self.data) - at)
            self.data[at : at + size] = bytes(size)
        else:
            del self.data[self.safe + rng.randrange(unsynced + 1) :]
        if rng.random() < 0.5:
            self.data += bytes(64)  # preallocated space
        return True

    def synced(self, size: int, seq: int) -> None:
        """Record the end of a sync. When the sync began, `size` bytes were written, and the last
        sequence was `seq`."""
        self.safe, self.safe_seq = size, seq

    # -- leading -----------------------------------------------------------------------------------
    def repair(self) -> str:
        """Cut off the torn tail, and mark the rest as safe. Return a text with the number of
        removed bytes, or an empty text if there was no torn tail."""
        scan = SegmentScan(bytes(self.data), first_seq=1, is_last=True)
        verdict = scan.run()
        assert verdict.state is not FileState.CORRUPT, f"a crash made the journal CORRUPT: {verdict}"
        assert verdict.offset >= self.safe, f"synced records are lost: {verdict}, synced up to {self.safe}"
        dropped = scan.torn_bytes()
        del self.data[verdict.offset :]
        self.safe, self.next_seq, self.safe_seq = len(self.data), scan.next_seq, scan.next_seq - 1
        self._ends = {seq: end for seq, end in self._ends.items() if seq < self.next_seq}
        return f"{dropped} bytes" if dropped else ""

    def open(
        self,
        *,
        after_seq: int,
        above_term: int,
        on_durable: Callable[[int], None],
        on_failed: Callable[[JournalFailed], None],
    ) -> DiskLog:
        self.repair()
        if after_seq >= self.next_seq:
            raise followed_too_far(after_seq, self.next_seq - 1)
        self.term = 1 + max(self.term, above_term)
        self.log = DiskLog(self, self._sync, on_durable)
        return self.log

    # -- following ---------------------------------------------------------------------------------
    def tail(self, after_seq: int = 0, *, live: bool = False) -> Iterator[Record]:
        """Yield the records after a sequence. With `live`, yield only safe records.

        A standby is another machine, and only safe records have reached it.
        """
        begin = self._ends.get(after_seq)
        if begin is None:
            raise JournalCorrupt(f"sequence {after_seq} is not the end of a record")
        data = bytes(self.data[: self.safe] if live else self.data)
        yield from RecordScanner(data, next_seq=after_seq + 1, offset=begin, origin=self.origin)

    def first_seq(self) -> int:
        return 1 if self.term else 0

    # -- snapshots ---------------------------------------------------------------------------------
    def snapshots(self) -> list[SnapshotInfo]:
        return [_info(kept.seq) for kept in self._kept]

    def latest_snapshot(self) -> LatestSnapshot:
        return LatestSnapshot(_info(self._kept[-1].seq) if self._kept else None)

    def is_good(self, snapshot: SnapshotInfo) -> bool:
        return self.get_snapshot(snapshot).seq == snapshot.seq

    def get_snapshot(self, snapshot: SnapshotInfo) -> Snapshot:
        for kept in self._kept:
            if kept.seq == snapshot.seq:
                return Snapshot(kept.seq, kept.term, iter(kept.chunks), self.origin)
        raise FileNotFoundError(snapshot.name)

    def put_snapshot(self, *, seq: int, term: int, chunks: Iterable[bytes]) -> SnapshotInfo:
        assert seq <= self.safe_seq, "a snapshot must not contain events that are not synced"
        self._kept = [kept for kept in self._kept if kept.seq < seq] + [_Kept(seq, term, list(chunks))]
        return _info(seq)

    def prune(self, *, keep_snapshots: int = 2, keep_log: bool = False) -> None:
        """Remove old snapshots. The log stays, because the oracle replays all of it."""
        self._kept = self._kept[-max(1, keep_snapshots) :]

    def compaction_guard(self, *, module: str = "-") -> MemoryGuard:
        return MemoryGuard(self._guard)


class DiskLog:
    """Log with group commit: records that are appended during a sync wait for the next sync."""

    low_space = False

    def __init__(self, disk: Disk, sync: Sync, on_durable: Callable[[int], None]) -> None:
        self.term = disk.term
        self._disk = disk
        self._sync = sync
        self._on_durable = on_durable
        self._syncing = False

    @property
    def next_seq(self) -> int:
        return self._disk.next_seq

    @property
    def sealed_through(self) -> int:
        return self._disk.safe_seq

    @property
    def pending_bytes(self) -> int:
        return len(self._disk.data) - self._disk.safe

    def append(self, payload: bytes, count: int, *, synced: bool = False) -> int:
        disk = self._disk
        if count < 1:
            raise Bug(f"a record holds at least one event, not {count}")
        if disk.log is not self:
            raise JournalFailed("the journal is closed: the master is stopping")
        disk.data += encode_record(payload, first_seq=disk.next_seq, count=count, term=self.term, synced_seq=disk.safe_seq)
        disk.next_seq += count
        disk._ends[disk.next_seq - 1] = len(disk.data)
        self._begin_sync()
        return disk.next_seq - 1

    def append_now(self, payload: bytes, count: int) -> int | None:
        return None

    def rotate(self) -> int:
        return self.next_seq - 1

    def close(self) -> None:
        disk = self._disk
        if disk.log is self:
            disk.log = None
            disk.synced(len(disk.data), disk.next_seq - 1)

    def _begin_sync(self) -> None:
        disk = self._disk
        if self._syncing or disk.safe == len(disk.data):
            return
        self._syncing = True
        size, seq = len(disk.data), disk.next_seq - 1

        def done() -> None:
            if disk.log is self:
                self._syncing = False
                disk.synced(size, seq)
                self._begin_sync()
                self._on_durable(disk.safe_seq)

        self._sync(done)


def _info(seq: int) -> SnapshotInfo:
    return SnapshotInfo(seq, f"snapshot {seq} of the simulated disk", 0.0)
