"""The durable log: opaque records in, in order; the same records out after any crash.

It knows bytes, sequences and terms, and must not know events: what a payload means is the core's.
`engine` is the protocol by which a log is used, wherever it is kept. `file_engine` keeps one in a
directory of segments and snapshots, made of what else is here.

A start is: `repair`, the newest snapshot, the `tail` behind it, then `open`, which gives a term and
the log to append to.
"""

from titan.journal.commit import SyncPolicy
from titan.journal.compaction_lock import CompactionLock
from titan.journal.engine import LatestSnapshot, LogEngine, OpenLog, Snapshot, SnapshotInfo
from titan.journal.file_engine import FileEngine
from titan.journal.files import remove_half_made
from titan.journal.inspection import SegmentDescription, SnapshotDescription, VerifyReport, inspect, verify
from titan.journal.memory_engine import MemoryEngine, NoLog
from titan.journal.mending import Mended, accept_loss
from titan.journal.reader import JournalImage, TornTail, open_journal, read_records, repair_tail
from titan.journal.records import Record, encode_record
from titan.journal.retention import DamagedSnapshot, SnapshotChoice, latest_snapshot, prune
from titan.journal.scan import FileState, Verdict
from titan.journal.snapshot import read_snapshot, write_snapshot
from titan.journal.writer import JournalWriter

__all__ = [
    "CompactionLock",
    "DamagedSnapshot",
    "FileEngine",
    "FileState",
    "JournalImage",
    "JournalWriter",
    "LatestSnapshot",
    "LogEngine",
    "MemoryEngine",
    "Mended",
    "NoLog",
    "OpenLog",
    "Record",
    "SegmentDescription",
    "Snapshot",
    "SnapshotChoice",
    "SnapshotDescription",
    "SnapshotInfo",
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
