"""The example of a service works as its file says: on a private cluster, with one command."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

from support.cluster import processes_below

EXAMPLE = Path(__file__).parents[2] / "examples" / "services"


def test_the_services_example_runs(tmp_path: Path) -> None:
    folder = tmp_path / "services"
    shutil.copytree(EXAMPLE, folder)
    done = subprocess.run(
        [sys.executable, "-m", "titan", "run", "--slots", "3", "--home", str(tmp_path / "home"), str(folder / "pipeline.yaml")],
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done
    logs = subprocess.run(
        [sys.executable, "-m", "titan", "runs", "--home", str(tmp_path / "home"), "--json"],
        capture_output=True,
        text=True,
        check=True,
    )
    run = json.loads(logs.stdout)[0]["run"]
    told = subprocess.run(
        [sys.executable, "-m", "titan", "logs", "--home", str(tmp_path / "home"), f"{run}/total"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout == "total 12 words in all\n"
    assert not processes_below(tmp_path)
