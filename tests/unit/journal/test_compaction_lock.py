"""At most one compaction runs at a time, none runs while a start replays, and none outlives its
master."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from support.cluster import alive
from support.waiting import until
from titan.errors import Conflict, EnvironmentFault
from titan.journal import CompactionLock, JournalWriter, SyncPolicy
from titan.journal.compaction_lock import LOCK_NAME
from titan.master.compaction import MODULE, compact
from titan.master.storage import open_storage

HOLD = "import sys\nfrom pathlib import Path\nfrom titan.journal import CompactionLock\n"
HOLD += "CompactionLock(Path(sys.argv[1]), module='titan.master.compaction').take()\nprint('held', flush=True)\nsys.stdin.read()"


def holder(store: Path, *more: str) -> subprocess.Popen[bytes]:
    """Start a process that holds the lock and identifies itself as a compactor. `more` are further
    words of its command line."""
    child = subprocess.Popen([sys.executable, "-c", HOLD, str(store), *more], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdout is not None and child.stdout.readline() == b"held\n"
    return child


def end(child: subprocess.Popen[bytes]) -> None:
    child.kill()
    child.wait()
    for stream in (child.stdin, child.stdout):
        if stream is not None:
            stream.close()


def test_a_second_compaction_is_refused_and_names_the_first(tmp_path: Path) -> None:
    with CompactionLock(tmp_path), pytest.raises(Conflict, match=f"pid {os.getpid()}"):
        compact(open_storage(tmp_path), 1)
    assert compact(open_storage(tmp_path), 1) is None


def test_a_start_waits_for_a_compaction_that_ends(tmp_path: Path) -> None:
    child = holder(tmp_path)
    assert child.stdin is not None
    child.stdin.close()
    lock = CompactionLock(tmp_path)
    lock.take_over(patience_s=10.0)
    assert child.poll() == 0 or child.wait(10) == 0
    lock.release()
    end(child)


def test_a_start_kills_a_compactor_that_does_not_end_even_a_stopped_one(tmp_path: Path) -> None:
    child = holder(tmp_path, MODULE)
    os.kill(child.pid, signal.SIGSTOP)
    lock = CompactionLock(tmp_path)
    lock.take_over(patience_s=0.05)
    lock.release()
    assert child.wait(10) == -signal.SIGKILL
    end(child)


def test_a_start_names_a_holder_that_is_no_compactor_and_leaves_it_alone(tmp_path: Path) -> None:
    child = holder(tmp_path)
    with pytest.raises(EnvironmentFault, match=f"pid {child.pid}, which is not a compaction of Titan: end that process"):
        CompactionLock(tmp_path).take_over(patience_s=0.05)
    assert child.poll() is None
    (tmp_path / LOCK_NAME).write_text(f"{child.pid} 1 {MODULE}\n")  # The kernel has given the pid to another process.
    with pytest.raises(EnvironmentFault, match="not a compaction"):
        CompactionLock(tmp_path).take_over(patience_s=0.05)
    assert child.poll() is None
    end(child)


def test_a_compactor_ends_with_its_parent(tmp_path: Path) -> None:
    """Kill a process between this one and the compactor, as a master would be killed."""
    wait = "import os, sys, time\nfrom titan.master.child_process import begin_beside\nbegin_beside(int(sys.argv[1]))\n"
    wait += "print(os.getpid(), flush=True)\ntime.sleep(600)"
    start = f"import os, subprocess, sys\nsubprocess.run([sys.executable, '-c', {wait!r}, str(os.getpid())])"
    parent = subprocess.Popen([sys.executable, "-c", start], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    parent.kill()
    until(lambda: not alive(pid), "it ends with its parent", 10.0)
    parent.communicate()


def test_a_compactor_whose_parent_has_ended_already_does_nothing(tmp_path: Path) -> None:
    writer = JournalWriter(
        tmp_path, next_seq=1, term=1, policy=SyncPolicy.NO, on_synced=lambda seq: None, on_failed=lambda failure: None
    )
    writer.append(b"\x90", 1)
    writer.close()
    done = subprocess.run([sys.executable, "-m", MODULE, str(tmp_path), "1", "1"], capture_output=True, text=True, check=False)
    assert done.returncode != 0 and "the master has ended" in done.stderr
    assert not list(tmp_path.glob("*.snap"))
