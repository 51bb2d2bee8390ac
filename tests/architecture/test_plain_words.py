"""Names and texts of the code keep the rules of `plain_words`."""

from __future__ import annotations

from pathlib import Path

import pytest

from architecture import plain_words

SOURCES = sorted(Path("src/titan").rglob("*.py"))


def test_no_text_opens_without_a_noun_and_no_name_is_retired() -> None:
    found = [problem for path in SOURCES for problem in plain_words.problems(path)]
    assert not found, "\n".join(["", *found])


def test_no_module_has_a_retired_name() -> None:
    found = [str(path) for path in SOURCES if plain_words.RETIRED & {path.stem.lower(), *map(str.lower, path.parts)}]
    assert not found


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        ('"""What a job left."""', "opens without a noun"),
        ('def end() -> None:\n    """Whether it ends."""', "opens without a noun"),
        ('raise NotFound("Of a gate: a message")', "opens without a noun"),
        ('option("--all", help="Which jobs to list.")', "opens without a noun"),
        ("def take(it: int) -> None: ...", "it is no name"),
        ("desk = 1", "desk is no name"),
    ],
)
def test_what_is_counted(tmp_path: Path, code: str, problem: str) -> None:
    module = tmp_path / "module.py"
    module.write_text(code)
    assert any(problem in found for found in plain_words.problems(module))


@pytest.mark.parametrize("code", ['"""The output of a job."""', 'def f() -> None:\n    """Return when it ends."""', "job = 1"])
def test_what_is_not_counted(tmp_path: Path, code: str) -> None:
    module = tmp_path / "module.py"
    module.write_text(code)
    assert not list(plain_words.problems(module))
