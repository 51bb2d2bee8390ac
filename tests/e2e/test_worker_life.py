"""Workers that drain, are stopped, killed or frozen, or lose their master. No process of a job is
left, and none runs in vain."""

from __future__ import annotations

import json
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.cluster import FAST, QUIET, Cluster, alive, cluster, processes_below
from support.waiting import until
from titan import DAG, Job
from titan.sdk.run import Run


@pytest.fixture
def c(tmp_path: Path) -> Iterator[Cluster]:
    with cluster(tmp_path / "c") as made:
        yield made


@pytest.fixture
def fast(tmp_path: Path) -> Iterator[Cluster]:
    """Provide a cluster in which a silent worker is LOST within seconds."""
    with cluster(tmp_path / "c", settings=FAST) as made:
        yield made


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Cluster]:
    """Provide a cluster in which a worker keeps its name for a minute of silence."""
    with cluster(tmp_path / "c", settings={**QUIET, "name_guard_s": 60}) as made:
        yield made


class Gate:
    """A command that reports its start and ends on request."""

    def __init__(self, folder: Path, name: str = "gate") -> None:
        self.starts, self.go = folder / f"{name}.starts", folder / f"{name}.go"
        self.command = f"echo $$ >>{self.starts}; while [ ! -e {self.go} ]; do sleep 0.02; done; echo done"

    @property
    def pids(self) -> list[int]:
        return [int(line) for line in self.starts.read_text().split()] if self.starts.exists() else []

    def wait(self, times: int = 1) -> None:
        until(lambda: len(self.pids) == times, f"it has begun {times} times")

    def open(self) -> None:
        self.go.touch()


def state(run: Run, job: int = 0) -> str:
    return run.status().jobs[job].state


# -- SIGTERM ---------------------------------------------------------------------------------------
def test_a_worker_drains_on_sigterm(c: Cluster, tmp_path: Path) -> None:
    """The worker finishes its running job, the waiting jobs run on another worker, and the worker
    ends with exit code 0."""
    gate = Gate(tmp_path)
    c.start_workers("old", slots=1)
    running = c.client.submit(DAG("running", [Job("a", command=gate.command)]))
    gate.wait()
    queued = c.client.submit(DAG("queued", [Job(f"q{n}", command="true", retries=0) for n in range(6)]))
    c.workers["old"].terminate()
    until(
        lambda: c.worker("old").state == "DRAINING" or "drain" in c.cli("workers").stdout.lower(), "the master knows that it drains"
    )
    c.start_workers("new", slots=1)
    assert queued.wait(20).ok
    assert {job.worker for job in queued.status().jobs} == {"new"}
    assert c.workers["old"].running
    gate.open()
    assert running.wait(20).ok
    (job,) = running.status().jobs
    assert (job.worker, job.attempt, len(gate.pids)) == ("old", 1, 1)
    assert c.workers["old"].wait() == 0, c.workers["old"].err
    assert c.worker("old").state == "LEFT"
    assert not processes_below(c.worker_home("old"))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_stops_a_draining_worker_at_once(c: Cluster, tmp_path: Path, number: int) -> None:
    """The running job is handed back. This costs it no retry, and counts as no loss of a worker."""
    gate = Gate(tmp_path)
    c.start_workers("w1")
    run = c.client.submit(DAG("again", [Job("a", command=gate.command, retries=0)]))
    gate.wait()
    os.kill(c.workers["w1"].pid, number)
    until(lambda: c.worker("w1").state == "DRAINING", "the worker drains")
    os.kill(c.workers["w1"].pid, number)
    assert c.workers["w1"].wait(5) == 0
    assert not processes_below(c.worker_home("w1"))
    assert not alive(gate.pids[0])
    until(lambda: state(run) == "QUEUED", "the job is queued again")
    c.start_workers("w2")
    gate.wait(times=2)
    gate.open()
    assert run.wait(20).ok


def test_an_idle_worker_leaves_at_once(c: Cluster) -> None:
    c.start_workers("w1")
    c.workers["w1"].terminate()
    assert c.workers["w1"].wait(5) == 0
    assert c.worker("w1").state == "LEFT"
    c.start_workers("w1")
    assert c.client.submit(DAG("one", [Job("a", command="true")])).wait(20).ok


