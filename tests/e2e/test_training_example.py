"""examples/training as its README says."""

from __future__ import annotations

from pathlib import Path

from support.cluster import QUIET, cluster

EXAMPLE = Path(__file__).parents[2] / "examples" / "training"


def test_the_training_example_chooses_the_best_rate(tmp_path: Path) -> None:
    with cluster(tmp_path / "c", "w1", "w2", settings=QUIET) as c:
        done = c.cli("run", str(EXAMPLE / "pipeline.yaml"))
        assert done.returncode == 0, done
        assert [line.split()[1] for line in done.stdout.splitlines()] == ["0.3", "0.02", "1.2"]
        run = c.client.runs()[0].run
        best = c.json("result", run, "choose")
        assert best["rate"] == 0.3 and best["line"] == [3.0, 1.0]
        assert c.json("result", run, "prepare") == {"points": 100}
        assert c.json("result", run, "train[2]")["loss"] > 1e6
        said = {job.id: job.status for job in c.client.status(run).jobs}
        assert said["prepare"] == "drawing points" and said["train[2]"] == "rate 1.2 diverges"
        assert "rate 0.02" in c.cli("status", run).stdout
        assert c.cli("artifact", "get", f"{run}/points", "points.txt", cwd=tmp_path).returncode == 0
        assert len((tmp_path / "points.txt").read_text().splitlines()) == 100
