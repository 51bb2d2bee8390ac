"""README typed on two machines, as in support/two_machines.py. `make two-machines` is the long form
on two machines with nothing but Debian 12."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from chaos.places import why_not

TESTS = Path(__file__).parents[1]


def test_readme_works_on_two_machines() -> None:
    if reason := why_not():
        pytest.skip(f"no network namespaces: {reason}")
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)}
    command = [sys.executable, "-m", "support.two_machines"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=env, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("README works on two machines\n")