def test_a_worker_that_never_found_its_master_ends_on_sigterm(c: Cluster) -> None:
    c.kill_master()
    worker = c.start_worker("w1")
    until(lambda: "no master answers" in worker.err, "the worker tries to connect")
    worker.terminate()
    assert worker.wait(5) == 0


# -- kill -9 ---------------------------------------------------------------------------------------
def test_a_killed_worker_leaves_no_process_and_its_jobs_run_elsewhere(fast: Cluster, tmp_path: Path) -> None:
    gate = Gate(tmp_path)
    fast.start_workers("w1", slots=1)
    hidden = f"(setsid env -i sleep 600 &); setsid sleep 600 & {gate.command}"
    run = fast.client.submit(DAG("lost", [Job("a", command=hidden, retries=0)]))
    gate.wait()
    fast.kill_worker("w1")
    assert not [p for p in processes_below(fast.base).values() if "sleep" in p]
    fast.start_workers("w2")
    gate.wait(times=2)
    gate.open()
    assert run.wait(20).ok
    job, story = fast.client.job(f"{run.id}/a")
    assert (job.worker, job.attempt) == ("w2", 2)
    assert any("worker w1 was silent for" in line for line in story)


def test_a_job_that_takes_down_two_workers_is_poison(fast: Cluster, tmp_path: Path) -> None:
    """Without this rule, a job that kills its worker would kill all workers."""
    fast.start_workers("w1", "w2", "w3", slots=1)
    parent = "read -r _ _ _ {} _ < /proc/{}/stat"
    find = f"{parent.format('warden', '$$')}; {parent.format('worker', '$warden')}"
    command = f"sleep 0.5; {find}; kill -9 $worker; sleep 600"  # the master must know that the job runs
    run = fast.client.submit(DAG("poison", [Job("a", command=command), Job("b", command="true", parents=["a"])]))
    assert run.wait(30).state == "FAILED"
    a, b = run.status().jobs
    assert (a.state, b.state) == ("DEAD", "CANCELLED")
    assert "poison: 2 workers were lost while they ran it" in a.reason
    assert [d.job.id for d in fast.client.dead_jobs(run.id)] == ["a"]
    assert sum(worker.state == "ALIVE" for worker in fast.client.workers()) == 1
    assert fast.client.submit(DAG("after", [Job("a", command="true")])).wait(20).ok


def test_a_worker_that_is_started_again_after_its_death_runs_its_job_again(c: Cluster, tmp_path: Path) -> None:
    """The new process does not hold the attempts of the old one. The master learns this at its
    registration, not only at the deadline."""
    gate = Gate(tmp_path)
    c.start_workers("w1", slots=1)
    run = c.client.submit(DAG("again", [Job("a", command=gate.command)]))
    gate.wait()
    c.kill_worker("w1")
    c.start_workers("w1", slots=1)
    gate.wait(times=2)
    gate.open()
    assert run.wait(20).ok
    assert run.status().jobs[0].attempt == 2


# -- names and homes -------------------------------------------------------------------------------
def test_a_second_worker_of_a_name_is_refused_and_the_first_goes_on(guarded: Cluster, tmp_path: Path) -> None:
    c, gate = guarded, Gate(tmp_path)
    c.start_workers("twin")
    run = c.client.submit(DAG("one", [Job("a", command=gate.command)]))
    gate.wait()
    first = c.workers["twin"]
    second = c.start_worker("twin", home="elsewhere")
    assert second.wait(10) == 2
    assert "a worker named 'twin' is connected already" in second.err
    assert "--name" in second.err
    gate.open()
    assert run.wait(20).ok
    assert first.running
    assert len(gate.pids) == 1


def test_a_second_worker_in_a_home_is_refused(c: Cluster) -> None:
    c.start_workers("w1")
    second = c.start_worker("w2", home="w1")
    assert second.wait(10) == 2
    assert "is in use by the process with pid" in second.err
    assert c.worker("w1").state == "ALIVE"


# -- without a master ------------------------------------------------------------------------------
def test_a_job_runs_on_without_its_master_and_is_reported_to_the_next(c: Cluster, tmp_path: Path) -> None:
    during, after = Gate(tmp_path, "during"), Gate(tmp_path, "after")
    c.start_workers("w1")
    run = c.client.submit(DAG("away", [Job("during", command=during.command), Job("after", command=after.command)]))
    during.wait()
    after.wait()
    c.kill_master()
    during.open()
    until(lambda: not alive(during.pids[0]), "one job ends while no master runs")
    c.start_master()
    c.wait_for_workers("w1")
    until(lambda: state(run) == "COMPLETED", "the job is reported")
    assert state(run, 1) == "RUNNING"
    after.open()
    assert run.wait(20).ok
    assert [job.attempt for job in run.status().jobs] == [1, 1]
    assert (len(during.pids), len(after.pids)) == (1, 1)
    assert c.completions(run.id) == {"during": 1, "after": 1}
    for job in ("during", "after"):
        assert list(c.client.logs(f"{run.id}/{job}")) == [(1, b"done\n")]


