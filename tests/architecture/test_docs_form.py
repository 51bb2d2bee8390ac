"""The form of README and docs: prose wraps at 100 columns, README is short, and every page is
reachable."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from support.pages import PAGES, RECIPES, ROOT, prose

COLUMNS = 100
README_LINES = 150
_LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
_UNBREAKABLE = re.compile(r"`[^`]*`|\]\([^)]*\)|<[^>]*>")


RECIPE_PAGES = sorted((ROOT / "docs/recipes").glob("*.md"))


@pytest.mark.parametrize("page", [*PAGES, *RECIPE_PAGES], ids=lambda page: page.name)
def test_prose_wraps_at_100_columns(page: Path) -> None:
    assert [f"{page.name}:{number}" for number, line in prose(page) if is_too_long(line)] == []


def is_too_long(line: str) -> bool:
    """Code, link targets and tags are not broken, so a line of nothing else may be longer."""
    breakable = _UNBREAKABLE.sub(lambda found: "x" * len(found[0]), line.strip())
    return len(line) > COLUMNS and " " in breakable


def test_the_rule_sees_a_long_line() -> None:
    assert is_too_long("word " * 21)
    assert not is_too_long("`" + "word " * 21 + "`;")


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= README_LINES


@pytest.mark.parametrize(
    "page", [*PAGES, *RECIPE_PAGES, ROOT / "ARCHITECTURE.md", *ROOT.glob("examples/*/*.md")], ids=lambda page: page.name
)
def test_links_lead_to_something(page: Path) -> None:
    """`make docs` looks at anchors too, but not at folders."""
    targets = [target for target in _LINK.findall(page.read_text()) if "://" not in target]
    assert [target for target in targets if not (page.parent / target).exists()] == []


@pytest.mark.parametrize("page", sorted((ROOT / "docs").glob("*.md")), ids=lambda page: page.name)
def test_the_readme_leads_to_every_page(page: Path) -> None:
    assert f"(docs/{page.name}" in (ROOT / "README.md").read_text()


@pytest.mark.parametrize("page", RECIPES, ids=lambda page: page.name)
def test_the_list_of_recipes_and_the_site_lead_to_every_recipe(page: Path) -> None:
    assert f"({page.name})" in (ROOT / "docs/recipes/README.md").read_text()
    assert f": docs/recipes/{page.name}\n" in (ROOT / "mkdocs.yml").read_text()


def test_make_help_lists_every_target() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = [name for line in re.findall(r"^\.PHONY: (.*)$", makefile, re.MULTILINE) for name in line.split()]
    shown = subprocess.run(["make", "--no-print-directory", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert sorted(line.split()[0] for line in shown.splitlines()) == sorted(targets)
