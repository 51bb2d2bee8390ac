"""Kill a master with SIGKILL while it writes a snapshot. `make kill-snapshots KILLS=200` does this
more often."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.cluster import QUIET, cluster, processes_below
from support.snapshot_kills import kill_in_snapshots
from support.waiting import until
from titan import DAG, Job


@pytest.mark.parametrize("kills", [4, pytest.param(12, marks=pytest.mark.slow)])
def test_every_start_succeeds_and_nothing_acknowledged_is_lost(tmp_path: Path, kills: int) -> None:
    figures = kill_in_snapshots(tmp_path, kills=kills, seed=3)
    assert figures.good, (figures.failed_starts, figures.unwhole, figures.lost)
    assert figures.kills == kills and figures.acknowledged > 100 * kills


def test_no_compaction_outlives_its_master(tmp_path: Path) -> None:
    with cluster(tmp_path / "c", settings={**QUIET, "snapshot_bytes": 100_000}) as c:
        c.client.submit(DAG("many", [Job(f"j{i}", command="true", args=[i]) for i in range(20_000)]))
        until(lambda: [1 for line in processes_below(c.home).values() if "compaction" in line], "a compaction is under way")
        c.kill_master()
        until(lambda: not processes_below(c.home), "the compaction ended with its master", 10.0)
        assert not list(c.store.glob("*.snap")), "the compaction went on without its master"
        (c.store / "00000000000000000001.snap.tmp").write_bytes(b"half a snapshot")
        c.start_master()
        assert not list(c.store.glob("*.snap.tmp"))
