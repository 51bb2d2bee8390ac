"""A driver is added to a copy of Titan, by one file and a row in each of the two tables. It runs
jobs of a real worker."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import support.driver
import titan

SOURCE = Path(titan.__file__).parent
ROW = ('}\n"""The first row', '    "own": DriverRow("of a test", runs=("command",)),\n')
CLASS = ("}\n\n\nclass Drivers", '    "own": OwnDriver,\n')
IMPORT = ("from titan.worker.drivers.process", "from titan.worker.drivers.own import OwnDriver\n")
ADDED = (("model/drivers.py", ROW), ("worker/drivers/table.py", CLASS), ("worker/drivers/table.py", IMPORT))
PIPELINE = """\
name: p
project: false
jobs:
  - {id: own, driver: own, command: 'echo "$TITAN_JOB by ${STARTED_BY:-another}"; echo own > $TITAN_SHARED/own'}
  - {id: next, command: 'echo "$TITAN_JOB by ${STARTED_BY:-another} after $(cat $TITAN_SHARED/own)"', depends_on: [own]}
  - {id: bad, driver: own, retries: 0, command: 'exit 3'}
  - {id: service, type: service, driver: own, health: none, restart: never, command: 'echo "service by $STARTED_BY"'}
"""


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    shutil.copytree(SOURCE, tmp_path / "titan", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(support.driver.__file__, tmp_path / "titan" / "worker" / "drivers" / "own.py")
    for name, (before, line) in ADDED:
        file = tmp_path / "titan" / name
        text = file.read_text()
        assert text.count(before) == 1
        file.write_text(text.replace(before, line + before))
    return tmp_path


def titan_in(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run the command line of the copy in a network of its own, where no other master listens."""
    where = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1", "NO_COLOR": "1"}
    where.pop("TITAN_MASTER", None)
    alone = ("unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh", sys.executable, "-m", "titan")
    return subprocess.run([*alone, *command], cwd=folder, env=where, text=True, capture_output=True, check=False, timeout=60)


def run(folder: Path, pipeline: str) -> subprocess.CompletedProcess[str]:
    (folder / "p.yaml").write_text(pipeline)
    return titan_in(folder, "run", "--home", "home", "p.yaml")


def test_a_new_driver_is_one_file_and_its_rows(copied: Path) -> None:
    done = run(copied, PIPELINE)
    assert done.returncode == 1 and "bad is DEAD after 1 attempt: exit code 3" in done.stderr
    found = re.search(r"run (\w+) of p", done.stderr)
    assert found is not None
    logs = {name: titan_in(copied, "logs", "--home", "home", f"{found[1]}/{name}").stdout for name in ("own", "next", "service")}
    assert logs == {"own": "own by own\n", "next": "next by another after own\n", "service": "service by own\n"}


def test_a_job_that_a_driver_does_not_run_is_refused_before_the_submission(copied: Path) -> None:
    (copied / "x.py").touch()
    done = run(copied, "name: p\nproject: false\njobs:\n  - {id: a, driver: own, file: x.py}\n")
    assert done.returncode == 2 and "driver own runs no file: give it command" in done.stderr
    done = run(copied, "name: p\nproject: false\njobs:\n  - {id: a, driver: onw, command: x}\n")
    assert done.returncode == 2 and "driver: must be python, process or own, not 'onw'" in done.stderr
