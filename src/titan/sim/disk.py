"""The master's disk: bytes that are safe, bytes that a crash may tear, and snapshots.

Framing and judging a torn tail are the journal's own code. One segment, never rotated: this is about what survives, not files.
"""

from __future__ import annotations

from random import Random
from typing import NamedTuple

from titan.journal.records import Record, encode_record, encode_segment_header
from titan.journal.scan import FileState, SegmentScan


class Snapshot(NamedTuple):
    seq: int
    chunks: list[bytes]


class Disk:
    def __init__(self) -> None:
        self.data = bytearray(encode_segment_header(1))
        self.safe = len(self.data)
        """Bytes before this survive anything."""
        self.next_seq = 1
        self.safe_seq = 0
        self.snapshots: list[Snapshot] = []

    def append(self, payload: bytes, count: int, term: int) -> int:
        """Writes a record without syncing it; returns its last sequence."""
        self.data += encode_record(payload, first_seq=self.next_seq, count=count, term=term, synced_seq=self.safe_seq)
        self.next_seq += count
        return self.next_seq - 1

    def synced(self, size: int, seq: int) -> None:
        """A sync that was begun when `size` bytes were written is done."""
        self.safe, self.safe_seq = size, seq

    def keep(self, snapshot: Snapshot) -> None:
        """A snapshot was written and renamed; the last two are kept."""
        assert snapshot.seq <= self.safe_seq, "a snapshot goes no further than the synced log"
        self.snapshots = [*self.snapshots[-1:], snapshot]

    def crash(self, rng: Random) -> bool:
        """Keeps what is safe and, of the rest, whatever the kernel happened to have written. Whether there was such a rest."""
        loose = len(self.data) - self.safe
        if not loose:
            return False
        if rng.random() < 0.3:  # pages are written in any order: a hole, with data behind it
            at = self.safe + rng.randrange(loose)
            size = min(1 + rng.randrange(loose), len(self.data) - at)
            self.data[at : at + size] = bytes(size)
        else:
            del self.data[self.safe + rng.randrange(loose + 1) :]
        if rng.random() < 0.5:
            self.data += bytes(64)  # preallocation
        return True

    def recover(self) -> list[Record]:
        """All records; cuts off the torn tail, and what is left is safe."""
        scan = SegmentScan(bytes(self.data), first_seq=1, is_last=True)
        records = list(scan)
        verdict = scan.verdict
        assert verdict.state is not FileState.CORRUPT, f"a crash made the journal CORRUPT: {verdict}"
        assert verdict.offset >= self.safe, f"synced records are gone: {verdict}, synced up to {self.safe}"
        del self.data[verdict.offset :]
        self.safe, self.next_seq, self.safe_seq = len(self.data), scan.next_seq, scan.next_seq - 1
        return records
