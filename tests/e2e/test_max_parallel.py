"""A limit of an array with real processes, through a restart of the master."""

from __future__ import annotations

from pathlib import Path

from support.cluster import FAST, cluster
from support.waiting import until

PIPELINE = """
name: sweep
params: {folder: ""}
jobs:
  - id: train
    matrix: {lr: [1, 2, 3], size: [1, 2]}
    max_parallel: 2
    command: |
      mkdir "$1/on.$2.$3"
      ls -d "$1"/on.* | wc -l >> "$1/counts"
      until test -e "$1/go-on"; do sleep 0.05; done
      rmdir "$1/on.$2.$3"
    args: ["${params.folder}", "${matrix.lr}", "${matrix.size}"]
"""


def test_two_of_six_jobs_run_at_a_time_also_after_a_restart_of_the_master(tmp_path: Path) -> None:
    file, folder = tmp_path / "sweep.yaml", tmp_path / "shared"
    folder.mkdir()
    file.write_text(PIPELINE)
    with cluster(tmp_path / "c", "w1", "w2", slots=4, settings=FAST) as c:
        run = c.cli("submit", str(file), "--param", f"folder={folder}").stdout.strip()
        until(lambda: len(list(folder.glob("on.*"))) == 2, "two jobs run")
        why = c.cli("why", f"{run}/train[5]").stdout
        assert "max_parallel 2 of train: 2 running" in why, why
        assert c.json("why", f"{run}/train[5]", "--json")["reasons"][0]["code"] == "max_parallel"
        c.kill_master()
        c.restart_master()
        c.wait_for_workers("w1", "w2")
        assert list(c.states(run).values()).count("RUNNING") == 2
        (folder / "go-on").touch()
        assert c.cli("wait", run).returncode == 0
        counts = [int(line) for line in (folder / "counts").read_text().split()]
        assert len(counts) == 6 and max(counts) <= 2
