"""A home that cannot be written gives one line and the exit code for faults of the environment."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.cluster import Cluster


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Cluster]:
    made = Cluster(tmp_path / "c")
    made.start_master()
    assert made.master is not None
    made.master.terminate()
    made.master.wait()
    done = subprocess.run(["mount", "--bind", made.home, made.home], capture_output=True, text=True, check=False)
    if not done.returncode:
        done = subprocess.run(["mount", "-o", "remount,bind,ro", made.home], capture_output=True, text=True, check=False)
    try:
        if done.returncode:
            pytest.skip(f"nothing can be mounted here, which takes privileges: {done.stderr.strip()}")
        yield made
    finally:
        subprocess.run(["umount", "-l", made.home], capture_output=True, check=False)
        made.close()


@pytest.mark.parametrize("command", [("master", "--port", "0"), ("store", "--port", "0")])
def test_a_read_only_home_is_an_error_of_one_line(read_only: Cluster, command: tuple[str, ...]) -> None:
    done = read_only.cli(*command, "--home", str(read_only.home))
    assert done.returncode == 74, done
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith(f"titan: the home {read_only.home} cannot be used") and "Read-only file system" in line
    verified = read_only.cli("journal", "verify", "--home", str(read_only.home))
    assert verified.returncode == 0, verified
