"""Limits of memory, CPUs and processes. They are enforced, an error names the limit that killed a
job, and no cgroup outlives its job or its worker."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.cluster import FAST, Cluster, Spawned, cluster
from support.waiting import until
from titan import DAG, Job
from titan.sdk.run import Run
from titan.sdk.status import JobStatus

MIB = 1 << 20
HOG = "import sys\nkept = []\nfor n in range(400):\n    kept.append(bytearray(1 << 20))\nprint('all of it')\n"
SPIN = "import os, time\nuntil = time.monotonic() + 2\nwhile time.monotonic() < until: pass\nprint(time.process_time())\n"
BOMB = """\
import os, time
children = 0
try:
    for _ in range(200):
        if os.fork() == 0:
            time.sleep(30)
            os._exit(0)
        children += 1
except BlockingIOError:
    pass
print(children)
"""


def groups_of(worker: Spawned) -> list[Path]:
    """Return the cgroups of a worker's process, in any hierarchy."""
    mark = f"-{worker.pid}-"
    return [
        Path(at) / name
        for at, names, _ in os.walk("/sys/fs/cgroup")
        for name in names
        if name.startswith("titan-") and mark in name
    ]


def groups_below(worker: Spawned) -> list[str]:
    return [name for folder in groups_of(worker) if folder.is_dir() for name in os.listdir(folder) if name.isdigit()]


