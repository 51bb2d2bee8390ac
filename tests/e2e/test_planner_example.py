"""The planner example: as many jobs as there are packages, counted and reported."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.cluster import Cluster, cluster

PLANNER = Path(__file__).parents[2] / "examples" / "planner"


@pytest.fixture
def c(tmp_path: Path) -> Iterator[Cluster]:
    with cluster(tmp_path / "c", "w1", "w2") as made:
        yield made


def test_the_report_waits_for_all_added_jobs(c: Cluster, tmp_path: Path) -> None:
    folder = tmp_path / "planner"
    shutil.copytree(PLANNER, folder)
    done = c.cli("run", str(folder / "pipeline.yaml"))
    assert done.returncode == 0, done.stderr
    said = re.search(r"in (\d+) packages", done.stdout)
    assert said is not None and done.stdout.count("\n") == 6
    (run,) = c.json("runs", "--group", "examples", "--json")
    assert run["count"] == 2 + int(said[1]) and run["tally"] == {"COMPLETED": run["count"]}
