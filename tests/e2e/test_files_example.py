"""examples/files as its README says."""

from __future__ import annotations

import os
from pathlib import Path

from support.cluster import QUIET, cluster

EXAMPLE = Path(__file__).parents[2] / "examples" / "files"


def test_the_files_example_publishes_its_report(tmp_path: Path) -> None:
    with cluster(tmp_path / "c", "w1", "w2", "w3", slots=1, settings=QUIET) as c:
        done = c.cli("run", str(EXAMPLE / "pipeline.yaml"))
        assert done.returncode == 0, done
        (key,) = c.json("artifacts")
        assert key["key"] == "reports/words"
        assert c.cli("artifact", "get", "reports/words", "report.txt", cwd=tmp_path).returncode == 0
        assert (tmp_path / "report.txt").read_text().startswith("  2000 file\n")
        run = c.client.runs()[0].run
        assert {row["key"].partition("/")[2] for row in c.json("artifacts", run)} >= {
            "split.parts",
            "count[3].counts.json",
            "join.report",
        }
        assert c.cli("artifact", "get", f"{run}/split.parts", "parts", cwd=tmp_path).returncode == 0
        assert sorted(os.listdir(tmp_path / "parts")) == [f"{n}.txt" for n in range(4)]
