"""The census example: its three scripts run by hand on a small library, and its pipeline runs as
documented."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from titan.sdk.pipeline import load_pipeline
from titan.sdk.staging import stage

CENSUS = Path(__file__).parents[2] / "examples" / "census"

ALPHA = '''\
"""A module."""
import os

class A:
    def method(self, x):
        if x and os.sep or x > 2:               # 1 if, 2 operands
            return [i for i in x if i if i > 1]  # 2 ifs in a comprehension
        return 1 if x else 2                    # 1

    class Inner:
        pass


async def outer():
    async for _ in outer():                     # 1
        def nested():
            while True:                         # 1, not outer's
                pass
    try:
        pass
    except ValueError:                          # 1
        pass


match os.name:
    case "posix":                               # 1, of no function
        pass
    case _:                                     # 1
        pass
'''


@pytest.fixture
def library(tmp_path: Path) -> Path:
    folder = tmp_path / "lib"
    files = {
        "alpha.py": ALPHA,
        "pkg/__init__.py": "",
        "pkg/many.py": "".join(f"def f{i}(x):\n    if x: pass\n    if x: pass\n" for i in range(25)),
        "pkg/tests/test_many.py": "def test(): pass\n",
        "pkg/__pycache__/x.py": "def cached(): pass\n",
        "site-packages/other.py": "x = 1\n",
        "test/test_x.py": "x = 1\n",
        "idlelib/idle.py": "x = 1\n",
        "config-3-x86/config.py": "x = 1\n",
        "empty_folder/data.txt": "x\n",
        "broken.py": "def f(:\n<script>\n",
        "nul.py": "x = 1\0\n",
        "old.py": "# -*- coding: latin-1 -*-\nx = '\xe9'",
    }
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode("latin-1"))
    return folder


def run(script: str, *args: str, folder: Path, **env: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", str(CENSUS / script), *args]
    return subprocess.run(command, cwd=folder, env=os.environ | env, capture_output=True, text=True, check=False)


def count(part: int, folder: Path) -> subprocess.CompletedProcess[str]:
    """Count one part, and put the file where `report` finds it."""
    done = run("count.py", str(part), folder=folder)
    (folder / "counts").mkdir(exist_ok=True)
    (folder / "count.json").replace(folder / "counts" / str(part))
    return done


def take_census(library: Path, folder: Path, parts: int, out: Path) -> str:
    folder.mkdir(exist_ok=True)
    runs = [run("list_modules.py", str(parts), folder=folder, CENSUS_SOURCE=str(library))]
    runs += [count(part, folder) for part in range(parts)]
    runs.append(run("report.py", folder=folder, CENSUS_OUT=str(out)))
    assert [(done.returncode, done.stderr) for done in runs] == [(0, "")] * (parts + 2)
    return runs[-1].stdout


def test_the_census_of_a_small_library_is_as_counted_by_hand(library: Path, tmp_path: Path) -> None:
    scratch, out = tmp_path / "scratch", tmp_path / "out"
    printed = take_census(library, scratch, 7, out)
    counts = [json.loads(path.read_text()) for path in sorted((scratch / "counts").iterdir())]
    modules = {module["name"]: module for part in counts for module in part["modules"]}
    assert sorted(modules) == ["alpha", "broken", "nul", "old", "pkg"]
    assert len(counts) == 7  # there are more parts than modules, so some parts are empty

    alpha = modules["alpha"]
    assert (alpha["lines"], alpha["classes"], alpha["branches"]) == (29, 2, 11)
    found = {name: (line, lines, branches) for _, name, line, lines, branches in alpha["functions"]}
    assert found == {"A.method": (5, 4, 6), "outer": (14, 9, 2), "outer.nested": (16, 3, 1)}
    assert (modules["pkg"]["files"], len(modules["pkg"]["functions"])) == (2, 25)
    assert modules["broken"]["unread"][0][0] == "broken.py"
    assert modules["nul"]["unread"]
    assert (modules["old"]["lines"], modules["old"]["unread"]) == (2, [])

    for where in (scratch, out):
        text = (where / "report.md").read_text()
        assert "| functions | 28 |" in text
        assert "| `outer` | `alpha.py:14` | 9 | 2 |" in text
        assert "| `pkg` | 75 | 25 | 0 | 50 | 2.0 |" in text
        assert "`broken.py`" in text
    assert "28  functions" in printed
    assert f"report: {out.resolve() / 'report.html'}" in printed
    assert "2 files that do not parse" in printed


def test_the_page_stands_alone_and_is_well_formed(library: Path, tmp_path: Path) -> None:
    take_census(library, tmp_path / "scratch", 2, tmp_path / "out")
    page = (tmp_path / "out" / "report.html").read_text()
    drawing = ET.fromstring(page[page.index("<svg") : page.index("</svg>") + 6])
    assert [title.text for title in drawing.iter("title")] == ["pkg: 75 lines, 25 functions, 2.0 branches each"]
    assert "prefers-color-scheme: dark" in page
    assert not any(outside in page for outside in ("http:", "https:", "<script", "url(", "<link", "nan"))


def test_counting_twice_gives_the_same_report(library: Path, tmp_path: Path) -> None:
    """A job may run twice. Then nothing is counted twice, and no half-written file is left."""
    scratch, out = tmp_path / "scratch", tmp_path / "out"
    printed = take_census(library, scratch, 3, out)
    page = (out / "report.html").read_text()
    assert take_census(library, scratch, 3, out) == printed
    assert (out / "report.html").read_text() == page
    assert not list(scratch.rglob("*.part"))


def test_the_census_of_an_empty_library_counts_nothing(tmp_path: Path) -> None:
    (tmp_path / "lib").mkdir()
    assert "0  functions" in take_census(tmp_path / "lib", tmp_path / "scratch", 2, tmp_path / "out")


def test_the_report_names_the_parts_that_were_not_counted(library: Path, tmp_path: Path) -> None:
    run("list_modules.py", "2", folder=tmp_path, CENSUS_SOURCE=str(library))
    count(0, tmp_path)
    done = run("report.py", folder=tmp_path)
    assert done.returncode == 1
    assert done.stderr.endswith("counts: part 1\n")
    assert not (tmp_path / "report.md").exists()


def test_a_machine_without_the_source_does_not_count(library: Path, tmp_path: Path) -> None:
    run("list_modules.py", "1", folder=tmp_path, CENSUS_SOURCE=str(library))
    library.rename(tmp_path / "moved")
    done = run("count.py", "0", folder=tmp_path)
    assert done.returncode == 1
    assert done.stderr == f"{library} is not on this machine: set CENSUS_SOURCE to a folder that all workers have\n"


def test_the_pipeline_is_valid() -> None:
    dag = load_pipeline(CENSUS / "pipeline.yaml")
    assert [job.id for job in dag.jobs] == ["list", "count", "report"]
    staged = stage(dag)
    assert sorted(template.file for template in staged.spec.templates) == ["count.py", "list_modules.py", "report.py"]
    assert staged.spec.ids == ["list", *(f"count[{part}]" for part in range(30)), "report"]
