"""A worker whose disk is full: what its jobs print cannot be kept, and that is said wherever one looks."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.cluster import QUIET, Cluster, cluster
from titan import DAG, Job

LOST = "output lost: the disk of its worker is full (No space left on device)"


@pytest.fixture
def full(tmp_path: Path) -> Iterator[Cluster]:
    """The home of its worker is on a disk of 4 MiB."""
    with cluster(tmp_path / "c", settings=QUIET) as c:
        home = c.worker_home("w1")
        home.mkdir(parents=True)
        if (
            os.geteuid()
            or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m,mode=700", "tmpfs", home], check=False).returncode
        ):
            pytest.skip("a small disk is needed, and so the right to mount one")
        try:
            c.start_workers("w1")
            yield c
        finally:
            for worker in c.workers.values():
                worker.terminate()
                worker.wait()
            subprocess.run(["umount", "-l", home], check=True)


PRINT = "head -c 8000000 /dev/zero | tr '\\0' x; echo on stderr >&2"


def test_lost_output_is_told(full: Cluster) -> None:
    run = full.client.submit(
        DAG("d", [Job("a", command=PRINT), Job("fine", command="true"), Job("bad", command=f"{PRINT}; exit 3", retries=0)])
    )
    run.wait(timeout=60)
    jobs = {job.id: job for job in full.client.status(run.id).jobs}
    assert (jobs["a"].state, jobs["a"].reason) == ("COMPLETED", LOST)
    assert (jobs["fine"].state, jobs["fine"].reason) == ("COMPLETED", "")
    assert jobs["bad"].state == "DEAD" and jobs["bad"].reason == f"exit code 3; {LOST}"
    assert LOST in full.cli("status", run.id).stdout
    shown = full.cli("logs", f"{run.id}/a")
    assert f"[titan: {LOST}]" in shown.stderr
    assert 0 < len(shown.stdout) < 8_000_000
    full.restart_master()
    assert full.client.job(f"{run.id}/a")[0].reason == LOST


def test_titan_run_says_so_by_its_exit_code(full: Cluster) -> None:
    (full.base / "print.sh").write_text(PRINT)
    done = full.cli("run", "print.sh")
    assert done.returncode == 1
    assert "output of print.sh was lost: the disk of its worker is full" in done.stderr
    waited = full.cli("wait", full.client.runs()[0].run)
    assert waited.returncode == 1 and "was lost" in waited.stderr
