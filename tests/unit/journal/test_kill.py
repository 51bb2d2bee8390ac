"""Kill the writer with SIGKILL at any moment. All acknowledged records are there afterwards."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest

from titan.journal import open_journal, read_records, repair_tail, verify

CHILD = """
import os, sys
from pathlib import Path
from queue import SimpleQueue
from titan.journal import JournalWriter, SyncPolicy, open_journal, repair_tail

directory, policy = Path(sys.argv[1]), SyncPolicy(sys.argv[2])
repair_tail(directory)
told = SimpleQueue()

def report(seq):
    os.write(1, b"%d\\n" % seq)
    told.put(seq)

writer = JournalWriter(
    directory,
    next_seq=open_journal(directory).next_seq,
    term=os.getpid(),
    policy=policy,
    segment_bytes=20_000,
    on_synced=report,
    on_failed=lambda failure: os._exit(1),
)
while True:
    for _ in range(1 + writer.next_seq % 50):
        seq = writer.next_seq
        last = writer.append(b"%d " % seq * (seq % 97), 1 + seq % 5)
    while told.get() < last:
        pass
"""


@pytest.mark.parametrize("policy", ["always", "everysec", "no"])
def test_acknowledged_records_survive_kill_9(tmp_path: Path, policy: str) -> None:
    moments = random.Random(7)
    acknowledged = 0
    for _ in range(4):
        acknowledged = max(acknowledged, _run_and_kill(tmp_path, policy, moments.randrange(1, 120)))
        repair_tail(tmp_path)
        records = list(read_records(tmp_path))
        assert records[-1].last_seq >= acknowledged
        assert [r.first_seq for r in records[1:]] == [r.last_seq + 1 for r in records[:-1]]
        assert all(r.payload == b"%d " % r.first_seq * (r.first_seq % 97) for r in records)
        assert open_journal(tmp_path).last_seq == records[-1].last_seq
        assert verify(tmp_path).ok
    assert len({r.term for r in read_records(tmp_path)}) == 4


def _run_and_kill(directory: Path, policy: str, reports: int) -> int:
    """Kill the child after this number of reports. Return the last sequence that the child
    reported."""
    with subprocess.Popen([sys.executable, "-c", CHILD, str(directory), policy], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        seen = [child.stdout.readline() for _ in range(reports)]
        child.kill()
        seen += child.stdout.read().splitlines(keepends=True)
    return int([line for line in seen if line.endswith(b"\n")][-1])
