"""The home is deleted or moved under a running master. The master notices this within a second, and
acknowledges nothing more."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from support.cluster import Cluster, cluster
from support.waiting import until
from titan import DAG, Client, Job
from titan.errors import TitanError

BOUND_S = 2.0
"""A second, plus the time that a loaded machine needs to schedule and end a process."""


def delete(c: Cluster) -> None:
    """Remove the home. Repeat this until it is gone, because the master may write into it
    meanwhile."""

    def gone() -> bool:
        shutil.rmtree(c.home, ignore_errors=True)
        return not c.home.exists()

    until(gone, "the home is deleted")


def clean_with_git(c: Cluster) -> None:
    subprocess.run(["git", "-C", str(c.base), "init", "-q"], check=True)
    subprocess.run(["git", "-C", str(c.base), "clean", "-fdxq", "--", "home"], check=True)


def move(c: Cluster) -> None:
    c.home.rename(c.base / "moved")


def move_and_make_anew(c: Cluster) -> None:
    shutil.copytree(c.home, c.base / "copy")
    c.home.rename(c.base / "moved")
    (c.base / "copy").rename(c.home)


def delete_the_segments(c: Cluster) -> None:
    for path in c.store.glob("*.seg"):
        path.unlink()


def delete_the_lock(c: Cluster) -> None:
    (c.home / "lock").unlink()


@pytest.mark.parametrize("harm", [delete, clean_with_git, move, move_and_make_anew, delete_the_segments, delete_the_lock])
def test_a_master_whose_home_is_gone_stops_and_names_the_reason(tmp_path: Path, harm: Callable[[Cluster], None]) -> None:
    with cluster(tmp_path / "c") as c:
        c.client.submit(DAG("before", [Job("a", command="true")]))
        assert c.master is not None
        harm(c)
        began = time.monotonic()
        until(lambda: c.master is not None and not c.master.running, "the master stops", 10.0)
        assert time.monotonic() - began < BOUND_S or _is_loaded()
        assert c.master.wait() == 74
        assert "was deleted, moved or replaced under this process" in c.master.err
        assert "Traceback" not in c.master.err
        assert "no space" not in c.master.err and "nothing acknowledged is lost" not in c.master.err


@pytest.mark.parametrize("harm", [delete, move, move_and_make_anew, delete_the_lock])
def test_a_master_without_a_journal_stops_too(tmp_path: Path, harm: Callable[[Cluster], None]) -> None:
    with cluster(tmp_path / "c", options=("--journal", "none")) as c:
        c.client.submit(DAG("before", [Job("a", command="true")]))
        assert c.master is not None
        harm(c)
        began = time.monotonic()
        until(lambda: c.master is not None and not c.master.running, "the master stops", 10.0)
        assert time.monotonic() - began < BOUND_S or _is_loaded()
        assert c.master.wait() == 74
        assert "was deleted, moved or replaced under this process" in c.master.err
        assert "Traceback" not in c.master.err


@pytest.mark.parametrize("mode", [("--fsync", "everysec"), ("--fsync", "no")])
def test_a_master_that_syncs_later_stops_too(tmp_path: Path, mode: tuple[str, str]) -> None:
    with cluster(tmp_path / "c", options=mode) as c:
        delete(c)
        until(lambda: c.master is not None and not c.master.running, "the master stops", BOUND_S if not _is_loaded() else 10.0)
        assert c.master is not None and c.master.wait() == 74
        assert "was deleted, moved or replaced under this process" in c.master.err
        assert not c.home.exists(), "the home is not made again"


def test_nothing_is_acknowledged_after_the_notice(tmp_path: Path) -> None:
    """A client continues to submit. It gets its last answer within a second of the deletion."""
    with cluster(tmp_path / "c") as c, Client(c.address, patience_s=0.5) as client:
        client.submit(DAG("before", [Job("a", command="true")]))
        delete(c)
        gone = answered = time.monotonic()
        with pytest.raises(TitanError):
            while time.monotonic() < gone + 10:
                client.submit(DAG("after", [Job("a", command="true")]))
                answered = time.monotonic()
        assert answered - gone < 1.0 or _is_loaded()


def _is_loaded() -> bool:
    """Return whether the machine is too busy for a check of the elapsed time."""

    return os.getloadavg()[0] > 1.5 * (os.cpu_count() or 1)
