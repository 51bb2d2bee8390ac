"""Jobs that kill or stop their warden, the process that runs them. Their output is kept, and other
jobs of the warden lose nothing."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.cluster import Cluster, cluster, processes_below
from support.waiting import until
from titan import DAG, Job


@pytest.fixture
def c(tmp_path: Path) -> Iterator[Cluster]:
    with cluster(tmp_path / "c", "w", slots=3) as made:
        yield made


def gate(folder: Path) -> tuple[str, Path, Path]:
    """Return a command that reports its start and ends on request, the file with its starts, and
    the file that ends it."""
    starts, go = folder / "starts", folder / "go"
    return f"echo $$ >>{starts}; while [ ! -e {go} ]; do sleep 0.02; done; echo done", starts, go


def lines(path: Path) -> int:
    return len(path.read_text().splitlines()) if path.exists() else 0


KILL = {"command": "echo said; kill -9 $PPID; sleep 60", "script": "import os; os.write(1, b'said\\n'); os.kill(os.getppid(), 9)"}


@pytest.mark.parametrize("how", ["command", "script"])
def test_a_job_that_kills_its_warden_costs_its_neighbour_nothing_and_its_output_stays(c: Cluster, tmp_path: Path, how: str) -> None:
    command, starts, go = gate(tmp_path)
    beside = c.client.submit(DAG("beside", [Job("n", command=command, retries=0)]))
    until(lambda: lines(starts) == 1, "the neighbour runs")
    script = tmp_path / "kill.py"
    script.write_text(KILL["script"])
    bad = Job("k", command=KILL["command"], retries=0) if how == "command" else Job("k", file=script, retries=0)
    killer = c.client.submit(DAG("killer", [bad]))
    assert killer.wait(60).tally == {"DEAD": 1}
    status = killer.status().jobs[0]
    assert "must not kill its parent" in status.reason
    assert c.output(f"{killer.id}/k", stream=1).count(b"said") >= 1
    # The first death of the warden also killed the neighbour. The second attempt of the killer had
    # a warden of its own, so the neighbour survived.
    until(lambda: lines(starts) == 2, "the neighbour runs again")
    go.touch()
    assert beside.wait(30).ok
    assert c.output(f"{beside.id}/n", stream=1).endswith(b"done\n")


def test_the_lost_end_of_a_log_over_its_limit_is_reported_on_stderr_and_not_in_the_output(c: Cluster) -> None:
    command = "head -c 3000000 /dev/zero | tr '\\0' x; kill -9 $PPID; sleep 60"
    run = c.client.submit(DAG("killer", [Job("k", command=command, retries=0, log_limit="1MiB")]))
    assert run.wait(60).tally == {"DEAD": 1}
    assert set(c.output(f"{run.id}/k", stream=1)) == {ord("x")}
    assert b"[titan: output lost: the process that kept its last part was killed]" in c.output(f"{run.id}/k", stream=2)


def test_a_job_that_stops_its_warden_is_found_and_a_timeout_of_its_neighbour_is_kept(c: Cluster, tmp_path: Path) -> None:
    stopper = c.client.submit(DAG("stopper", [Job("s", command="echo said; kill -STOP $PPID; sleep 600", retries=0, timeout=1)]))
    beside = c.client.submit(DAG("beside", [Job("n", command="sleep 600", retries=0, timeout=1)]))
    assert stopper.wait(60).tally == {"DEAD": 1}
    assert b"said" in c.output(f"{stopper.id}/s", stream=1)
    assert beside.wait(60).tally == {"DEAD": 1}
    assert "timed out" in beside.status().jobs[0].reason


def test_sigterm_ends_a_worker_whose_warden_is_stopped(c: Cluster) -> None:
    c.client.submit(DAG("stopper", [Job("s", command="kill -STOP $PPID; sleep 600", retries=0)]))
    worker = c.workers["w"]
    until(lambda: any("sleep 600" in command for command in processes_below(c.worker_home("w")).values()), "the job runs")
    worker.terminate()
    worker.terminate()
    worker.wait(15)
    until(lambda: not processes_below(c.worker_home("w")), "nothing is left")


def test_the_output_of_a_call_that_killed_its_runner_is_kept(c: Cluster) -> None:
    def end(how: int) -> None:
        print("said", flush=True)
        os.kill(os.getpid() if how == 0 else os.getppid(), signal.SIGKILL)
        while True:
            pass

    def quiet(n: int) -> int:
        return n + 1

    for how in (0, 1):
        known = {run.run for run in c.client.runs()}
        assert "died" in str(c.client.call(end, how).exception(60)) or how
        (run,) = [run.run for run in c.client.runs() if run.run not in known]
        assert c.client.call(quiet, 1).result(60) == 2
        handle = c.client.run(run)
        assert b"said" in c.output(f"{handle.id}/{handle.status().jobs[0].id}", stream=1), how


def test_quick_jobs_have_several_wardens_and_a_killed_one_affects_only_its_own_jobs(c: Cluster, tmp_path: Path) -> None:
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("one warden is as many as one CPU can use")

    def wardens() -> set[int]:
        worker = c.workers["w"].pid
        below = Path(f"/proc/{worker}/task/{worker}/children").read_text().split()
        return {int(pid) for pid in below if b"warden" in Path(f"/proc/{pid}/cmdline").read_bytes()}

    def quick() -> bool:
        assert c.client.submit(DAG("quick", [Job(f"q{n}", command="true") for n in range(400)])).wait(60).ok
        return len(wardens()) == 2

    assert len(wardens()) == 1
    until(quick, "there are two wardens", 60.0)
    starts, go = tmp_path / "starts", tmp_path / "go"
    command = f"echo $PPID $TITAN_JOB >>{starts}; while [ ! -e {go} ]; do sleep 0.02; done"
    run = c.client.submit(DAG("kept", [Job(f"k{n}", command=command, retries=0) for n in range(3)]))
    until(lambda: lines(starts) == 3, "all run")
    first = [line.split() for line in starts.read_text().splitlines()]
    assert {int(pid) for pid, _ in first} == wardens()
    victim = first[0][0]
    os.kill(int(victim), signal.SIGKILL)
    lost = [job for pid, job in first if pid == victim]
    until(lambda: lines(starts) == 3 + len(lost), "the jobs of the killed warden run again")
    go.touch()
    assert run.wait(60).ok
    again = [line.split()[1] for line in starts.read_text().splitlines()[3:]]
    assert sorted(again) == sorted(lost)
