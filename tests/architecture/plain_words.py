"""Rules for the names and texts of the code. `python tests/architecture/plain_words.py FILE ...`
lists the violations.

The rules are those of CONTRIBUTING.md: the standard term, subject first, one name for one thing.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

HEADLESS = re.compile(r"(What|Who|Whom|Whose|Whether|Of|Which|How|Where|Why|When)\b(?! to\b)")
"""Openings that leave a noun out: "What a job left" is "The output of a job"."""
NOT_NAMES = frozenset({"it", "one", "given", "told", "said", "seen", "heard"})
"""Words that do not name anything."""
RETIRED = frozenset(
    ("almanac", "blame", "chronicle", "confine", "desk", "desks", "door", "gatekeeper", "handed_in")
    + ("intake", "lending", "outlet", "stock", "talk", "talking", "telling")
)
"""Names that were replaced by standard terms: handler, oracle, limits, resources, event_format,
..."""
ERRORS = re.compile(r"(Error|Exception|Bug|Conflict|Exceeded|Fault|Unreachable|NotFound|Refused|Corrupt)$")


def openings(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield (line, text) of the docstrings of public names and constants, and of help and error
    texts."""
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            for i, statement in enumerate(body):
                if not (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)):
                    continue
                if isinstance(statement.value.value, str) and not (i == 0 and getattr(node, "name", "").startswith("_")):
                    yield statement.lineno, statement.value.value
        if isinstance(node, ast.Call):
            name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
            texts = [k.value for k in node.keywords if k.arg == "help"]
            texts += node.args[:1] if ERRORS.search(name) else []
            for text in (t.values[0] if isinstance(t, ast.JoinedStr) else t for t in texts):
                if isinstance(text, ast.Constant) and isinstance(text.value, str):
                    yield text.lineno, text.value


def bound_names(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield (line, name) of parameters, variables, functions and classes. Fields are left out,
    because the wire and the journal use their names."""
    fields = {
        statement.target
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
        for statement in node.body
        if isinstance(statement, ast.AnnAssign)
    }
    for node in ast.walk(tree):
        if node in fields:
            continue
        if isinstance(node, ast.arg):
            yield node.lineno, node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.id
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.lineno, node.name


def problems(path: Path) -> Iterator[str]:
    tree = ast.parse(path.read_text())
    for line, text in openings(tree):
        if HEADLESS.match(text):
            yield f"{path}:{line}: opens without a noun: {text.splitlines()[0][:70]!r}"
    for line, name in bound_names(tree):
        if name in NOT_NAMES or name.strip("_").lower() in RETIRED:
            yield f"{path}:{line}: {name} is no name"


if __name__ == "__main__":
    found = [problem for name in sys.argv[1:] for problem in problems(Path(name))]
    print(*found, f"{len(found)} problems", sep="\n")
