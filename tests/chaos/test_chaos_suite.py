"""A short chaos (see chaos.py). `make chaos SECONDS=600 SEED=n` runs a long one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]


@pytest.mark.parametrize(("options", "seed"), [((), 1), (("--fsync", "everysec", "--unprivileged"), 2)])
def test_nothing_is_lost_doubled_stuck_or_made_up(options: tuple[str, ...], seed: int) -> None:
    command = [sys.executable, "-m", "chaos.chaos", "--seconds", "8", "--seed", str(seed), *options]
    env = {**os.environ, "PYTHONPATH": str(TESTS)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=400, cwd=TESTS.parent, env=env, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
