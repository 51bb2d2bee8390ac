"""A worker whose disk is full. The output of its jobs is lost. The reason of the job, `titan logs`,
`titan status` and the exit code of `titan run` report that."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.cluster import FAST, QUIET, Cluster, cluster
from support.waiting import until
from titan import DAG, Job
from titan.core.events.sick_workers import WorkerSetAside, WorkerTakenBack
from titan.sdk.call_future import CallFuture

LOST = "output lost: the disk of its worker is full (No space left on device)"


def mount(home: Path, how: str) -> None:
    """Mount a small disk at `home`, or skip the test."""
    command = ["mount", "-t", "tmpfs", "-o", f"{how},mode=700", "tmpfs", str(home)]
    if os.geteuid() or subprocess.run(command, check=False).returncode:
        pytest.skip("a small disk is needed, and so the right to mount one")


@contextlib.contextmanager
def on_a_disk(folder: Path, how: str, settings: dict[str, float]) -> Iterator[Cluster]:
    """Provide a cluster whose worker has its home on a disk of its own."""
    with cluster(folder, settings=settings) as c:
        home = c.worker_home("w1")
        home.mkdir(parents=True)
        mount(home, how)
        try:
            c.start_workers("w1")
            yield c
        finally:
            for worker in c.workers.values():
                worker.terminate()
                worker.wait()
            subprocess.run(["umount", "-l", home], check=True)


@pytest.fixture
def full(tmp_path: Path) -> Iterator[Cluster]:
    """Provide a cluster whose worker has its home on a disk of 4 MiB."""
    with on_a_disk(tmp_path / "c", "size=4m", QUIET) as c:
        yield c


PRINT = "head -c 8000000 /dev/zero | tr '\\0' x; echo on stderr >&2"


def test_lost_output_of_a_job_is_reported(full: Cluster) -> None:
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


def test_lost_output_of_a_call_is_reported(full: Cluster) -> None:
    def speak(count: int) -> int:
        print("x" * count)
        return count

    assert full.client.call(speak, 10).result(60) == 10
    filler = fill(full.worker_home("w1"))

    def lost_after_refill() -> str | None:
        fill(full.worker_home("w1"))  # takes the space that the worker has freed meanwhile
        held_back = full.client.call(speak, 100)  # its output stays in buffers until the call ends
        assert held_back.result(60) == 100
        assert isinstance(held_back, CallFuture) and held_back.job is not None
        job, attempts = full.client.job(held_back.job)
        assert (job.state, job.reason) in [("COMPLETED", LOST), ("COMPLETED", "")], attempts
        return held_back.job if job.reason else None

    lost = until(lost_after_refill, "the lost output of a call is reported") or ""
    raised = full.client.call(speak, 1 << 20)
    with pytest.raises(OSError, match="No space left"):
        raised.result(60)
    filler.unlink()
    assert f"[titan: {LOST}]" in full.cli("logs", lost).stderr
    assert full.client.call(speak, 20).result(60) == 20
    assert full.client.runs()[0].tally == {"COMPLETED": 1}


def test_lost_output_of_a_service_is_reported_at_its_end(full: Cluster) -> None:
    once = Job("once", type="service", health="none", restart="never", command=PRINT)
    again = Job(
        "again", type="service", health="none", command=f"{PRINT}; sleep 1; exit 3", restart={"max": 1, "backoff": 0.05}, retries=0
    )
    run = full.client.submit(DAG("d", [once, again]))
    until(lambda: all(job.finished_at for job in full.client.status(run.id).jobs), "both have ended", 60.0)
    jobs = {job.id: job for job in full.client.status(run.id).jobs}
    assert jobs["once"].reason.endswith(LOST)
    assert jobs["again"].state == "DEAD" and jobs["again"].reason.endswith(LOST)


def test_titan_run_reports_lost_output_by_its_exit_code(full: Cluster) -> None:
    (full.base / "print.sh").write_text(PRINT)
    done = full.cli("run", "print.sh")
    assert done.returncode == 1
    assert "output of print.sh was lost: the disk of its worker is full" in done.stderr
    waited = full.cli("wait", full.client.runs()[0].run)
    assert waited.returncode == 1 and "was lost" in waited.stderr


def test_a_full_disk_of_a_worker_is_shown_while_it_lasts(tmp_path: Path) -> None:
    """While the worker runs, another file takes 100 of the 128 MiB and is removed again."""
    with on_a_disk(tmp_path / "c", "size=128m", FAST) as c:
        home = c.worker_home("w1")
        first = c.worker("w1")
        free = first.facts["disk_free_bytes"]
        assert not first.disk_full and isinstance(free, int) and 100 << 20 < free <= 128 << 20
        assert "disk full" not in c.cli("workers").stdout
        other = home / "other"
        with other.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, 100 << 20)
        until(lambda: c.worker("w1").disk_full, "the next heartbeat reports the full disk", 20.0)
        shown = c.cli("workers").stdout
        assert "ALIVE, disk full" in shown and "the disk of worker w1 is full, with" in shown
        (row,) = c.json("workers")
        assert row["disk_full"] is True and row["facts"]["disk_free_bytes"] < 64 << 20
        c.restart_master()
        until(lambda: c.worker("w1").disk_full, "the master knows it after a restart too", 20.0)
        other.unlink()
        until(lambda: not c.worker("w1").disk_full, "the master knows that there is room again", 20.0)
        assert "disk full" not in c.cli("workers").stdout


def fill(home: Path) -> Path:
    filler = home / "filler"
    with contextlib.suppress(OSError), filler.open("ab", buffering=0) as file:
        while file.write(bytes(1 << 16)):
            pass
    return filler


def test_a_worker_with_a_full_disk_is_set_aside_and_taken_back_when_there_is_room(full: Cluster, tmp_path: Path) -> None:
    filler = fill(full.worker_home("w1"))
    jobs = []
    for n in range(12):
        script = tmp_path / f"script{n}.sh"
        script.write_text(f"echo {n}\n#{'x' * 20_000}\n")
        jobs.append(Job(f"j{n}", file=script, retries=0))
    run = full.client.submit(DAG("files", jobs))

    def aside_after_refill() -> list[WorkerSetAside]:
        fill(full.worker_home("w1"))  # takes the space that the worker has freed meanwhile
        return [e for e in full.events() if isinstance(e, WorkerSetAside)]

    aside = until(aside_after_refill, "w1 is set aside")
    assert "the disk of this worker is full: free space there" in aside[0].reason
    full.start_workers("w2")
    assert run.wait(timeout=60).ok
    assert {job.worker for job in full.client.status(run.id).jobs} == {"w2"}
    full.workers["w2"].terminate()
    full.workers["w2"].wait()
    filler.unlink()
    assert full.client.submit(DAG("after", [jobs[0]])).wait(timeout=60).ok
    until(lambda: any(isinstance(e, WorkerTakenBack) for e in full.events()), "w1 is taken back")


def test_a_worker_without_disk_space_does_not_start_and_names_the_reason(full: Cluster) -> None:
    full.workers["w1"].terminate()
    full.workers["w1"].wait()
    home = full.worker_home("w1")
    filler = fill(home)
    full.start_worker("w1")
    assert full.workers["w1"].wait() == 74
    said = full.workers["w1"].err
    assert f"the home {home} cannot be used: the disk of this worker is full: free space there" in said
    assert "Traceback" not in said
    filler.unlink()
    full.start_worker("w1")
    full.wait_for_workers("w1")
