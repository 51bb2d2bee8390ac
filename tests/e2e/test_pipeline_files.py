"""`titan validate`, `graph`, `schema` and `init`, which need no master."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

OK = "name: ok\nparams: {n: {type: integer, required: true}}\njobs:\n  - {id: a, command: x, retries: '${params.n}'}\n"
WRONG = "name: bad\njobs:\n  - {id: a, comand: x}\n  - {id: b, command: x, retries: many}\n"


def titan(folder: Path, *words: str, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    where = {**os.environ, "COLUMNS": "80", **(env or {})}
    return subprocess.run(
        [sys.executable, "-m", "titan", *words], cwd=folder, env=where, text=True, capture_output=True, check=False, timeout=120
    )


def test_validate_prints_all_problems_of_all_files(tmp_path: Path) -> None:
    (tmp_path / "ok.yaml").write_text(OK)
    (tmp_path / "bad.yaml").write_text(WRONG)
    done = titan(tmp_path, "validate", "ok.yaml", "bad.yaml")
    assert (done.returncode, done.stderr) == (1, ""), done
    assert done.stdout.splitlines() == [
        "ok.yaml: ok is valid, 1 job",
        "bad.yaml:3: comand: unknown key: did you mean 'command'?",
        "bad.yaml:3: command: give exactly one of file and command",
        "bad.yaml:4: retries: must be an integer, not the string 'many'",
    ]
    assert titan(tmp_path, "validate", "ok.yaml").returncode == 0
    assert titan(tmp_path, "validate", "ok.yaml", "--param", "n=many").stdout.startswith("ok.yaml:2: params.n: must be an integer")


def test_validate_prints_json(tmp_path: Path) -> None:
    (tmp_path / "ok.yaml").write_text(OK)
    (tmp_path / "bad.yaml").write_text(WRONG)
    done = titan(tmp_path, "validate", "ok.yaml", "bad.yaml", "--json")
    ok, bad = json.loads(done.stdout)
    assert done.returncode == 1
    assert ok == {"file": "ok.yaml", "valid": True, "pipelines": [{"name": "ok", "jobs": 1}], "problems": []}
    assert (bad["valid"], [(p["line"], p["key"]) for p in bad["problems"]]) == (
        False,
        [(3, "comand"), (3, "command"), (4, "retries")],
    )


@pytest.mark.parametrize("words", [("none.yaml",), (".",), (), ("none.yaml", "--json")])
def test_validate_of_no_file_is_an_error_of_usage(tmp_path: Path, words: tuple[str, ...]) -> None:
    done = titan(tmp_path, "validate", *words)
    assert (done.returncode, done.stdout, "Traceback" in done.stderr) == (2, "", False), done
    if "--json" in words:
        assert json.loads(done.stderr)["error"]["code"] == "invalid_pipeline"


@pytest.mark.parametrize(("form", "begins"), [("text", "ok: 1 job\na\n"), ("dot", "digraph"), ("mermaid", "---\ntitle:")])
def test_graph_draws_a_pipeline_or_refuses_it(tmp_path: Path, form: str, begins: str) -> None:
    (tmp_path / "ok.yaml").write_text(OK)
    done = titan(tmp_path, "graph", "ok.yaml", "--format", form, env={"LC_ALL": "C", "PYTHONUTF8": "0"})
    assert (done.returncode, done.stdout.startswith(begins)) == (0, True), done
    (tmp_path / "bad.yaml").write_text(WRONG)
    refused = titan(tmp_path, "graph", "bad.yaml")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr == "titan: bad.yaml:3: comand: unknown key: did you mean 'command'?\n"


def test_schema_is_json(tmp_path: Path) -> None:
    assert "jobs" in json.loads(titan(tmp_path, "schema").stdout)["properties"]


def test_the_pipeline_of_init_runs_at_once(tmp_path: Path) -> None:
    made = titan(tmp_path, "init", "first: one's")
    assert made.stdout.splitlines()[:2] == ["wrote first: one's/pipeline.yaml", "wrote first: one's/power.py"], made
    folder = tmp_path / "first: one's"
    assert "first: one's is valid, 5 jobs" in titan(folder, "validate", "pipeline.yaml").stdout
    done = titan(folder, "run", "--ephemeral", "pipeline.yaml", "--param", "count=2")
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "2 to the power of 3 is 8"), done


def test_init_overwrites_nothing(tmp_path: Path) -> None:
    (tmp_path / "power.py").write_text("mine")
    done = titan(tmp_path, "init")
    assert (done.returncode, done.stderr) == (2, "titan: power.py exists: choose an empty folder, titan init DIR\n")
    assert os.listdir(tmp_path) == ["power.py"]
    refused = titan(tmp_path, "init", "power.py")
    assert (refused.returncode, refused.stderr) == (2, "titan: power.py: cannot be written: File exists: choose another folder\n")
