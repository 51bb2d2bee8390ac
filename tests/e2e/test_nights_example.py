"""examples/nights as its README says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from support.cluster import FAST, Cluster, cluster
from support.waiting import until

EXAMPLE = Path(__file__).parents[2] / "examples" / "nights"


def test_the_nights_example_fills_the_history(tmp_path: Path) -> None:
    with cluster(tmp_path / "c", settings={**FAST, "keep_runs": 3}) as c:
        c.start_workers("w1")
        assert c.cli("schedule", "add", "nights", str(EXAMPLE / "pipeline.yaml"), "--every", "1").returncode == 0
        until(
            lambda: told(c, "history", "stats", "--home", str(c.home))["runs"] >= 3,
            "three runs have left the memory",
            deadline_s=30,
        )
        assert c.cli("schedule", "remove", "nights").returncode == 0
        runs = told(c, "runs", "--dag", "nights", "--since", "1h", "--limit", "100")
        failed = told(c, "runs", "--dag", "nights", "--state", "failed")
        assert len(runs) >= 6 and 1 <= len(failed) < len(runs)
        first = min(runs, key=lambda run: run["run"])
        said = c.cli("logs", f"{first['run']}/count")
        assert said.returncode == 0 and "crates" in said.stdout
        for run in failed:
            assert "does not come out even" in c.cli("logs", f"{run['run']}/count").stderr


def told(c: Cluster, *words: str) -> Any:
    done = c.cli(*words, "--json")
    assert done.returncode == 0, done
    return json.loads(done.stdout)
