"""The durable log: opaque records in, in order and on disk; the same records out after any crash.

Owns the directory of segments and snapshots and its lock. It knows bytes, sequences and terms, and must not know events: what a
payload means is the core's.

A start is: `repair_tail`, `latest_snapshot`, `read_records(after_seq=...)`, then a `JournalWriter` at the next
sequence.
"""

from titan.journal.commit import SyncPolicy
from titan.journal.compaction_lock import CompactionLock
from titan.journal.files import remove_half_made
from titan.journal.inspection import SegmentDescription, SnapshotDescription, VerifyReport, inspect, verify
from titan.journal.mending import Mended, accept_loss
from titan.journal.reader import JournalImage, TornTail, open_journal, read_records, repair_tail
from titan.journal.records import Record, encode_record
from titan.journal.retention import DamagedSnapshot, SnapshotChoice, latest_snapshot, prune
from titan.journal.scan import FileState, Verdict
from titan.journal.snapshot import Snapshot, read_snapshot, write_snapshot
from titan.journal.writer import JournalWriter

__all__ = [
    "CompactionLock",
    "DamagedSnapshot",
    "FileState",
    "JournalImage",
    "JournalWriter",
    "Mended",
    "Record",
    "SegmentDescription",
    "Snapshot",
    "SnapshotChoice",
    "SnapshotDescription",
    "SyncPolicy",
    "TornTail",
    "Verdict",
    "VerifyReport",
    "accept_loss",
    "encode_record",
    "inspect",
    "latest_snapshot",
    "open_journal",
    "prune",
    "read_records",
    "read_snapshot",
    "remove_half_made",
    "repair_tail",
    "verify",
    "write_snapshot",
]
