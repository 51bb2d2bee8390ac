"""The master's disk is full. Results, logs and status report that the output of jobs was lost."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.cluster import TITAN, Cluster, cluster

SIZE = 3 << 20


@pytest.fixture
def full(tmp_path: Path) -> Iterator[Cluster]:
    """Provide a cluster whose master keeps its logs on a file system of 1 MiB."""
    logs = tmp_path / "c" / "home" / "logs"
    logs.mkdir(parents=True)
    logs.parent.chmod(0o700)
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m,mode=700", "tmpfs", logs], capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip(f"a small file system cannot be mounted here, which takes privileges: {done.stderr.strip()}")
    try:
        with cluster(tmp_path / "c", "ada") as made:
            yield made
    finally:
        subprocess.run(["umount", "-l", logs], check=True)


def test_lost_output_is_reported(full: Cluster) -> None:
    done = full.cli("run", "--", "head", "-c", str(SIZE), "/dev/zero")
    assert done.returncode == 1, done
    assert "bytes could not be kept (the master's disk: No space left on device)" in done.stderr
    (run,) = full.client.runs()
    assert run.ok
    (job,) = full.client.status(run.run).jobs
    found = re.fullmatch(r"output lost: ([0-9,]+) bytes could not be kept .*", job.reason)
    assert found is not None, job.reason
    target = f"{run.run}/{job.id}"
    shown = subprocess.run([*TITAN, "logs", target], capture_output=True, env=full.environment(), timeout=60, check=False)
    assert job.reason.encode() in shown.stderr
    assert len(shown.stdout) + int(found[1].replace(",", "")) == SIZE, (
        "kept bytes and bytes reported as lost add up to the whole output"
    )
    assert job.reason in full.cli("status", run.run).stdout
    full.restart_master()
    assert full.client.job(target)[0].reason == job.reason


def test_output_that_fits_is_no_loss(full: Cluster) -> None:
    done = full.cli("run", "--", "head", "-c", "1000", "/dev/zero")
    assert done.returncode == 0 and "lost" not in done.stderr, done
    (job,) = full.client.status(full.client.runs()[0].run).jobs
    assert job.reason == ""
