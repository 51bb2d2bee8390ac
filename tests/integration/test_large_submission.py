"""A large DAG is submitted in parts to a real master, which is killed meanwhile."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.cluster import Cluster
from titan import DAG, Client, Job
from titan.errors import InvalidGraph
from titan.sdk import submission

COUNT = 3 * submission.PART_JOBS + 1


def large() -> DAG:
    """Return a large DAG. Its first job waits for all others, so the parts must be sent in another
    order than the jobs."""
    others = [Job(f"job-{i}", command="true", requirement="NOBODY") for i in range(COUNT - 1)]
    return DAG("large", [Job("last", command="true", parents=[job.id for job in others]), *others])


def test_a_large_submission_arrives_whole_although_the_master_is_killed_meanwhile(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path)
    try:
        cluster.start_master()
        killed: list[int] = []

        def progress(sent: int, jobs: int) -> None:
            assert jobs == COUNT
            if sent > submission.PART_JOBS and not killed:
                killed.append(sent)
                cluster.kill_master()
                cluster.start_master()

        with Client(cluster.address) as client:
            run = client.submit(large(), progress=progress)
            status = run.status()
            assert killed and [r.run for r in client.runs()] == [run.id]
        assert {job.id: job.state for job in status.jobs}.pop("last") == "WAITING"
        assert len(status.jobs) == COUNT and status.jobs[-1].id == "last"
    finally:
        cluster.close()


def test_a_bad_large_submission_is_refused_whole(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path)
    try:
        cluster.start_master()
        with Client(cluster.address) as client:
            dag = large()
            with pytest.raises(InvalidGraph, match="used twice"):
                client.submit(DAG("twice", [*dag.jobs, Job("job-1", command="true")]))
            assert client.runs() == []
    finally:
        cluster.close()
