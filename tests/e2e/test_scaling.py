"""Burst workers with real processes. They start when jobs wait, leave when there is no work, and
never outlive their master."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.cluster import FAST, Cluster, alive, cluster, processes_below
from support.waiting import until
from titan import DAG, Job
from titan.core.events import events as ev

QUICK = {**FAST, "scale_every_s": 0.3, "scale_cooldown_s": 0.5, "scale_patience_s": 1}
SCALED = ("--scale", "GENERAL=0..8", "--burst-slots", "1", "--burst-idle", "1.5")


def burst_processes(c: Cluster) -> dict[int, str]:
    """Return pid -> name of the burst workers' own processes."""
    found = {}
    for pid, command in processes_below(c.home).items():
        if " worker " in command and "--name burst-" in command:
            found[pid] = command.partition("--name ")[2].split()[0]
    return found


def most_at_once(c: Cluster) -> int:
    """Return the maximum number of simultaneous burst workers in the journal."""
    there, most = 0, 0
    for event in c.events():
        if isinstance(event, ev.BurstRequested):
            there += len(event.names)
        elif isinstance(event, ev.BurstEnded):
            there -= len(event.names)
        most = max(most, there)
    assert there == 0
    return most


def wait_until_scaled_down(c: Cluster) -> None:
    until(lambda: not burst_processes(c), "the burst workers' processes end", 30)
    until(lambda: not any(row.bursts or row.leaving for row in c.client.scale()), "the master knows that they have left", 10)
    until(lambda: not list((c.home / "burst").iterdir()), "the homes of the burst workers are gone", 10)
    assert [w.name for w in c.client.workers()] == ["w1"]


@pytest.fixture
def c(tmp_path: Path) -> Iterator[Cluster]:
    with cluster(tmp_path / "c", "w1", slots=1, settings=QUICK, options=SCALED) as made:
        yield made


def test_burst_workers_run_sixty_jobs_and_leave_when_no_job_is_left(c: Cluster) -> None:
    began = time.monotonic()
    run = c.client.submit(DAG("sixty", [Job(f"j{i}", command="sleep 1") for i in range(60)]))
    until(lambda: len(burst_processes(c)) == 8, "eight burst workers are started")
    assert run.wait(50).ok
    assert time.monotonic() - began < 50  # w1 alone would need 60 s
    workers = {job.worker for job in run.status().jobs}
    assert "w1" in workers
    assert len(workers) == 9
    wait_until_scaled_down(c)
    assert most_at_once(c) == 8
    assert set(c.completions(run.id).values()) == {1}
    # an attempt that waited on a worker may be recalled for an idle worker
    lost = [event for event in c.events() if isinstance(event, ev.JobsLost)]
    assert {event.reason for event in lost} <= {"handed back by its worker"}, lost
    assert not [event for event in c.events() if isinstance(event, ev.WorkerLost)]
    assert {job.worker for job in run.status().jobs} == workers, "the jobs keep the names of workers that left"


def test_burst_workers_run_sixty_jobs_although_the_master_is_killed(c: Cluster) -> None:
    run = c.client.submit(DAG("sixty", [Job(f"j{i}", command="sleep 1") for i in range(60)]))
    until(lambda: sum(w.name.startswith("burst-") and w.held > 0 for w in c.client.workers()) == 8, "eight burst workers work")
    before = burst_processes(c)
    c.kill_master()
    until(lambda: not any(alive(pid) for pid in before), "the burst workers end with their master", 10)
    c.start_master(*SCALED)
    until(lambda: len(burst_processes(c)) == 8, "new burst workers are started")
    assert not set(before.values()) & set(burst_processes(c).values()), "the new burst workers have new names"
    assert run.wait(110).ok
    wait_until_scaled_down(c)
    counts = c.completions(run.id)
    assert len(counts) == 60
    assert set(counts.values()) == {1}
    assert not [e for e in c.events() if isinstance(e, ev.JobsLost) and e.blamed], "no job is to blame for the master's death"


