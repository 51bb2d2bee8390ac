"""Durable log, which appends opaque records in order and returns them in order after a crash.

The log knows bytes, sequences and terms. It must not know events: only the core knows the meaning
of a payload. `engine` is the protocol of a log, independent of its storage. `file_engine`
implements this protocol with a directory of segments and snapshots, and uses the other modules
here.

A master starts in four steps: call `repair`, load the newest snapshot, read the `tail` after that
snapshot, and call `open`. `open` begins a term and returns the log for appends.
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
