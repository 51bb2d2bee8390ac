"""The lock of a home: one holder at a time, whose pid is in the file, until its process ends."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from titan.errors import Conflict
from titan.host.home_lock import HomeLock

HOLDER = """
import sys
from pathlib import Path
from titan.host.home_lock import HomeLock
with HomeLock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_lock_is_refused_until_the_first_is_released(tmp_path: Path) -> None:
    path = tmp_path / "home" / "lock"
    first, second = HomeLock(path), HomeLock(path)
    with first:
        first.acquire()
        with pytest.raises(Conflict, match=f"{path.parent} is in use by the process with pid {os.getpid()}: stop it"):
            second.acquire()
    first.release()
    with second:
        assert path.read_text() == f"{os.getpid()}\n"


def test_a_process_that_dies_drops_its_lock(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        with pytest.raises(Conflict, match=f"pid {holder.pid}"):
            HomeLock(path).acquire()
        holder.kill()
        holder.wait(10)
    with HomeLock(path):
        pass
