"""Names and texts of the code keep the rules of `plain_words`."""

from __future__ import annotations

from pathlib import Path

import pytest

from architecture import plain_words, sentences

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


def test_sentences_of_docstrings_comments_and_messages_are_counted() -> None:
    module = '''"""One sentence stands here. Another one follows."""

# This comment has one sentence
# on two lines.
LIMIT = 1  # ruff: noqa
raise ValueError(f"{LIMIT} is more than the limit allows")
NAME = "a short label"
'''
    assert list(sentences.of_python(module)) == [
        (1, "One sentence stands here."),
        (1, "Another one follows."),
        (6, "X is more than the limit allows"),
        (3, "This comment has one sentence on two lines."),
    ]


def test_sentences_of_a_page_are_counted_without_its_code() -> None:
    page = "# The first heading\n\nIt is one\nsentence. This is two.\n\n```sh\nnot counted at all\n```\n\n| a cell of words | - |\n"
    assert list(sentences.of_markdown(page)) == [
        (1, "The first heading"),
        (3, "It is one sentence."),
        (3, "This is two."),
        (10, "a cell of words"),
    ]
