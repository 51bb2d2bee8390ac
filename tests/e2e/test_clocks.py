"""Workers and masters whose wall clock is wrong or is set while they run: real processes under
libfaketime."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.cluster import Cluster
from support.false_clock import FalseClock, remove_leftovers
from support.waiting import until
from titan import DAG, Job
from titan.sdk.status import JobStatus

HOUR, DAY = 3600, 86_400


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path)
    try:
        yield cluster
    finally:
        cluster.close()
        remove_leftovers()


def start_worker(made: Cluster, clock: FalseClock) -> None:
    options = ("--master", made.address, "--name", "w1", "--slots", "1", "--home", str(made.worker_home("w1")))
    made.workers["w1"] = made.spawn("worker", *options, label="w1", env=clock.environment)
    made.wait_for_workers("w1")


def run(made: Cluster, command: str, *, timeout: float) -> tuple[str, JobStatus]:
    run = made.client.submit(DAG("d", [Job("j", command=command, timeout=timeout)]))
    state = run.wait(timeout=60).state
    return state, made.client.job(f"{run.id}/j")[0]


@pytest.mark.parametrize("ahead_s", [-HOUR, HOUR, -100 * DAY, 100 * DAY])
def test_timeouts_and_times_of_jobs_are_right_on_a_worker_whose_clock_is_set(made: Cluster, tmp_path: Path, ahead_s: int) -> None:
    clock = FalseClock(tmp_path / "clock")
    made.start_master()
    start_worker(made, clock)
    clock.set(ahead_s)
    began = time.time()
    state, job = run(made, "sleep 0.3", timeout=30.0)
    assert state == "COMPLETED", job
    assert job.started_at is not None and job.finished_at is not None
    assert began - 1.0 <= job.started_at < job.finished_at <= time.time() + 1.0
    assert 0.3 <= job.finished_at - job.started_at < 20.0
    state, job = run(made, "exec sleep 600", timeout=0.5)
    assert state == "FAILED" and "timed out" in job.reason


def test_a_worker_that_registered_with_a_fast_clock_returns_after_the_clock_was_corrected(made: Cluster, tmp_path: Path) -> None:
    clock = FalseClock(tmp_path / "clock")
    made.start_master()
    clock.set(10 * DAY)
    start_worker(made, clock)
    state, job = run(made, "true", timeout=30.0)
    assert state == "COMPLETED" and job.finished_at is not None and abs(job.finished_at - time.time()) < 60.0
    made.kill_worker("w1")
    until(lambda: made.worker("w1").state != "ALIVE", "the worker is missed")
    clock.set(0)
    start_worker(made, clock)
    assert run(made, "true", timeout=30.0)[0] == "COMPLETED"


def test_a_master_with_a_clock_far_ahead_starts_only_with_consent_and_recovers(made: Cluster, tmp_path: Path) -> None:
    made.start_master()
    made.start_workers("w1")
    assert run(made, "true", timeout=30.0)[0] == "COMPLETED"
    made.kill_master()
    clock = FalseClock(tmp_path / "clock")
    clock.set(100 * DAY)
    refused = made.cli("master", "--home", str(made.home), "--port", str(made.port), env=clock.environment)
    assert refused.returncode == 74, refused
    assert "--accept-clock" in refused.stderr and "100 days after" in refused.stderr, refused.stderr
    accepted = made.spawn(
        *("master", "--home", str(made.home), "--port", str(made.port), "--accept-clock"), label="ahead", env=clock.environment
    )
    until(lambda: made.worker("w1").state == "ALIVE", "the worker has registered with the master whose clock is ahead")
    assert len(made.client.runs()) == 1, "the wrong clock deleted no run"
    state, job = run(made, "sleep 0.2", timeout=30.0)
    assert state == "COMPLETED" and job.finished_at is not None and job.finished_at > time.time() + 99 * DAY
    accepted.kill()
    made.start_master()
    assert made.master is not None and "an earlier start had a clock that was ahead" in made.master.err
    made.wait_for_workers("w1")
    state, job = run(made, "sleep 0.2", timeout=30.0)
    assert state == "COMPLETED" and job.finished_at is not None and abs(job.finished_at - time.time()) < 60.0
    assert "clock" in made.cli("workers").stdout