def test_a_burst_worker_that_is_killed_is_replaced(c: Cluster) -> None:
    go = c.base / "go"
    wait = f"while [ ! -e {go} ]; do sleep 0.05; done"
    run = c.client.submit(DAG("wait", [Job(f"j{i}", command=wait) for i in range(6)]))
    until(lambda: sum(job.state == "RUNNING" for job in run.status().jobs) == 6, "all jobs run")
    pid, name = next(iter(burst_processes(c).items()))
    os.kill(pid, signal.SIGKILL)
    until(lambda: name not in burst_processes(c).values(), "the killed burst worker is gone")
    until(lambda: sum(job.state == "RUNNING" for job in run.status().jobs) == 6, "all jobs run again")
    go.touch()
    assert run.wait(30).ok
    wait_until_scaled_down(c)
    lost = [e for e in c.events() if isinstance(e, ev.WorkerLost)]
    assert [e.reason for e in lost] == [f"worker {name} ended: it was killed by signal 9"]


def test_a_master_that_stops_takes_its_burst_workers_along(c: Cluster) -> None:
    run = c.client.submit(DAG("wait", [Job(f"j{i}", command="sleep 300") for i in range(4)]))
    until(lambda: sum(job.state == "RUNNING" for job in run.status().jobs) == 4, "all jobs run")
    assert c.master is not None
    c.master.terminate()
    assert c.master.wait() == 0
    assert not burst_processes(c)
    c.start_master("--quiet")
    until(lambda: sum(job.state == "RUNNING" for job in run.status().jobs) == 1, "the permanent worker goes on with its own")
    assert c.client.scale() == []
    run.cancel()


def test_scale_shows_the_last_decision_and_its_reason(c: Cluster) -> None:
    (row,) = c.json("scale")
    assert (row["rule"], row["least"], row["most"], row["bursts"], row["demand"]) == ("GENERAL", 0, 8, [], 0)
    until(lambda: c.json("scale")[0]["looked_at"], "the master has looked at the demand")
    assert c.json("scale")[0]["decision"] == "no change: nothing is queued"
    run = c.client.submit(DAG("three", [Job(f"j{i}", command="sleep 300") for i in range(4)]))
    until(lambda: sum(job.state == "RUNNING" for job in run.status().jobs) == 4, "burst workers run them")
    text = c.cli("scale").stdout
    assert text.splitlines()[0].split() == ["CAPABILITY", "QUEUED", "BUSY", "BURST", "MIN..MAX", "LAST", "DECISION"]
    assert text.splitlines()[1].split()[0] == "GENERAL"
    assert "0..8" in text
    run.cancel()
    wait_until_scaled_down(c)


def test_a_minimum_is_kept_and_another_capability_costs_nothing(tmp_path: Path) -> None:
    options = ("--scale", "GPU=1..2", "--scale", "GENERAL=0..1", "--burst-slots", "2", "--burst-idle", "0.5")
    with cluster(tmp_path / "c", "w1", slots=2, settings=QUICK, options=options) as c:
        until(lambda: len(burst_processes(c)) == 1, "the minimum is started")
        run = c.client.submit(DAG("gpu", [Job("a", command="true", requirement="GPU")]))
        assert run.wait(20).ok
        name = run.status().jobs[0].worker
        assert name is not None
        assert c.worker(name).capabilities == ("GPU",)
        gpu = next(row for row in c.client.scale() if row.rule == "GPU")
        assert gpu.bursts == (name,)


# -- workers that are told to leave ----------------------------------------------------------------
def test_a_worker_is_drained(tmp_path: Path) -> None:
    with cluster(tmp_path / "c", "w1", slots=1) as c:
        go = c.base / "go"
        run = c.client.submit(DAG("d", [Job(f"j{i}", command=f"while [ ! -e {go} ]; do sleep 0.02; done") for i in range(2)]))
        until(lambda: any(job.state == "RUNNING" for job in run.status().jobs), "one job runs")
        assert c.json("workers", "drain", "w1") == {"name": "w1", "state": "ALIVE", "held": 2}
        until(lambda: c.worker("w1").state == "DRAINING", "the worker drains")
        late = c.cli("workers", "stop", "w1", "--timeout", "0.3")
        assert (late.returncode, late.stdout) == (1, "worker w1 still has jobs to finish after 0.3 s: --now kills them\n")
        go.touch()
        assert c.workers["w1"].wait() == 0
        assert sorted(job.state for job in run.status().jobs) == ["COMPLETED", "QUEUED"]
        assert c.cli("workers", "drain", "w1").stdout == "worker w1 is LEFT already\n"
        unknown = c.cli("workers", "drain", "w9")
        assert (unknown.returncode, unknown.stderr) == (2, "titan: there is no worker 'w9': `titan workers` lists them\n")
        c.start_workers("w2")
        assert run.wait(20).ok


