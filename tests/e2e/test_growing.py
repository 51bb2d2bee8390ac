"""Runs that grow and pipelines that are saved, on real processes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.cluster import Cluster, cluster
from titan.errors import Conflict, InvalidGraph, NotFound
from titan.sdk.job import DAG, Job


@pytest.fixture
def c(tmp_path: Path) -> Iterator[Cluster]:
    with cluster(tmp_path / "c", "w1") as made:
        yield made


def output(c: Cluster, run: str, job: str) -> str:
    return b"".join(data for stream, data in c.client.logs(f"{run}/{job}") if stream == 1).decode()


def test_a_user_adds_jobs_to_a_run_that_runs(c: Cluster, tmp_path: Path) -> None:
    go = tmp_path / "go"
    script = tmp_path / "more.py"
    script.write_text("print('more')\n")
    run = c.client.submit(
        DAG(
            "d",
            [Job("first", command=f"until [ -e {go} ]; do sleep 0.02; done"), Job("end", command="echo end", parents=["first"])],
        )
    )
    assert run.add(Job("more", file=script), Job("all", command="echo all", parents=["more", "first"]), before=["end"]) == 2
    with pytest.raises(InvalidGraph, match="has a job 'more' already"):
        run.add(Job("more", command="true"))
    with pytest.raises(InvalidGraph, match="which is no job of this addition or its run"):
        run.add(Job("x", command="true", parents=["nobody"]))
    go.touch()
    assert run.wait(30).ok
    status = c.client.status(run.id)
    assert [job.id for job in status.jobs] == ["first", "end", "more", "all"]
    finished = {job.id: (job.started_at or 0.0, job.finished_at or 0.0) for job in status.jobs}
    assert finished["end"][0] >= finished["all"][1]
    assert output(c, run.id, "more") == "more\n"
    with pytest.raises(Conflict, match="is COMPLETED: it takes no further jobs"):
        run.add(Job("late", command="true"))


def test_a_pipeline_is_saved_and_run_by_name_also_after_kill_9(c: Cluster, tmp_path: Path) -> None:
    folder = tmp_path / "p"
    folder.mkdir()
    (folder / "work.py").write_text("print('version one')\n")
    file = folder / "p.yaml"
    file.write_text("name: nightly\nproject: true\njobs:\n  - id: work\n    file: work.py\n")
    assert c.cli("save", "night", str(file)).returncode == 0
    (folder / "work.py").write_text("print('version two')\n")
    refused = c.cli("save", "night", str(file))
    assert refused.returncode == 2 and "there is a saved pipeline 'night' already" in refused.stderr
    c.kill_master()
    c.restart_master()
    c.wait_for_workers("w1")
    assert [(p["name"], p["dag"], p["jobs"]) for p in c.json("save", "--list", "--json")] == [("night", "nightly", 1)]
    ran = c.cli("run", "--group", "agents 7", "night")
    assert (ran.returncode, ran.stdout) == (0, "version one\n"), ran.stderr
    assert c.cli("save", "--replace", "night", str(file)).returncode == 0
    run = c.json("submit", "--group", "agents 7", "night", "--json")["run"]
    assert c.cli("wait", run).returncode == 0 and output(c, run, "work") == "version two\n"
    assert c.cli("run", "echo").returncode == 0  # a command, as nothing of that name is saved
    runs = c.json("runs", "--group", "agents 7", "--json")
    assert len(runs) == 2 and {r["group"] for r in runs} == {"agents 7"} and runs[0]["run"] == run
    assert json.loads(c.cli("status", run, "--json").stdout)["agent_run_id"] == "agents 7"
    assert c.cli("save", "--remove", "night").returncode == 0
    gone = c.cli("save", "--remove", "night")
    assert gone.returncode == 2 and "there is no saved pipeline 'night'" in gone.stderr
    with pytest.raises(NotFound, match="no saved pipeline"):
        c.client.pipelines.run("night")
