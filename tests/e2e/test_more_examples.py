"""The READMEs of examples/sdk_names and examples/census are correct."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from support.cluster import TITAN, cluster

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_a_program_for_the_titan_sdk(tmp_path: Path) -> None:
    with cluster(tmp_path / "c", "w1", "w2") as c:
        env = c.environment({"TITAN_MASTER": "", "TITAN_HOST": "127.0.0.1", "TITAN_PORT": str(c.port)})
        program = [sys.executable, str(EXAMPLES / "sdk_names/nightly.py")]
        done = subprocess.run(program, env=env, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done
        assert done.stdout.splitlines()[1:] == ["COMPLETED COMPLETED", "trained on 12 rows of a.csv, b.csv"]
        assert [run["dag"] for run in c.json("runs", "--group", "sdk-example")] == ["nightly"]


def test_the_census_is_predicted_and_shown_as_it_was(tmp_path: Path) -> None:
    folder = tmp_path / "census"
    shutil.copytree(EXAMPLES / "census", folder, ignore=shutil.ignore_patterns(".titan"))
    env = {name: value for name, value in os.environ.items() if not name.startswith("TITAN_")}

    def titan(*words: str) -> str:
        done = subprocess.run([*TITAN, *words], cwd=folder, env=env, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done
        return done.stdout

    ran = json.loads(titan("run", "--workers", "2", "--slots", "1", "--json", "pipeline.yaml"))
    told = json.loads(titan("simulate", "pipeline.yaml", "--workers", "1..3", "--slots", "1", "--json"))
    assert told["durations"]["recorded"] == 32 and [p["state"] for p in told["predictions"]] == ["COMPLETED"] * 3
    spans = [p["makespan"] for p in told["predictions"]]
    assert spans[0] > spans[1]
    ends = sorted(job["finished_at"] for job in ran["jobs"])
    then = json.loads(titan("replay", "--at", repr(ends[10]), "--json", ran["run"]))
    now = json.loads(titan("replay", "--at", "end", "--json", ran["run"]))
    states = [[job["state"] for job in it["jobs"]].count("COMPLETED") for it in (then, now)]
    assert 0 < states[0] < 32 and states[1] == 32
    events = titan("replay", "--events", ran["run"])
    assert f"{ran['run']}/report" in events and f"{ran['run']}/count[29]" in events