def test_a_worker_is_stopped_at_once_and_its_jobs_run_elsewhere(tmp_path: Path) -> None:
    with cluster(tmp_path / "c", "w1", "w2", slots=1) as c:
        run = c.client.submit(DAG("d", [Job("a", command='[ "$TITAN_ATTEMPT" = 2 ] || sleep 300')]))
        until(lambda: run.status().jobs[0].state == "RUNNING", "the job runs")
        name = run.status().jobs[0].worker
        assert name is not None
        done = c.cli("workers", "stop", name, "--now")
        assert (done.returncode, done.stdout) == (0, f"worker {name} has left\n")
        assert c.workers[name].wait() == 0
        assert run.wait(20).ok
        (job,) = run.status().jobs
        assert (job.attempt, job.worker != name) == (2, True)


def test_a_worker_that_was_away_gets_the_order_to_drain_on_its_return(tmp_path: Path) -> None:
    """The order is in the journal, so it survives a restart of the master."""
    with cluster(tmp_path / "c", "w1", settings=FAST) as c:
        worker = c.workers["w1"]
        os.kill(worker.pid, signal.SIGSTOP)
        try:
            c.client.drain_worker("w1")
            c.restart_master()
        finally:
            os.kill(worker.pid, signal.SIGCONT)
        assert worker.wait(30) == 0
        until(lambda: c.worker("w1").state in ("LEFT", "LOST"), "the worker has left, perhaps before it was connected again")
        assert any(isinstance(e, ev.WorkerAsked) for e in c.events())


def test_workers_that_are_gone_for_long_are_forgotten_and_their_names_are_not(tmp_path: Path) -> None:
    with cluster(tmp_path / "c", "w1", settings={**FAST, "forget_s": 0.5}) as c:
        run = c.client.submit(DAG("d", [Job("a", command="true")]))
        assert run.wait(20).ok
        c.workers["w1"].terminate()
        until(lambda: not c.client.workers(), "the worker is forgotten")
        assert run.status().jobs[0].worker == "w1"
        assert "on w1" in "\n".join(c.client.job(f"{run.id}/a")[1])
        c.restart_master()
        assert run.status().jobs[0].worker == "w1"
        c.start_workers("w1")
        again = c.client.submit(DAG("d", [Job("a", command="true")]))
        assert again.wait(20).ok


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--scale", "GENERAL"), "--scale 'GENERAL' is not a scaling rule: give CAPABILITY=MIN..MAX, for example GENERAL=0..8"),
        (("--scale", "GENERAL=3..2"), "--scale 'GENERAL=3..2': the maximum must be at least 1, and the minimum not above it"),
        (("--scale", "GE NERAL=0..2"), "--scale GE NERAL=0..2: 'GE NERAL' is not a valid capability"),
        (("--scale", "G=0..1", "--scale", "G=0..2"), "--scale G=0..2: there is another rule for G: remove one of them"),
        (("--set", "scale=1"), "--set scale=1: use --scale TAG=MIN..MAX instead"),
    ],
)
def test_invalid_rules_are_refused(tmp_path: Path, options: tuple[str, ...], said: str) -> None:
    c = Cluster(tmp_path / "c")
    done = c.cli("master", "--home", str(c.home), "--port", "0", *options)
    assert (done.returncode, done.stderr.startswith(f"titan: {said}")) == (2, True), done.stderr


def test_names_of_burst_workers_are_reserved(tmp_path: Path) -> None:
    with cluster(tmp_path / "c") as c:
        done = c.cli("worker", "--name", "burst-1", "--home", str(c.base / "w"))
        assert done.returncode == 2
        assert "names that begin with burst- are reserved for workers that a master starts" in done.stderr


def test_a_cluster_of_this_machine_scales_too(tmp_path: Path) -> None:
    c = Cluster(tmp_path / "c")
    try:
        up = c.spawn("up", "--home", str(c.home), "--port", "0", "--workers", "0", "--scale", "GENERAL=1..1", label="up")
        until(lambda: "Titan is up at" in up.err or not up.running, "the cluster is up")
        c.port = int(up.err.partition("Titan is up at ")[2].split()[0].rpartition(":")[2])
        (row,) = c.client.scale()
        assert (row.rule, row.least, row.most) == ("GENERAL", 1, 1)
        up.interrupt()
        assert up.wait() in (0, 1)
    finally:
        c.close()
