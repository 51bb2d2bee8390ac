"""Files chosen at random for a reader, and the number of their sentences.

`python tests/architecture/sentences.py SEED` prints ten files, each with its number of sentences.
`--show FILE ...` prints the sentences of these files instead.

A reader marks each sentence that had to be read twice. benchmarks/results/ keeps the shares.
"""

from __future__ import annotations

import argparse
import ast
import io
import random
import re
import subprocess
import tokenize
from collections.abc import Iterator
from pathlib import Path

FILES = 10
FEWEST_SENTENCES = 5
"""A file with fewer sentences is not chosen."""
FEWEST_WORDS = 3
"""A shorter comment or table cell is a label, not a sentence."""
FEWEST_WORDS_IN_TEXT = 5
"""A shorter string of the code is a name or a value, not a message."""
_END = re.compile(r"(?<=[.!?])[\"')`*]*\s+(?=[\"'(`*]*[A-Z0-9`])|\n\s*\n")
_WORD = re.compile(r"[A-Za-z][A-Za-z'-]+")
_DIRECTIVE = re.compile(r"noqa|type:|pragma:|fmt:|ruff:|!")


def split(text: str, fewest: int = FEWEST_WORDS) -> list[str]:
    """Return the sentences of a text. An empty line ends a sentence too."""
    parts = (" ".join(part.split()) for part in _END.split(text))
    return [part for part in parts if len(_WORD.findall(part)) >= fewest]


def of_python(text: str) -> Iterator[tuple[int, str]]:
    """Yield (line, sentence) of the docstrings, comments and messages of a module."""
    docstrings = set()
    tree = ast.parse(text)
    parts = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            docstrings.add(id(node.value))
            yield from ((node.lineno, sentence) for sentence in split(node.value.value))
    for node in ast.walk(tree):
        message = ""
        if not isinstance(node, ast.expr):
            continue
        if isinstance(node, ast.JoinedStr):
            message = "".join(v.value if isinstance(v, ast.Constant) and isinstance(v.value, str) else "X" for v in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in parts | docstrings:
            message = node.value
        # Strings of several lines are scripts and pages, and strings with a backslash are patterns.
        if message and not {"\n", "\\"} & set(message.strip()):
            yield from ((node.lineno, sentence) for sentence in split(message, FEWEST_WORDS_IN_TEXT))
    yield from of_comments(text)


def of_comments(text: str) -> Iterator[tuple[int, str]]:
    """Comments on adjacent lines of one column are one text."""
    block: list[str] = []
    start = column = last = -1
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type != tokenize.COMMENT or _DIRECTIVE.match(token.string.lstrip("# ")):
            continue
        if (token.start[0], token.start[1]) != (last + 1, column):
            yield from ((start, sentence) for sentence in split("\n".join(block)))
            block, start, column = [], *token.start
        block.append(token.string.lstrip("# "))
        last = token.start[0]
    yield from ((start, sentence) for sentence in split("\n".join(block)))


def of_markdown(text: str) -> Iterator[tuple[int, str]]:
    """Yield (line, sentence) of paragraphs, list items, headings and table cells."""
    block: list[str] = []
    start = 1
    fenced = False
    for number, line in enumerate([*text.splitlines(), ""], 1):
        fence = line.lstrip().startswith(("```", "~~~"))
        new = not line.strip() or fence or fenced or bool(re.match(r"\s*([-*+|#<]|\d+\.)", line))
        if new:
            yield from ((start, sentence) for sentence in split("\n".join(block)))
            block = []
        fenced ^= fence
        if fence or fenced:
            continue
        if line.lstrip().startswith("|"):
            yield from ((number, sentence) for cell in line.split("|") for sentence in split(cell))
        elif line.strip() and not line.lstrip().startswith("<!--"):
            start = start if block else number
            block.append(line.strip().lstrip("-*+# "))


def of_file(path: Path) -> list[tuple[int, str]]:
    read = of_python if path.suffix == ".py" else of_markdown
    return sorted(read(path.read_text()))


def choose(seed: int) -> list[tuple[str, int]]:
    """Return ten of the tracked Python and Markdown files, each with its number of sentences."""
    tracked = subprocess.run(["git", "ls-files", "*.py", "*.md"], capture_output=True, text=True, check=True).stdout.split()
    counted = [(name, len(of_file(Path(name)))) for name in sorted(tracked)]
    return random.Random(seed).sample([each for each in counted if each[1] >= FEWEST_SENTENCES], FILES)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("seed", type=int, nargs="?", default=0)
    parser.add_argument("--show", nargs="+", type=Path, default=[], metavar="FILE")
    asked = parser.parse_args()
    for path in asked.show:
        print(*(f"{path}:{line}: {sentence}" for line, sentence in of_file(path)), sep="\n")
    if not asked.show:
        chosen = choose(asked.seed)
        print(*(f"{number:5} {name}" for name, number in chosen), f"{sum(n for _, n in chosen):5} sentences", sep="\n")
