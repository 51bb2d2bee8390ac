"""The protocol of a log: all that its users know of where it is kept.

A log is a sequence of records, and snapshots of the state that they give. One process at a time
leads: it opens the log, which begins a term, and appends. Any number of processes follow: they take
a snapshot and read the tail behind it, while the leader appends. The engine knows bytes, sequences
and terms; what a payload means is its users' matter.

`FileEngine` keeps a log in a directory and is the one that ships. `MemoryEngine` is for tests,
`NoLog` for a master without a journal. tests/unit/journal/test_engines.py is what every engine has
to pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import NamedTuple, Protocol, Self

from titan.errors import Conflict, JournalFailed
from titan.journal.records import Record


class Snapshot(NamedTuple):
    """`chunks` are read as they are taken: only their end without an error proves the whole
    snapshot good."""

    seq: int
    term: int
    chunks: Iterator[bytes]
    origin: bytes = b""


class SnapshotInfo(NamedTuple):
    """A snapshot that is there, good or not. `name` is for messages to people."""

    seq: int
    name: str
    made_at: float
    """In seconds since the epoch."""


class LatestSnapshot(NamedTuple):
    """Where a replay starts; None: at the first record. `warnings` name newer snapshots that are
    damaged."""

    info: SnapshotInfo | None
    warnings: tuple[str, ...] = ()

    @property
    def seq(self) -> int:
        return self.info.seq if self.info is not None else 0


def followed_too_far(after_seq: int, last_seq: int) -> Conflict:
    """The error of `open` for a caller that has applied what a crash took from the log."""
    return Conflict(
        f"sequences {last_seq + 1} to {after_seq} were read before they were durable, and a crash took them: start this process"
        " again, so that it follows the log from its last snapshot"
    )


class CompactionGuard(Protocol):
    """Held by whoever deletes what snapshots cover, and by whoever must not have it deleted
    meanwhile. One process has it."""

    def take(self) -> None:
        """Raises Conflict if another process has it."""

    def take_over(self, patience_s: float = ...) -> None:
        """Wait `patience_s` for the holder, then end it if it is a compaction. Raises
        EnvironmentFault if it stays."""

    def release(self) -> None:
        """May be called twice."""

    def __enter__(self) -> Self: ...
    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None: ...


class OpenLog(Protocol):
    """A log as its leader has it, for the length of a term."""

    @property
    def term(self) -> int:
        """Above every term that was given before."""

    @property
    def next_seq(self) -> int:
        """The sequence that the next append starts with."""

    @property
    def pending_bytes(self) -> int:
        """Bytes that were appended and are not durable. The queue has no bound: take no more input
        while this is too much."""

    @property
    def low_space(self) -> bool:
        """Whether new work is to be refused: what was appended still fits."""

    @property
    def sealed_through(self) -> int:
        """The last sequence that a snapshot may cover."""

    def append(self, payload: bytes, count: int, *, synced: bool = False) -> int:
        """Append one record of `count` events, return its last sequence. Any thread may call it; it
        never waits for storage.

        `synced`: it is reported as durable once it survives a loss of power, whatever the sync
        policy.

        Raises JournalFailed after a failure or `close`, LimitExceeded if the payload is over 1 GiB.
        """

    def append_now(self, payload: bytes, count: int) -> int | None:
        """The same, and durable when it returns; `on_durable` is not called. None: that would take
        long, use `append`."""

    def rotate(self) -> int:
        """Ask that all appended so far may be covered by a snapshot: `sealed_through` reaches the
        sequence returned."""

    def close(self) -> None:
        """Make durable what was appended, and end the term. May be called twice."""


class LogEngine(Protocol):
    """A log and its snapshots, wherever they are. It is made without touching them."""

    @property
    def location(self) -> str:
        """How another process names the same log; "": none can reach it."""

    # -- leading -----------------------------------------------------------------------------------
    def repair(self) -> str:
        """Drop what a crash left half written at the end, so that what can be read from now on is
        durable.

        For the process that leads next. Returns what was dropped, for people; "" if nothing was.
        Raises JournalCorrupt for damage that no crash explains.
        """

    def open(
        self,
        *,
        after_seq: int,
        above_term: int,
        on_durable: Callable[[int], None],
        on_failed: Callable[[JournalFailed], None],
    ) -> OpenLog:
        """Begin a term and return the log, to append to. It repairs the end if `repair` was not
        called.

        The term is above `above_term` and every term that was given before. `after_seq` is the last
        sequence that the caller has applied. If the log goes further (`next_seq` says so), the
        caller reads the tail before it appends. Raises Conflict if the caller has applied more than
        the log has kept: it has to follow anew.

        `on_durable(last_seq)` may cover several appends; both callbacks may come from another
        thread, `on_durable` before `append` has returned. After `on_failed` nothing is durable any
        more. That one process leads at a time is the caller's care where the engine cannot fence
        another (`HomeLock`).
        """

    # -- following ---------------------------------------------------------------------------------
    def tail(self, after_seq: int = 0, *, live: bool = False) -> Iterator[Record]:
        """All records behind `after_seq`, in order, up to the end that there is now.

        `live`: another process may be appending and compacting. Then the last records may not be
        durable yet, and LogCompacted says that a snapshot has replaced records behind `after_seq`.
        Raises JournalCorrupt for damage, for missing records and if `after_seq` lies within a
        record.
        """

    def first_seq(self) -> int:
        """The first sequence that `tail` can still give; 0 if the log has never been opened."""

    # -- snapshots ---------------------------------------------------------------------------------
    def snapshots(self) -> list[SnapshotInfo]:
        """All, the oldest first."""

    def latest_snapshot(self) -> LatestSnapshot:
        """The newest good one. Raises JournalCorrupt if the records behind it, or behind the
        beginning, are gone."""

    def is_good(self, snapshot: SnapshotInfo) -> bool:
        """Read it from end to end. Raises FileNotFoundError if it has been removed."""

    def get_snapshot(self, snapshot: SnapshotInfo) -> Snapshot:
        """Raises JournalCorrupt, here or as its chunks are taken; FileNotFoundError if it has been
        removed."""

    def put_snapshot(self, *, seq: int, term: int, chunks: Iterable[bytes]) -> SnapshotInfo:
        """Keep the state as of `seq`, the end of a record that is sealed. Durable when it returns.

        Raises EnvironmentFault if storage refuses: the log is whole without it.
        """

    def prune(self, *, keep_snapshots: int = 2, keep_log: bool = False) -> None:
        """Delete what no recovery needs: older snapshots, and the records that the oldest snapshot
        kept covers.

        For the holder of the compaction guard.
        """

    def compaction_guard(self, *, module: str = "-") -> CompactionGuard:
        """`module`: what the command line of this process names if a start may kill it."""
