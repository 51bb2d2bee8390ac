"""Copies of a project in the folders of its jobs. Only files that a job made or changed are
kept."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from support.cluster import Cluster, cluster
from support.waiting import until
from titan import DAG, Job

CONTENT = os.urandom(1 << 20)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    (folder / "data").mkdir(parents=True)
    (folder / "data" / "big").write_bytes(CONTENT)
    (folder / "helper.py").write_text("WORD = 'helped'\n")
    (folder / "main.py").write_text("import helper\nprint(helper.WORD)\n")
    return folder


def files_of(c: Cluster, run: str) -> list[str]:
    """Return the files that the run left in the folders of its jobs."""
    folder = c.worker_home("w1") / "titan_workspace" / "jobs" / run
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_only_files_that_jobs_made_or_changed_are_kept(tmp_path: Path, project: Path) -> None:
    jobs = [
        Job("plain", file=project / "main.py"),
        Job("change", command="printf X | dd of=data/big conv=notrunc status=none"),
        Job("make", command="echo made > data/new"),
        Job("fail", command="echo half > half; exit 3", retries=0),
        Job("out", command="true", outputs={"script": "main.py", "all": "data"}),
        Job("use", command='test "$(wc -c < in/big)" = 1048576 && test -s in.py', inputs={"in": "out.all", "in.py": "out.script"}),
    ]
    with cluster(tmp_path / "c", "w1") as c:
        run = c.client.submit(DAG("d", jobs, project=project))
        done = run.wait(timeout=60)
        states = {job.id: job.state for job in c.client.status(run.id).jobs}
        assert states.pop("fail") == "DEAD" and set(states.values()) == {"COMPLETED"}, done
        kept = ["change.1/data/big", "fail.1/half", "make.1/data/new"]
        until(lambda: [path for path in files_of(c, run.id) if "std" not in path] == kept, "the rest is removed")
        assert c.printed(run, "plain") == "helped\n"
        again = c.client.submit(DAG("d", [Job(f"j{n}", file=project / "main.py") for n in range(10)], project=project))
        assert again.wait(timeout=60).state == "COMPLETED"
        until(lambda: not (c.worker_home("w1") / "titan_workspace" / "jobs" / again.id).exists(), "nothing is left")


def test_a_killed_worker_cleans_when_it_starts_again(tmp_path: Path, project: Path) -> None:
    with cluster(tmp_path / "c", "w1") as c:
        run = c.client.submit(DAG("d", [Job("a", command="echo made > made; sleep 100")], project=project))
        until(lambda: "a.1/made" in files_of(c, run.id), "the job runs")
        c.kill_worker("w1")
        assert "a.1/data/big" in files_of(c, run.id)
        c.start_workers("w1")
        until(lambda: "a.1/data/big" not in files_of(c, run.id), "the copy is removed")
        assert "a.1/made" in files_of(c, run.id)
        c.client.cancel(run.id)


def test_a_private_cluster_takes_the_options_of_retention(tmp_path: Path, project: Path) -> None:
    file = project / "p.yaml"
    file.write_text("name: p\njobs:\n  - id: a\n    command: head -c 3000000 /dev/urandom > made\n")
    left = tmp_path / "private" / "workers" / "w1" / "titan_workspace" / "jobs"
    with cluster(tmp_path / "c", "w1") as c:
        for _ in range(2):
            done = c.cli("run", "--home", str(left.parents[3]), str(file))
            assert done.returncode == 0, done.stderr
        assert len(list(left.glob("*/a.1/made"))) == 2
        done = c.cli("run", "--home", str(left.parents[3]), "--keep-size", "1MiB", str(file))
        assert done.returncode == 0, done.stderr
        assert len(list(left.glob("*/a.1/made"))) == 1, "the worker removed the folders of earlier runs at its start"
        for command in (["run", "--keep", "5", "true"], ["up", "--keep", "5"], ["worker", "--keep", "5"]):
            wrong = c.cli(*command)
            assert wrong.returncode and wrong.stderr == "titan: --keep 5: give a unit, as in 5s or 7d\n"
        ignored = c.cli("run", "--master", c.address, "--keep", "1h", "--", "true")
        assert "not to a private cluster: --keep" in ignored.stderr
