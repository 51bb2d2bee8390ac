"""A worker whose disk has no free inodes cannot start anything. This costs jobs and calls nothing,
and the worker is set aside."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.cluster import FAST, Cluster, cluster
from support.waiting import until
from titan import DAG, Job
from titan.errors import JobFailed


@pytest.fixture
def c(tmp_path: Path) -> Iterator[Cluster]:
    """Provide two workers. The disk of w1's home has no free inodes, and w2 is healthy. All jobs
    may run on either worker."""
    with cluster(tmp_path / "c", settings=FAST) as made:
        home = made.worker_home("w1")
        home.mkdir(parents=True)
        command = ["mount", "-t", "tmpfs", "-o", "size=64m,nr_inodes=400,mode=700", "tmpfs", str(home)]
        if os.geteuid() or subprocess.run(command, check=False).returncode:
            pytest.skip("a disk with few inodes is needed, and so the right to mount one")
        try:
            made.start_workers("w1")
            use_up_inodes(home)
            made.start_workers("w2")
            yield made
        finally:
            for worker in made.workers.values():
                worker.terminate()
                worker.wait()
            subprocess.run(["umount", "-l", home], check=True)


def use_up_inodes(home: Path) -> None:
    (home / "taken").mkdir()
    with pytest.raises(OSError, match="No space left"):
        for n in range(1000):
            (home / "taken" / str(n)).touch()


def double(n: int) -> int:
    return 2 * n


def test_jobs_of_a_sick_worker_are_all_completed_elsewhere(c: Cluster) -> None:
    jobs = [Job(f"j{n}", command="true", retries=0) for n in range(100)]
    run = c.client.submit(DAG("d", jobs))
    assert run.wait(60).ok
    shown = {job.id: job for job in c.client.status(run.id).jobs}
    assert {job.state for job in shown.values()} == {"COMPLETED"} and {job.worker for job in shown.values()} == {"w2"}
    assert any(job.attempt > 1 for job in shown.values()), "w1 has had some of them"
    until(lambda: c.worker("w1").state == "ASIDE", "w1 is set aside", 10.0)
    assert "worker w1 is set aside" in c.cli("workers").stdout


def test_calls_of_a_sick_worker_are_all_completed_elsewhere(c: Cluster) -> None:
    assert list(c.client.map(double, range(100), timeout=60.0)) == [2 * n for n in range(100)]
    (run,) = c.client.runs()
    assert any(job.attempt > 1 for job in c.client.status(run.run).jobs), "w1 has had some of them"
    until(lambda: c.worker("w1").state == "ASIDE", "w1 is set aside", 10.0)


def test_a_call_that_kills_its_runner_has_failed(c: Cluster) -> None:
    error = c.client.call(os._exit, 3).exception(60)
    assert isinstance(error, JobFailed) and "died while it ran the call" in str(error)
    (run,) = c.client.runs()
    (job,) = c.client.status(run.run).jobs
    assert [line for line in c.client.job(f"{run.run}/{job.id}")[1] if "SIGNALED" in line]
