"""examples/burst as its README says."""

from __future__ import annotations

from pathlib import Path

from support.cluster import FAST, cluster
from support.waiting import until

EXAMPLE = Path(__file__).parents[2] / "examples" / "burst"
OPTIONS = ("--scale", "GENERAL=0..4", "--burst-slots", "2", "--burst-idle", "1", "--set", "scale_every_s=0.3")


def test_the_burst_example_runs_on_burst_workers(tmp_path: Path) -> None:
    with cluster(tmp_path / "c", settings=FAST, options=OPTIONS) as c:
        c.start_worker("w1", "--shared", str(c.home / "shared"), slots=1)
        c.wait_for_workers("w1")
        done = c.cli("run", "--json", str(EXAMPLE / "pipeline.yaml"), cwd=tmp_path)
        assert done.returncode == 0, done
        run = c.client.runs()[0].run
        assert c.output(f"{run}/total") == b"506 from 12 parts\n"
        assert any((job.worker or "").startswith("burst-") for job in c.client.status(run).jobs)
        until(lambda: [w.name for w in c.client.workers()] == ["w1"], "the burst workers are gone")
