"""The wheel as a user gets it: built from the checkout, installed into an empty environment, and
used."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from titan import __version__

ROOT = Path(__file__).parents[2]
PIP_S = 240


def run(*command: str | Path, cwd: Path, **env: str) -> str:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("TITAN", "PYTHON"))}
    done = subprocess.run(command, cwd=cwd, env=clean | env, capture_output=True, text=True, timeout=PIP_S, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", folder, ROOT, cwd=folder)
    (built,) = folder.glob("*.whl")
    return built


def test_the_wheel_has_the_package_and_nothing_of_the_tests(wheel: Path) -> None:
    assert wheel.name == f"titan_orchestrator-{__version__}-py3-none-any.whl"
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names} == {"titan", f"titan_orchestrator-{__version__}.dist-info"}
    assert "titan/py.typed" in names and "titan/worker/isolated/warden.py" in names


def test_a_job_runs_from_an_environment_with_the_wheel_alone(wheel: Path, tmp_path: Path) -> None:
    place = tmp_path / "env"
    venv.create(place, with_pip=False)
    run(sys.executable, "-m", "pip", "--python", place / "bin" / "python", "install", "-q", wheel, cwd=tmp_path)
    titan = place / "bin" / "titan"
    assert run(titan, "--version", cwd=tmp_path).strip().endswith(__version__)
    (tmp_path / "hello.py").write_text("import titan, sys; print(titan.__version__, titan.__file__.startswith(sys.prefix))\n")
    printed = run(titan, "run", "--ephemeral", "hello.py", cwd=tmp_path)
    assert f"{__version__} True" in printed
