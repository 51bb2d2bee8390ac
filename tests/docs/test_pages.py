"""The rules of code blocks. A page that breaks a rule fails, and so does a block that does not do
what it shows."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.page_reader import a_page_folder
from support.pages import BadPage, Block, blocks, prose
from titan.errors import InvalidPipeline


def page_of(tmp_path: Path, text: str) -> Path:
    page = tmp_path / "page.md"
    page.write_text(text)
    return page


def test_a_block_has_its_line_language_marker_and_file(tmp_path: Path) -> None:
    text = "# Title\n\n<!-- test: exit 3 -->\n```sh\n# go.sh\nexit 3\n```\n\n- in a list:\n\n  ```text\n  # go.sh\n  ```\n"
    page = page_of(tmp_path, text)
    first, second = blocks(page)
    assert first == Block(page, 4, "sh", "# go.sh\nexit 3\n", "exit 3")
    assert (first.file, first.exit_code, first.skipped, first.place) == ("go.sh", 3, "", "page.md:4")
    assert (second.text, second.file) == ("# go.sh\n", "")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("```\nls\n```\n", "page.md:1: a fence names one of yaml, python, sh, text, not ''"),
        ("```bash\nls\n```\n", "page.md:1: a fence names"),
        ("```sh\nls\n", "page.md:1: this fence has no end"),
        ("<!-- test: skip -->\n```sh\nls\n```\n", "page.md:1: no such marker"),
        ("<!-- test: exit one -->\n```sh\nls\n```\n", "page.md:1: no such marker"),
    ],
)
def test_a_page_that_breaks_the_rules(text: str, problem: str, tmp_path: Path) -> None:
    with pytest.raises(BadPage, match=problem.replace(".", r"\.")):
        blocks(page_of(tmp_path, text))


def test_prose_is_neither_code_nor_table(tmp_path: Path) -> None:
    page = page_of(tmp_path, "one\n```sh\ntwo\n```\n| three |\nfour\n")
    assert list(prose(page)) == [(1, "one"), (6, "four")]


PARENTS = "name: p\njobs:\n  - {id: a, command: x, depends_on: [b]}\n"


@pytest.mark.parametrize(
    ("language", "text", "marker", "error"),
    [
        ("sh", "false | true\n", "", AssertionError),
        ("sh", "echo $unset\n", "", AssertionError),
        ("sh", "titan status no-such-run\n", "", AssertionError),
        ("sh", "true\n", "exit 1", AssertionError),
        ("sh", "titan master --no-such-option\n", "server", AssertionError),
        ("python", "import no_such_module\n", "", AssertionError),
        ("python", "# a.py\nwhile\n", "", SyntaxError),
        ("yaml", "name: p\njobs:\n  - {id: a, comand: x}\n", "", InvalidPipeline),
        ("yaml", PARENTS, "", InvalidPipeline),
    ],
)
def test_a_block_that_does_not_work_fails(
    language: str, text: str, marker: str, error: type[Exception], tmp_path: Path, titan_socket: Path
) -> None:
    block = Block(tmp_path / "page.md", 1, language, text, marker)
    with a_page_folder(tmp_path, titan_socket) as reader, pytest.raises(error):
        reader.run(block)


def test_a_file_that_no_block_uses_fails(tmp_path: Path, titan_socket: Path) -> None:
    page = page_of(tmp_path, "```python\n# a.py\nx = 1\n```\n")
    with a_page_folder(tmp_path, titan_socket) as reader:
        reader.run(*blocks(page))
        with pytest.raises(BadPage, match=r"no other block uses a\.py"):
            reader.check_that_files_were_used(page)
