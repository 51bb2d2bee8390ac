"""A home is restored from a copy that was made while its master ran. The workers live on and hold
attempts that the copy does not know."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest

from support.cluster import Cluster
from support.waiting import until
from titan import DAG, Job


def one(name: str, command: str) -> DAG:
    return DAG(name, [Job("j", command=command)])


@pytest.mark.parametrize("what", ["home", "store"])
def test_a_restored_home_completes_no_job_that_never_ran(tmp_path: Path, what: str) -> None:
    """`store` restores only the folder of the journal, as if the file system were rolled back. The
    home then has no sign of the restoration."""
    made, copy = Cluster(tmp_path), tmp_path / "copy"
    try:
        made.start_master()
        made.start_workers("w1", slots=2)
        folder = made.home if what == "home" else made.store
        shutil.copytree(folder, copy)
        made.restart_master()
        made.wait_for_workers("w1")
        go = tmp_path / "go"
        first = made.client.submit(one("first", f"while [ ! -e {go} ]; do sleep 0.05; done; echo first >> {tmp_path}/ran"))
        until(lambda: made.client.job(f"{first.id}/j")[0].state == "RUNNING", "the first job runs")
        made.kill_master()
        shutil.rmtree(folder)
        shutil.copytree(copy, folder)
        made.start_master()
        second = made.client.submit(one("second", f"echo second >> {tmp_path}/ran"))
        go.touch()
        assert second.wait(timeout=30).state == "COMPLETED"
        assert "second" in (tmp_path / "ran").read_text().split()
        until(lambda: bool(made.client.notices()), "operators are told")
        assert made.client.runs()[0].run == second.id
        told = made.cli("workers").stdout
        assert ("is a copy" if what == "home" else "restored from an older copy") in told, told
        assert made.master is not None and ("copy" in made.master.err)
        assert time.time() - made.client.notices()[-1][0] < 60
    finally:
        made.close()
