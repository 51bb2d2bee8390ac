"""Protocol of a log. It hides the storage from the users of the log.

A log consists of records and of snapshots of the state after them. One process at a time is the
leader: it opens the log, which begins a term, and appends. Any number of processes are followers:
they load a snapshot and read the records after it, while the leader appends. An engine knows bytes,
sequences and terms, but not the meaning of a payload.

Production uses `FileEngine`, which keeps a log in a directory. `MemoryEngine` is for tests, and
`NoLog` for a master without a journal. Every engine has to pass
tests/unit/journal/test_engines.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import NamedTuple, Protocol, Self

from titan.errors import Conflict, JournalFailed
from titan.journal.records import Record


class Snapshot(NamedTuple):
    """Snapshot whose `chunks` are read lazily. The snapshot is known to be good only when the
    iterator has ended without an error."""

    seq: int
    term: int
    chunks: Iterator[bytes]
    origin: bytes = b""


class SnapshotInfo(NamedTuple):
    """Existing snapshot, good or damaged. `name` is for messages to people."""

    seq: int
    name: str
    made_at: float
    """Seconds since the epoch."""


class LatestSnapshot(NamedTuple):
    """Snapshot from which a replay starts. `info` None: the replay starts at the first record.
    `warnings` name the newer snapshots, which are damaged."""

    info: SnapshotInfo | None
    warnings: tuple[str, ...] = ()

    @property
    def seq(self) -> int:
        return self.info.seq if self.info is not None else 0


def followed_too_far(after_seq: int, last_seq: int) -> Conflict:
    """Return the error of `open` for a caller that has applied records which a crash removed from
    the log."""
    return Conflict(
        f"sequences {last_seq + 1} to {after_seq} were read before they were durable, and a crash removed them: start this"
        " process again, so that it follows the log from its last snapshot"
    )


class CompactionGuard(Protocol):
    """Lock that permits the deletion of records that a snapshot covers. One process at a time holds
    the lock: a compaction, or a starting master that reads these records."""

    def take(self) -> None:
        """Take the lock. Raises Conflict if another process holds it."""

    def take_over(self, patience_s: float = ...) -> None:
        """Take the lock. Wait `patience_s` seconds for it, then end the holder if it is a
        compaction. Raises EnvironmentFault if the holder does not end."""

    def release(self) -> None:
        """Release the lock. May be called twice."""

    def __enter__(self) -> Self: ...
    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None: ...


class OpenLog(Protocol):
    """Log that its leader has open, for one term."""

    @property
    def term(self) -> int:
        """Term of this leader, higher than all earlier terms."""

    @property
    def next_seq(self) -> int:
        """First sequence of the next append."""

    @property
    def pending_bytes(self) -> int:
        """Bytes that were appended but are not durable yet. The queue has no limit, so the caller
        must stop taking input while this number is too high."""

    @property
    def low_space(self) -> bool:
        """True if the storage is almost full. Appended records still fit, but the caller must
        refuse new work."""

    @property
    def sealed_through(self) -> int:
        """Last sequence that a snapshot may cover. Records up to it are sealed: they are durable,
        and their part of the storage is complete."""

    def append(self, payload: bytes, count: int, *, synced: bool = False) -> int:
        """Append one record of `count` events and return its last sequence. Thread-safe, and never
        waits for storage.

        `synced`: report the record as durable only when it survives a power failure, whatever the
        sync policy. Raises JournalFailed after a failure or `close`, LimitExceeded if the payload
        is over 1 GiB.
        """

    def append_now(self, payload: bytes, count: int) -> int | None:
        """Append one record and return its last sequence. The record is durable when this returns,
        and `on_durable` is not called. Return None, without an append, if this would take too long:
        then use `append`."""

    def rotate(self) -> int:
        """Request that all appended records are sealed, so that a snapshot may cover them. Return
        the sequence that `sealed_through` reaches when they are."""

    def close(self) -> None:
        """Make all appended records durable, and end the term. May be called twice."""


class LogEngine(Protocol):
    """Log and its snapshots, in any storage. The constructor does not touch the storage."""

    @property
    def location(self) -> str:
        """Name by which another process can open the same log; "" if no other process can."""

    # -- leading -----------------------------------------------------------------------------------
    def repair(self) -> str:
        """Drop an incomplete end that a crash left. All records that remain are then durable.

        Only the next leader calls this. Return a description of the dropped bytes for people; "" if
        nothing was dropped. Raises JournalCorrupt for damage that a crash cannot cause.
        """

    def open(
        self,
        *,
        after_seq: int,
        above_term: int,
        on_durable: Callable[[int], None],
        on_failed: Callable[[JournalFailed], None],
    ) -> OpenLog:
        """Begin a term and return the log, to append to. Repair the end if `repair` was not called.

        The term is higher than `above_term` and all earlier terms. `after_seq` is the last sequence
        that the caller has applied. If the log goes further (see `next_seq`), the caller reads the
        tail before it appends. Raises Conflict if the caller has applied records that the log lost
        in a crash: the caller has to start again from a snapshot.

        `on_durable(last_seq)` may cover several appends. Another thread may call both callbacks,
        `on_durable` even before `append` returns. After `on_failed` no further record becomes
        durable. If the engine cannot fence other leaders, the caller ensures that there is one
        leader at a time (`HomeLock`).
        """

    # -- following ---------------------------------------------------------------------------------
    def tail(self, after_seq: int = 0, *, live: bool = False) -> Iterator[Record]:
        """Yield all records after `after_seq`, in order, up to the current end of the log.

        `live`: another process may append and compact meanwhile. Then the last records may not be
        durable yet, and LogCompacted means that a snapshot has replaced records after `after_seq`.
        Raises JournalCorrupt for damage, for missing records, and if `after_seq` is within a
        record.
        """

    def first_seq(self) -> int:
        """Return the first sequence that `tail` can still yield; 0 if the log was never opened."""

    # -- snapshots ---------------------------------------------------------------------------------
    def snapshots(self) -> list[SnapshotInfo]:
        """Return all snapshots, oldest first."""

    def latest_snapshot(self) -> LatestSnapshot:
        """Return the newest good snapshot. Raises JournalCorrupt if the records after this snapshot
        are missing, or if there is no snapshot and the first records are missing."""

    def is_good(self, snapshot: SnapshotInfo) -> bool:
        """Read the whole snapshot and return True if it is undamaged. Raises FileNotFoundError if
        the snapshot has been removed."""

    def get_snapshot(self, snapshot: SnapshotInfo) -> Snapshot:
        """Return a snapshot. Raises FileNotFoundError if the snapshot has been removed. Raises
        JournalCorrupt for damage, here or while the chunks are read."""

    def put_snapshot(self, *, seq: int, term: int, chunks: Iterable[bytes]) -> SnapshotInfo:
        """Store the state as of `seq`, the end of a sealed record, durably.

        Raises EnvironmentFault if the storage fails; the log is complete without the snapshot.
        """

    def prune(self, *, keep_snapshots: int = 2, keep_log: bool = False) -> None:
        """Delete the snapshots and records that no recovery needs.

        These are all but the newest `keep_snapshots` good snapshots and, without `keep_log`, the
        records that the oldest kept snapshot covers. Only the holder of the compaction guard calls
        this.
        """

    def compaction_guard(self, *, module: str = "-") -> CompactionGuard:
        """Return the guard without taking it. `module`: a word in the command line of this process,
        if a starting master may kill this process to get the guard."""
