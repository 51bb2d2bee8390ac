"""Tests are short and named by the behaviour that they show, because newcomers read them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).parents[1]
MOST_LINES = 60
LEAST_WORDS = 3
"""Minimum number of words in the name of a test after `test_`: a subject and what it does."""
LONG: dict[str, str] = {}
"""FILE::TEST -> the reason why it is longer than MOST_LINES."""


def functions_of(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
            yield node


def lines_of(test: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Return the lines of a test, including its decorators, which have the cases."""
    first = min([test.lineno, *[decorator.lineno for decorator in test.decorator_list]])
    assert test.end_lineno is not None
    return test.end_lineno - first + 1


ALL = {
    f"{path.relative_to(TESTS)}::{test.name}": test
    for path in sorted(TESTS.rglob("test_*.py"))
    if ".venv" not in path.parts
    for test in functions_of(path)
}


def test_no_test_is_longer_than_60_lines_without_a_reason() -> None:
    assert len(ALL) > 2000
    long = {name: lines_of(test) for name, test in ALL.items() if lines_of(test) > MOST_LINES}
    assert long.keys() == LONG.keys(), long


def test_every_test_is_named_by_what_it_shows() -> None:
    short = [name for name, test in ALL.items() if len(test.name.split("_")) - 1 < LEAST_WORDS]
    assert short == []


def test_helpers_that_tests_share_are_in_one_package() -> None:
    """All are in `tests/support/`, whose module names tell the subject."""
    loose = [path.name for path in TESTS.glob("*.py")]
    assert loose == ["coverage_report.py"]
