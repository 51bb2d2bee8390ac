"""`titan disk` shows what takes disk space: on the master, on each worker, and by run."""

from __future__ import annotations

import os
from pathlib import Path

from support.cluster import FAST, TITAN, Cluster, cluster
from support.disks import mounted_tmpfs
from support.waiting import until
from titan import DAG, Job

MIB = 1 << 20
PLAIN = {"COLUMNS": "80", "LANG": "C", "LC_ALL": "C"}
LEAVES = "head -c 3145728 /dev/urandom >left; head -c 2097152 /dev/urandom >$TITAN_SHARED/between; head -c 1048576 /dev/zero"


def lines_of(c: Cluster, *options: str) -> list[str]:
    done = c.cli("disk", *options, env=PLAIN)
    assert done.returncode == 0 and not done.stderr, done
    assert done.stdout.isascii(), done.stdout
    return done.stdout.splitlines()


def test_the_files_of_a_job_are_listed_by_node_by_kind_and_by_run(tmp_path: Path) -> None:
    with cluster(tmp_path / "c", "w1", "w2") as c:
        run = c.client.submit(DAG("a DAG with a name that is longer than its column", [Job("a", command=LEAVES)]))
        assert run.wait(timeout=60).ok
        worker = run.status().jobs[0].worker
        other = {"w1": "w2", "w2": "w1"}[worker or ""]
        found = c.json("disk")
        nodes = {node["name"]: node for node in (found["master"], *found["workers"])}
        sizes = {place: size // MIB for place, size in nodes[worker]["places"].items()}
        assert (sizes["job folders"], sizes["shared folders"]) == (3, 2)
        assert nodes[other]["bytes"] < MIB
        assert nodes["master"]["places"]["logs"] // MIB == 1 and nodes["master"]["home"] == str(c.home)
        (row,) = found["runs"]
        assert (row["run"], row["workers"], row["bytes"] // MIB) == (run.id, [worker], 3 + 2 + 1)
        lines = lines_of(c)
        assert any(line.split()[:3] == [worker, "job", "folders"] for line in lines)
        assert any(line.startswith(run.id) and line.endswith(f"MiB  {worker}") for line in lines)
        assert run.id not in "\n".join(lines_of(c, "--runs", "0"))


def test_a_worker_that_is_away_is_named_and_a_home_is_read_without_a_master(tmp_path: Path) -> None:
    with cluster(tmp_path / "c", "w1", "w2", settings=FAST) as c:
        c.kill_worker("w2")
        until(lambda: c.worker("w2").state == "LOST", "w2 is lost")
        assert "! w2: LOST: its disk is unknown while it is away" in lines_of(c)
        assert c.client.disk().workers[1].problem
        assert c.master is not None
        c.workers["w1"].terminate()
        c.workers["w1"].wait()
        c.master.terminate()
        c.master.wait()
        done = c.cli("disk", "--home", str(c.home), env={"TITAN_MASTER": ""})
        assert done.returncode == 0, done
        assert "master  journal" in done.stdout and "! w1: LEFT: its disk is unknown while it is away" in done.stdout


def test_a_full_disk_is_reported_with_its_worker(tmp_path: Path) -> None:
    with cluster(tmp_path / "c") as c, mounted_tmpfs(c.worker_home("w1"), "size=4m"):
        c.start_workers("w1")
        try:
            assert any(line.startswith("! w1: its disk is full, with ") for line in lines_of(c))
        finally:
            c.workers["w1"].terminate()
            c.workers["w1"].wait()


def test_a_hundred_thousand_files_delay_no_job(tmp_path: Path) -> None:
    """Jobs run on while the worker and the master measure."""
    with cluster(tmp_path / "c", "w1") as c:
        for n in range(100):
            folder = c.worker_home("w1") / "titan_workspace" / "jobs" / f"run{n}" / "a.1"
            folder.mkdir(parents=True)
            for m in range(1000):
                os.close(os.open(folder / str(m), os.O_CREAT | os.O_WRONLY))
        disk = c.spawn("disk", "--json", program=TITAN)
        count = 0
        while disk.running:
            assert c.client.submit(DAG("d", [Job("a", command="true")])).wait(timeout=60).ok
            count += 1
        assert disk.wait() == 0, disk.err
        assert count > 1
        assert '"run": "run7"' in disk.out
