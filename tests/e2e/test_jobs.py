"""Jobs: scripts and commands of every kind, their environment, retries, times, and where and in
which order they run."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.cluster import FAST, QUIET, Cluster, cluster, processes_below
from support.waiting import until
from titan import DAG, Job
from titan.sdk.run import Run


@pytest.fixture(scope="module")
def c(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with cluster(tmp_path_factory.mktemp("jobs") / "c", "w1", "w2") as made:
        yield made


@pytest.fixture(scope="module")
def one_slot(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with cluster(tmp_path_factory.mktemp("one") / "c", "w1", slots=1) as made:
        yield made


def story(c: Cluster, run: Run, job: str) -> str:
    return "\n".join(c.client.job(f"{run.id}/{job}")[1])


def run_of(c: Cluster, *jobs: Job) -> Run:
    return c.client.submit(DAG("test", list(jobs)))


# -- kinds of jobs ---------------------------------------------------------------------------------
def test_a_python_script_has_its_arguments_and_its_folder(c: Cluster, tmp_path: Path) -> None:
    script = tmp_path / "hello.py"
    script.write_text("import sys, os\nprint(__name__, sys.argv, os.path.basename(__file__), os.getcwd() == sys.path[0])\n")
    run = run_of(c, Job("a", file=script, args=["x", "y z"]))
    assert run.wait(20).ok
    assert c.printed(run, "a") == "__main__ ['hello.py', 'x', 'y z'] hello.py True\n"


@pytest.mark.parametrize("first", ["", "#!/bin/bash\n"])
def test_a_shell_script_with_and_without_a_first_line(c: Cluster, tmp_path: Path, first: str) -> None:
    script = tmp_path / "hello.sh"
    script.write_text(f'{first}echo "hello $1 ${{BASH_VERSION:+bash}}"\n')
    run = run_of(c, Job("a", file=script, args=["you"]))
    assert run.wait(20).ok
    assert c.printed(run, "a") == ("hello you bash\n" if first or Path("/bin/sh").resolve().name == "bash" else "hello you \n")


def test_a_binary_runs_with_its_arguments(c: Cluster) -> None:
    run = run_of(c, Job("a", file=shutil.which("echo"), args=["from", "a binary"]))
    assert run.wait(20).ok
    assert c.printed(run, "a") == "from a binary\n"


def test_a_jar_runs_and_its_exit_code_is_kept(c: Cluster, tmp_path: Path) -> None:
    if not (shutil.which("javac") and shutil.which("jar")):
        pytest.skip("no javac: sh tests/packages.sh installs it")
    source = 'public class Hello { public static void main(String[] a) { System.out.println("hello " + a[0]); System.exit(3); } }'
    (tmp_path / "Hello.java").write_text(source)
    subprocess.run(["javac", "Hello.java"], cwd=tmp_path, check=True)
    subprocess.run(["jar", "cfe", "hello.jar", "Hello", "Hello.class"], cwd=tmp_path, check=True)
    run = run_of(c, Job("a", file=tmp_path / "hello.jar", args=["jar"], retries=0))
    run.wait(30)
    assert (c.printed(run, "a"), run.status().jobs[0].exit_code) == ("hello jar\n", 3)


def test_a_shell_command_and_a_list_of_words(c: Cluster) -> None:
    run = run_of(
        c, Job("shell", command='echo "$1 & $2" | tr a-z A-Z', args=["a", "b c"]), Job("words", command=["echo", "*", "$HOME"])
    )
    assert run.wait(20).ok
    assert (c.printed(run, "shell"), c.printed(run, "words")) == ("A & B C\n", "* $HOME\n")


def test_two_scripts_of_one_name_do_not_touch_each_other(c: Cluster, tmp_path: Path) -> None:
    jobs = []
    for n in range(6):
        folder = tmp_path / str(n)
        folder.mkdir()
        (folder / "same.sh").write_text(f"echo {n} >mine; cat mine; ls\n")
        jobs.append(Job(f"job{n}", file=folder / "same.sh"))
    run = run_of(c, *jobs)
    assert run.wait(20).ok
    assert [c.printed(run, f"job{n}") for n in range(6)] == [f"{n}\nmine\nsame.sh\n" for n in range(6)]


def test_a_script_that_changes_after_its_submission_runs_as_it_was(c: Cluster, tmp_path: Path) -> None:
    script, go = tmp_path / "script.sh", tmp_path / "go"
    script.write_text("echo old\n")
    run = run_of(c, Job("gate", command=f"while [ ! -e {go} ]; do sleep 0.02; done"), Job("a", file=script, parents=["gate"]))
    script.write_text("echo new\n")
    go.touch()
    assert run.wait(20).ok
    assert c.printed(run, "a") == "old\n"


# -- their environment -----------------------------------------------------------------------------
def test_the_environment_of_a_job(c: Cluster) -> None:
    command = 'echo "$TITAN_RUN $TITAN_JOB $TITAN_ATTEMPT $MINE $TITAN_MASTER"; [ -d "$TITAN_SHARED" ]'
    run = run_of(c, Job("a.b", command=command, env={"MINE": "here"}))
    assert run.wait(20).ok
    run_id, job, attempt, mine = c.printed(run, "a.b").split()[:4]
    assert (run_id, job, attempt, mine) == (run.id, "a.b", "1", "here")


def test_jobs_of_a_run_share_a_folder_on_their_node_and_other_runs_another(one_slot: Cluster) -> None:
    def pair() -> Run:
        jobs = (
            Job("put", command='echo $TITAN_RUN >"$TITAN_SHARED/it"'),
            Job("get", command='cat "$TITAN_SHARED/it"', parents=["put"]),
        )
        return run_of(one_slot, *jobs)

    runs = [pair(), pair()]
    for run in runs:
        assert run.wait(20).ok
        assert one_slot.printed(run, "get") == f"{run.id}\n"


# -- failure ---------------------------------------------------------------------------------------
def test_retries_with_growing_waits_and_then_dead(c: Cluster) -> None:
    run = run_of(c, Job("a", command="date +%s%N; exit 5", retries=3), Job("b", command="true", parents=["a"]))
    assert run.wait(20).state == "FAILED"
    a, b = run.status().jobs
    assert (a.state, a.attempt, a.exit_code, a.reason) == ("DEAD", 4, 5, "exit code 5")
    assert (b.state, b.attempt) == ("CANCELLED", 0)
    times = [int(b"".join(d for _, d in c.client.logs(f"{run.id}/a", attempt=n))) / 1e9 for n in (1, 2, 3, 4)]
    for n in range(3):
        # the back-off is at least half of backoff_base_s, and doubles each time
        assert times[n + 1] - times[n] >= 0.025 * 2**n
    assert [d.job.id for d in c.client.dead_jobs(run.id)] == ["a"]
    assert story(c, run, "a").count("EXITED with code 5") == 4


@pytest.mark.parametrize("what", ["no-such-command", "/no/such/file", "/etc/passwd"])
def test_a_job_that_can_never_start_is_not_tried_again(c: Cluster, what: str) -> None:
    run = run_of(c, Job("a", command=[what], retries=3))
    assert run.wait(20).state == "FAILED"
    (a,) = run.status().jobs
    assert (a.state, a.attempt) == ("DEAD", 1)
    assert what in a.reason


def test_a_job_that_exceeds_its_timeout_is_stopped(c: Cluster) -> None:
    run = run_of(c, Job("a", command="trap '' TERM; sleep 600 & sleep 600", timeout=0.3, retries=0))
    assert run.wait(20).state == "FAILED"
    (a,) = run.status().jobs
    assert (a.state, a.reason) == ("DEAD", "timed out after 0.3 s")
    assert not [command for command in processes_below(c.base).values() if "sleep 600" in command]


def test_a_delay_counts_from_when_the_parents_are_done(c: Cluster) -> None:
    run = run_of(c, Job("a", command="true"), Job("b", command="true", parents=["a"], delay=0.6))
    until(lambda: run.status().jobs[1].state == "DELAYED", "the job waits")
    assert run.wait(20).ok
    a, b = run.status().jobs
    assert a.finished_at is not None
    assert b.started_at is not None
    assert 0.6 <= b.started_at - a.finished_at < 3


# -- order and place -------------------------------------------------------------------------------
def test_on_one_slot_higher_priority_goes_first_and_the_older_of_equals(one_slot: Cluster, tmp_path: Path) -> None:
    go, order = tmp_path / "go", tmp_path / "order"
    gate = run_of(one_slot, Job("gate", command=f"while [ ! -e {go} ]; do sleep 0.02; done"))
    until(lambda: gate.status().jobs[0].state == "RUNNING", "the slot is taken")
    priorities = {"low": -5, "first": 1, "second": 1, "high": 7, "highest": 1000}
    # The worker may already have prefetched the first jobs of the queue. These jobs fill the places
    # for prefetched jobs.
    filler = run_of(one_slot, *[Job(f"f{n}", command="true", priority=1_000_000) for n in range(8)])
    jobs = [Job(name, command=f"echo {name} >>{order}", priority=priority) for name, priority in priorities.items()]
    run = run_of(one_slot, *jobs)
    go.touch()
    assert filler.wait(20).ok
    assert run.wait(20).ok
    assert order.read_text().split() == ["highest", "high", "first", "second", "low"]


def test_affinity_keeps_a_job_on_the_node_of_its_parent(c: Cluster) -> None:
    jobs = []
    for n in range(8):
        jobs.append(Job(f"p{n}", command="echo $TITAN_JOB >$TITAN_SHARED/$TITAN_JOB"))
        jobs.append(Job(f"c{n}", command=f"cat $TITAN_SHARED/p{n}", parents=[f"p{n}"], affinity=True, retries=0))
    run = run_of(c, *jobs)
    assert run.wait(20).ok
    workers = {job.id: job.worker for job in run.status().jobs}
    assert all(workers[f"p{n}"] == workers[f"c{n}"] for n in range(8))
    assert set(workers.values()) == {"w1", "w2"}


def test_affinity_ends_when_the_parents_worker_is_lost_and_the_story_says_so(tmp_path: Path) -> None:
    with cluster(tmp_path / "c", "ada", "bob", slots=1, settings=FAST) as c:
        go = tmp_path / "go"
        jobs = [
            Job("parent", command="true", requirement="HERE"),
            Job("other", command=f"while [ ! -e {go} ]; do sleep 0.02; done", parents=["parent"]),
            Job("child", command="true", parents=["parent", "other"], affinity=True),
        ]
        c.start_worker("here", "--capability", "HERE", "--capability", "GENERAL", slots=1)
        c.wait_for_workers("here")
        run = run_of(c, *jobs)
        until(lambda: run.status().jobs[0].state == "COMPLETED", "the parent ran")
        c.kill_worker("here")
        until(lambda: c.worker("here").state == "LOST", "the worker is lost")
        go.touch()
        assert run.wait(20).ok
        child = run.status().jobs[2]
        assert child.worker in ("ada", "bob")
        assert "affinity released: worker here, where its parent ran, is LOST" in story(c, run, "child")


def test_a_job_waits_until_a_worker_offers_its_requirement(c: Cluster) -> None:
    run = run_of(c, Job("a", command="true", requirement="GPU"))
    with pytest.raises(TimeoutError):
        run.wait(0.3)
    (a,) = run.status().jobs
    assert a.state == "QUEUED"
    assert "QUEUED for a worker with GPU" in story(c, run, "a")
    c.start_worker("gpu", "--capability", "GPU")
    assert run.wait(20).ok
    assert run.status().jobs[0].worker == "gpu"


def test_a_cancelled_job_gets_sigterm_and_is_killed_after_its_grace(c: Cluster, tmp_path: Path) -> None:
    ready, said = tmp_path / "ready", tmp_path / "said"
    command = f"trap 'echo term >{said}; exit' TERM; touch {ready}; while :; do sleep 0.05; done"
    run = run_of(c, Job("a", command=command))
    until(ready.exists, "the job runs")
    began = time.monotonic()
    assert run.cancel() == 1
    until(said.exists, "the job got its SIGTERM")
    assert time.monotonic() - began < QUIET["stop_grace_s"]
    assert run.wait(5).state == "CANCELLED"


def test_runs_that_leave_nothing_leave_no_folders(tmp_path: Path) -> None:
    """80 runs have jobs that print. There are also a call, and a run that leaves a file."""
    script = tmp_path / "quiet.py"
    script.write_text("print('said')")
    with cluster(tmp_path / "c", "w1", slots=4, settings=QUIET) as c:
        runs = [c.client.submit(DAG("d", [Job("a", file=script), Job("b", command="echo said >&2")])) for _ in range(80)]
        assert c.client.call(str.upper, "x").result(60) == "X"
        kept = c.client.submit(
            DAG("k", [Job("a", command="echo kept > file"), Job("b", command='echo kept > "$TITAN_SHARED/file"')])
        )
        assert all(run.wait(timeout=60).ok for run in (*runs, kept))
        workspace = c.worker_home("w1") / "titan_workspace"

        def left() -> set[str]:
            return {f"{parent}/{name}" for parent in ("jobs", "shared") for name in os.listdir(workspace / parent)}

        mine = {f"jobs/{kept.id}", f"shared/{kept.id}"}
        until(lambda: mine <= left() and len(left()) < 12, f"the folders of old runs are removed: {len(left())} are left")
        assert (workspace / "jobs" / kept.id / "a.1/file").read_text() == "kept\n"
        assert c.output(f"{runs[0].id}/a") == b"said\n"
        assert c.client.submit(DAG("d", [Job("a", command='echo x > "$TITAN_SHARED/x"')])).wait(timeout=60).ok
