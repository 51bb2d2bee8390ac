"""examples/secrets works as its README says: on a private cluster, with a secret that only the
cluster's home has, encrypted."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

EXAMPLE = Path(__file__).parents[2] / "examples" / "secrets"
TOKEN = b"hunter2-and-more/of+it"


def titan(folder: Path, *words: str, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    env = {name: value for name, value in os.environ.items() if not name.startswith("TITAN_")}
    command = [sys.executable, "-m", "titan", *words]
    return subprocess.run(command, cwd=folder, env=env, input=given, capture_output=True, timeout=90, check=False)


def test_the_secrets_example_runs_and_leaks_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    shutil.copytree(EXAMPLE, folder)
    refused = titan(folder, "run", "--home", ".titan", "pipeline.yaml")
    assert refused.returncode == 2 and b"titan secret set API_TOKEN" in refused.stderr, refused
    done = titan(folder, "secret", "set", "API_TOKEN", "--home", ".titan", given=TOKEN + b"\n")
    assert (done.returncode, done.stdout) == (0, b"secret API_TOKEN is set, version 1\n"), done
    done = titan(folder, "run", "--home", ".titan", "--json", "pipeline.yaml")
    assert done.returncode == 0, done
    run = json.loads(done.stdout)["run"]
    signed = titan(folder, "logs", f"{run}/sign").stdout
    assert signed == b"report for today: " + hmac.new(TOKEN, b"report for today", hashlib.sha256).hexdigest().encode() + b"\n"
    careless = titan(folder, "logs", f"{run}/careless")
    said = careless.stdout + careless.stderr
    assert b"Bearer" in said and b"***" in said and base64.b64encode(TOKEN) not in said
    assert titan(folder, "logs", f"{run}/other").stdout == b"other jobs have nothing\n"
    for path in folder.rglob("*"):
        assert not path.is_file() or TOKEN not in path.read_bytes(), path
    listed = json.loads(titan(folder, "secret", "list", "--json").stdout)
    assert [(row["name"], row["version"]) for row in listed] == [("API_TOKEN", 1)]
    assert titan(folder, "secret", "remove", "API_TOKEN").returncode == 0
    assert titan(folder, "secret", "list").stdout == b"no secrets\n"
    assert titan(tmp_path, "secret", "list").returncode == 3, "nothing is made where nobody said so"
