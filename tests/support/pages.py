"""Markdown pages as tests see them: their code blocks, the marker before a block, and the lines of
prose.

A fence names its language:

    yaml     a pipeline: it is parsed and staged
    python   a program: it is executed
    sh       commands for bash: they are executed
    text     output to look at: it is not executed. Behind an sh block of a recipe it is what that
             block prints; `...` stands for any text, a line of it for any lines

A yaml, python or sh block whose first line is a comment with a file name, such as `# train.py`, is
saved under that name beside the blocks that follow. One of them has to use the file.

An HTML comment on the line before a fence changes this:

    <!-- test: skip, REASON -->    it is not executed
    <!-- test: server -->          one command that serves until it is interrupted
    <!-- test: exit 1 -->          the last command ends with this exit code
    <!-- test: data -->            a yaml block that is no pipeline
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
RECIPES = tuple(page for page in sorted((ROOT / "docs/recipes").glob("*.md")) if page.name != "README.md")
LANGUAGES = ("yaml", "python", "sh", "text")
PAGES = (
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")),
    *sorted((ROOT / "docs").glob("*.md")),
)
_FENCE = re.compile(r"^(\s*)```(.*)$")
_MARKER = re.compile(r"<!-- test: (skip, .+|server|exit \d+|data) -->")
_FILE = re.compile(r"^# ([\w-][\w./-]*\.(?:py|sh|yaml))$")


class BadPage(AssertionError):
    """A page that breaks the rules of this module. The text starts with `page:line`."""


@dataclass(frozen=True, slots=True)
class Block:
    page: Path
    line: int
    """Line of the opening fence, counted from 1."""
    language: str
    text: str
    marker: str
    """Words of the marker, such as `exit 1`; "" without a marker."""

    @property
    def place(self) -> str:
        page = self.page.relative_to(ROOT) if self.page.is_relative_to(ROOT) else self.page.name
        return f"{page}:{self.line}"

    @property
    def skipped(self) -> str:
        """Reason why the block is not executed; "" if it is executed."""
        word, _, reason = self.marker.partition(", ")
        return reason if word == "skip" else ""

    @property
    def exit_code(self) -> int:
        word, _, code = self.marker.partition(" ")
        return int(code) if word == "exit" else 0

    @property
    def file(self) -> str:
        """Name under which the block is saved; "" if it is not saved."""
        named = _FILE.match(self.text.partition("\n")[0])
        return named[1] if named and self.language != "text" else ""


def blocks(page: Path) -> list[Block]:
    """The code blocks of a page, in order. Raises BadPage."""
    lines = page.read_text().splitlines()
    found: list[Block] = []
    start, indent, language = 0, "", ""
    for number, line in enumerate(lines, 1):
        fence = _FENCE.match(line)
        if fence is None:
            continue
        if start:
            text = "\n".join(part.removeprefix(indent) for part in lines[start : number - 1]) + "\n"
            found.append(Block(page, start, language, text, _marker(page, lines, start)))
            start = 0
            continue
        start, indent, language = number, fence[1], fence[2].strip()
        if language not in LANGUAGES:
            raise BadPage(f"{page.name}:{number}: a fence names one of {', '.join(LANGUAGES)}, not {language!r}")
    if start:
        raise BadPage(f"{page.name}:{start}: this fence has no end")
    return found


def _marker(page: Path, lines: list[str], fence: int) -> str:
    before = lines[fence - 2].strip() if fence > 1 else ""
    if not before.startswith("<!-- test:"):
        return ""
    marker = _MARKER.fullmatch(before)
    if marker is None:
        raise BadPage(f"{page.name}:{fence - 1}: no such marker: {before}")
    return marker[1]


def prints(shown: str, output: str) -> bool:
    """Return True if the output is the text of a page."""
    lines = [r"(?:.*\n)*?" if line == "..." else re.escape(line).replace(r"\.\.\.", ".*") + "\n" for line in shown.splitlines()]
    return re.fullmatch("".join(lines), output) is not None


def prose(page: Path) -> Iterator[tuple[int, str]]:
    """(number, text) of the lines that are neither in a code block nor in a table. Numbers count
    from 1."""
    inside = False
    for number, line in enumerate(page.read_text().splitlines(), 1):
        if _FENCE.match(line):
            inside = not inside
        elif not inside and not line.lstrip().startswith("|"):
            yield number, line
