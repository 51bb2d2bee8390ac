"""kill -9 of a master whose snapshot is under way. `make kill-snapshots KILLS=200` does more of it."""

from __future__ import annotations

from pathlib import Path

from support.cluster import QUIET, cluster, processes_below
from support.snapshot_kills import kill_in_snapshots
from support.waiting import until
from titan import DAG, Job


def test_every_start_succeeds_and_nothing_acknowledged_is_lost(tmp_path: Path) -> None:
    figures = kill_in_snapshots(tmp_path, kills=8, seed=3)
    assert figures.good, (figures.failed_starts, figures.unwhole, figures.lost)
    assert figures.kills == 8 and figures.acknowledged > 1000


def test_no_compaction_outlives_its_master(tmp_path: Path) -> None:
    with cluster(tmp_path / "c", settings={**QUIET, "snapshot_bytes": 100_000}) as c:
        c.client.submit(DAG("many", [Job(f"j{i}", command="true", args=[i]) for i in range(20_000)]))
        until(lambda: [1 for line in processes_below(c.home).values() if "compaction" in line], "a compaction is under way")
        c.kill_master()
        until(lambda: not processes_below(c.home), "it ended with its master", 10.0)
        assert not list(c.store.glob("*.snap")), "it went on without its master"
        (c.store / "00000000000000000001.snap.tmp").write_bytes(b"half a snapshot")
        c.start_master()
        assert not list(c.store.glob("*.snap.tmp"))