def test_jobs_of_a_cluster_that_is_no_more_are_ended(c: Cluster, tmp_path: Path) -> None:
    gate = Gate(tmp_path)
    c.start_workers("w1", slots=1)
    c.client.submit(DAG("old", [Job("a", command=gate.command)]))
    gate.wait()
    c.kill_master()
    shutil.rmtree(c.home)
    c.start_master()
    c.wait_for_workers("w1")
    until(lambda: not alive(gate.pids[0]), "the old cluster's job is stopped")
    assert c.client.runs() == []
    assert c.client.submit(DAG("new", [Job("a", command="true")])).wait(20).ok


def test_a_frozen_worker_is_fenced_and_stops_its_fenced_jobs_when_it_continues(fast: Cluster, tmp_path: Path) -> None:
    gate = Gate(tmp_path)
    fast.start_workers("w1", slots=1)
    run = fast.client.submit(DAG("frozen", [Job("a", command=gate.command, retries=0)]))
    gate.wait()
    frozen = fast.workers["w1"].pid
    os.kill(frozen, signal.SIGSTOP)
    try:
        fast.start_workers("w2", slots=1)
        gate.wait(times=2)
    finally:
        os.kill(frozen, signal.SIGCONT)
    fast.wait_for_workers("w1", "w2")
    until(lambda: not alive(gate.pids[0]), "the fenced attempt is stopped")
    gate.open()
    assert run.wait(20).ok
    assert run.status().jobs[0].worker == "w2"
    assert fast.completions(run.id) == {"a": 1}
    both = fast.client.submit(DAG("after", [Job(f"j{n}", command="sleep 0.2") for n in range(4)]))
    assert both.wait(20).ok
    assert {job.worker for job in both.status().jobs} == {"w1", "w2"}


def test_a_killed_worker_leaves_no_sockets_behind_for_ever(c: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """The path of its home is too long for a socket, so the worker's sockets are in the folder for
    temporary files. The next worker of the user removes the sockets that a killed worker left
    there."""
    home = "deep" * 20
    with tempfile.TemporaryDirectory(prefix="t", dir="/tmp") as short:
        monkeypatch.setenv("TMPDIR", short)
        sockets = Path(short) / f"titan-{os.geteuid()}"
        c.start_worker("w1", home=home)
        c.wait_for_workers("w1")
        killed = {path.name for path in sockets.iterdir()}
        assert {path.name for path in sockets.glob("*/*")} == {"context", "runners.sock"} and len(killed) == 2
        c.workers["w1"].kill()
        c.start_worker("w2", home=f"{home}2")
        c.wait_for_workers("w2")
        assert not killed & {path.name for path in sockets.iterdir()}
        assert c.client.call(pow, 2, 3).result(60) == 8
        c.workers["w2"].terminate()
        c.workers["w2"].wait()
        assert list(sockets.iterdir()) == []


def test_a_file_in_its_home_names_a_worker_its_master_and_its_pid(c: Cluster) -> None:
    c.start_workers("w1")
    note = c.worker_home("w1") / "worker.json"
    until(note.exists, "the worker knows that it is registered")
    about = json.loads(note.read_text())
    assert about == {"name": "w1", "master": c.address, "pid": c.workers["w1"].pid}


def test_a_worker_that_cannot_write_this_file_works_on(c: Cluster) -> None:
    """The home's disk became full at that moment. Earlier, the worker then registered again and
    again."""
    home = c.worker_home("w1")
    for note in ("worker.json.part", "clock.part"):
        (home / note).mkdir(parents=True)
    c.start_workers("w1")
    assert c.client.submit(DAG("d", [Job("j", command="true")])).wait(20).ok
    said = (c.said / "w1.0.err").read_text()
    assert "worker.json cannot be written" in said and "the time cannot be recorded" in said
    assert said.count("registered with the master") == 1, said
