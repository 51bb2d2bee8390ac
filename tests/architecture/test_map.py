"""ARCHITECTURE.md is a short map. Every path that it or a design page names exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import titan

ROOT = Path(__file__).parents[2]
SOURCE = Path(titan.__file__).parent
PAGES = [ROOT / "ARCHITECTURE.md", *sorted((ROOT / "docs" / "design").glob("*.md"))]
PATH = re.compile(r"`((?:[a-z_]+/)+[a-z_]*(?:\.py)?)`")
OF_A_HOME = {"files/", "perm_files/", "jobs/"}
"""Folders of a master's or a worker's home, which are not in the repository."""


def test_the_map_fits_on_a_few_screens() -> None:
    assert len((ROOT / "ARCHITECTURE.md").read_text().splitlines()) <= 300


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_path_exists(page: Path) -> None:
    named = set(PATH.findall(page.read_text())) - OF_A_HOME
    assert [path for path in sorted(named) if not (SOURCE / path).exists() and not (ROOT / path).exists()] == []


def test_the_map_names_every_package() -> None:
    table = (ROOT / "ARCHITECTURE.md").read_text().split("## Packages")[1].split("\n## ")[0]
    packages = {path.name for path in SOURCE.iterdir() if (path / "__init__.py").exists()}
    assert packages <= set(re.findall(r"`([a-z]+)`", table))


def test_no_module_is_loose() -> None:
    """`ls src/titan` shows the architecture."""
    assert {path.stem for path in SOURCE.glob("*.py")} == {"__init__", "__main__", "_version", "errors"}