@pytest.fixture(scope="module")
def c(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with cluster(tmp_path_factory.mktemp("limits") / "c", "w1", slots=2) as made:
        mechanism = str(made.worker("w1").facts["limits"])
        if not mechanism.startswith("cgroup v"):
            pytest.skip(f"this machine lets nobody make cgroups for all limits: {mechanism}")
        yield made
        assert groups_below(made.workers["w1"]) == []


def outcome(c: Cluster, job: Job) -> tuple[Run, JobStatus]:
    run = c.client.submit(DAG("limits", [job]))
    run.wait(60)
    return run, run.status().jobs[0]


def script(folder: Path, text: str) -> Path:
    path = folder / "x.py"
    path.write_text(text)
    return path


@pytest.mark.parametrize("driver", ["python", "process"])
def test_a_job_over_its_memory_limit_is_killed_with_the_limit_as_reason(c: Cluster, tmp_path: Path, driver: str) -> None:
    job = Job("a", file=script(tmp_path, HOG), driver=driver, retries=0, limits={"memory": "128MiB"})
    run, it = outcome(c, job)
    assert (it.state, it.exit_code, it.reason) == ("DEAD", 137, "used more than its memory limit of 128 MiB")
    assert 64 * MIB < it.peak_bytes <= 129 * MIB
    assert c.printed(run, "a") == ""


def test_a_job_within_its_limits_has_no_reason(c: Cluster, tmp_path: Path) -> None:
    run, it = outcome(c, Job("a", file=script(tmp_path, HOG), limits={"memory": "1GiB", "cpus": 2, "processes": 50}))
    assert (it.state, it.reason, c.printed(run, "a")) == ("COMPLETED", "", "all of it\n")
    assert it.peak_bytes > 390 * MIB


def test_the_memory_of_all_processes_of_a_job_counts(c: Cluster) -> None:
    """No process alone exceeds the limit. The shell survives the process that is killed, and ends
    with its exit code."""
    one = f"{sys.executable} -c 'x = bytearray(60 << 20); import time; time.sleep(20)'"
    command = ["bash", "-c", f"{one} & {one} & {one} & wait -n; exit $?"]
    job = Job("a", command=command, retries=0, limits={"memory": "128MiB"})
    _, it = outcome(c, job)
    assert (it.state, it.reason) == ("DEAD", "used more than its memory limit of 128 MiB")


def test_a_retry_may_succeed_with_less_memory(c: Cluster, tmp_path: Path) -> None:
    """Exceeding a limit is a failure like any other: the next attempt may need less memory."""
    source = "import os\nif os.environ['TITAN_ATTEMPT'] == '1':\n    x = bytearray(200 << 20)\nprint('done')\n"
    run, it = outcome(c, Job("a", file=script(tmp_path, source), retries=1, limits={"memory": "64MiB"}))
    assert (it.state, it.attempt, c.printed(run, "a")) == ("COMPLETED", 2, "done\n")
    assert "used more than its memory limit of 64 MiB" in "\n".join(c.client.job(f"{run.id}/a")[1])


def test_a_fork_bomb_stops_at_its_limit(c: Cluster, tmp_path: Path) -> None:
    run, it = outcome(c, Job("a", file=script(tmp_path, BOMB), limits={"processes": 20}))
    assert (it.state, c.printed(run, "a")) == ("COMPLETED", "19\n")


def test_a_limit_of_cpus_is_enforced(c: Cluster, tmp_path: Path) -> None:
    run, it = outcome(c, Job("a", file=script(tmp_path, SPIN), limits={"cpus": 0.2}))
    assert it.state == "COMPLETED"
    assert 0.05 < float(c.printed(run, "a")) < 0.8  # a fifth of two seconds


def test_limits_in_a_pipeline_file_are_enforced(c: Cluster, tmp_path: Path) -> None:
    text = "name: p\njobs:\n  - id: a\n    file: x.py\n    retries: 0\n    limits: {memory: 100MiB}\n"
    script(tmp_path, HOG)
    (tmp_path / "p.yaml").write_text(text)
    done = c.cli("run", "p.yaml", cwd=tmp_path)
    assert done.returncode == 1
    assert "used more than its memory limit of 100 MiB" in done.stdout + done.stderr


def test_jobs_without_limits_have_no_cgroup(c: Cluster) -> None:
    go = c.base / "go"
    run = c.client.submit(DAG("free", [Job("a", command=f"while [ ! -e {go} ]; do sleep 0.02; done")]))
    until(lambda: run.status().jobs[0].state == "RUNNING", "the job runs")
    assert groups_below(c.workers["w1"]) == []
    go.touch()
    assert run.wait(20).ok


NESTED = """\
here=/sys/fs/cgroup/pids$(sed -n 's/^[0-9]*:pids://p' /proc/self/cgroup)
mkdir -p $here/a/b $here/c/d
(setsid sh -c 'echo $$ >'$here'/a/b/cgroup.procs; exec sleep 600' &)
until grep -q . $here/a/b/cgroup.procs; do :; done
"""


def test_cgroups_that_a_job_makes_in_its_own_are_removed(c: Cluster) -> None:
    if not Path("/sys/fs/cgroup/pids").is_dir():
        pytest.skip("the job knows its group in version 1 only")
    for _ in range(3):
        _, job = outcome(c, Job("a", command=NESTED, limits={"processes": 20}, retries=0))
        assert job.state == "COMPLETED", job
    until(lambda: not groups_below(c.workers["w1"]), "the cgroups are gone")


def test_groups_of_a_killed_worker_are_removed_at_the_next_start(tmp_path: Path) -> None:
    with cluster(tmp_path / "c", "w1", settings=FAST) as c:
        first = c.workers["w1"]
        if not groups_of(first):
            pytest.skip("this machine lets nobody make cgroups")
        run = c.client.submit(DAG("long", [Job("a", command="sleep 600", limits={"memory": "64MiB", "processes": 9})]))
        until(lambda: run.status().jobs[0].state == "RUNNING", "the job runs")
        assert groups_below(first)
        c.kill_worker("w1")  # the next worker on this machine, perhaps of another test, removes the groups
        c.start_workers("w2")
        until(lambda: not groups_of(first), "the cgroups of the dead worker are gone")
        run.cancel()
        second = c.workers["w2"]
        second.terminate()
        second.wait()
        assert not groups_of(second)


def test_a_single_command_has_limits_too(c: Cluster) -> None:
    done = c.cli("run", "--limit", "memory=64MiB", "--", sys.executable, "-c", "x = bytearray(200 << 20)")
    assert done.returncode == 137
    assert "used more than its memory limit of 64 MiB" in done.stdout + done.stderr
    done = c.cli("run", "--limit", "memory", "--", "true")
    assert (done.returncode, done.stderr) == (2, "titan: --limit memory: write NAME=AMOUNT, for example memory=512MiB\n")
