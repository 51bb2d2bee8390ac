"""Processes that hide from their job: in a session of their own, without Titan's variables, or with
a parent that has ended."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.cluster import Cluster, alive, cluster
from support.waiting import until
from titan import DAG, Job


@pytest.fixture
def c(tmp_path: Path) -> Iterator[Cluster]:
    with cluster(tmp_path / "c", "w", slots=3) as made:
        yield made


@pytest.mark.parametrize("beside", ["runner", "service"])
def test_a_hidden_process_dies_after_its_job_while_a_runner_or_a_service_stays(c: Cluster, tmp_path: Path, beside: str) -> None:
    if beside == "runner":
        assert c.client.call(pow, 2, 3).result(60) == 8
    else:
        service = Job("s", command="exec sleep 600", type="service", health="none")
        run = c.client.submit(DAG("service", [service]))
        until(lambda: run.status().jobs[0].state == "RUNNING", "the service runs")
    pid = tmp_path / "pid"
    hide = f"env -i PATH=$PATH setsid sh -c 'echo $$ >{pid}.part; mv {pid}.part {pid}; exec sleep 600' &"
    command = f"{hide} while [ ! -e {pid} ]; do :; done"
    assert c.client.submit(DAG("hides", [Job("h", command=command)])).wait(60).ok
    until(lambda: not alive(int(pid.read_text())), "the hidden process is killed", 10.0)
