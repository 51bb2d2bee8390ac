"""Conditions with real processes: results decide, a skip fails nothing, and a restart of the master
changes no decision."""

from __future__ import annotations

from pathlib import Path

from support.cluster import FAST, cluster
from support.waiting import until
from titan import DAG, Job

PIPELINE = """
name: release
params: {env: test}
jobs:
  - id: train
    command: |
      titan context result '{"accuracy": 0.93}'
  - id: deploy
    command: echo deployed
    if: "'${params.env}' == 'prod' and train.result.accuracy > 0.9"
  - id: announce
    command: echo announced
    depends_on: [deploy]
  - id: typo
    command: echo never
    if: ${params.env} == 'typo' and train.result.acuracy > 0.9
"""


def test_a_pipeline_runs_what_its_results_and_parameters_allow(tmp_path: Path) -> None:
    file = tmp_path / "release.yaml"
    file.write_text(PIPELINE)
    with cluster(tmp_path / "c", "w1", slots=2, settings=FAST) as c:
        test = c.cli("run", str(file))
        assert test.returncode == 0 and "deploy SKIPPED" in test.stderr, test
        last = c.client.runs(limit=1)[0]
        assert last.state == "COMPLETED" and last.tally == {"COMPLETED": 1, "SKIPPED": 3}
        why = c.cli("why", f"{last.run}/deploy").stdout
        assert "SKIPPED: its condition is false: 'test' == 'prod' and train.result.accuracy > 0.9" in why
        assert "SKIPPED" in c.cli("status", last.run).stdout
        assert c.cli("result", f"{last.run}/deploy").returncode == 1
        assert c.cli("run", str(file), "--param", "env=prod").returncode == 0
        run = c.client.runs(limit=1)[0].run
        assert c.states(run) == {"train": "COMPLETED", "deploy": "COMPLETED", "announce": "COMPLETED", "typo": "SKIPPED"}
        assert c.cli("run", str(file), "--param", "env=typo").returncode == 1
        run = c.client.runs(limit=1)[0].run
        assert c.states(run)["typo"] == "DEAD"
        dead = c.cli("dlq", "show", f"{run}/typo").stdout
        assert "train.result has no 'acuracy': it has accuracy" in dead


def test_a_restart_of_the_master_changes_no_decision(tmp_path: Path) -> None:
    go_on = tmp_path / "go-on"
    with cluster(tmp_path / "c", "w1", slots=2, settings=FAST) as c:
        jobs = [
            Job("bad", command="exit 3", retries=0),
            Job("slow", command=f"until test -e {go_on}; do sleep 0.05; done; titan context result 7"),
            Job("never", command="true", condition="bad.state == COMPLETED"),
            Job("after", command="true", parents=["never"]),
            Job("repair", command="echo repaired", condition="bad.state == FAILED and slow.result == 7"),
        ]
        run = c.client.submit(DAG("d", jobs))
        until(lambda: c.states(run.id)["after"] == "SKIPPED", "the skip has had its effect")
        c.kill_master()
        c.restart_master()
        states = c.states(run.id)
        assert (states["never"], states["after"], states["repair"]) == ("SKIPPED", "SKIPPED", "WAITING")
        go_on.touch()
        assert run.wait(timeout=60).state == "FAILED"
        assert c.printed(run, "repair") == "repaired\n"
        assert c.states(run.id)["after"] == "SKIPPED"
