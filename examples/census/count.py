"""Counts lines, functions, classes and branches in one part of the source.

    count.py N        reads parts/N.json, writes count.json

A branch is a place where control can go two ways: if, for, while, an except, a case, a conditional
expression, each further operand of `and` and `or`, each `if` in a comprehension. A function's
branches do not include those of functions inside it.
"""

from __future__ import annotations

import ast
import json
import sys
import warnings
from pathlib import Path

BRANCHES = (ast.If, ast.For, ast.AsyncFor, ast.While, ast.ExceptHandler, ast.match_case, ast.IfExp)
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


class Census:
    """Counts of one file. `functions` are [name, first line, lines, branches]."""

    def __init__(self) -> None:
        self.classes = 0
        self.branches = 0
        self.functions: list[list[str | int]] = []
        self._names: list[str] = []
        self._counts = [0]  # branches of the module, then of each enclosing function

    def count(self, tree: ast.AST) -> None:
        for node in ast.iter_child_nodes(tree):
            if isinstance(node, FUNCTIONS):
                self._names.append(node.name)
                self._counts.append(0)
                self.count(node)
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                self.functions.append([".".join(self._names), node.lineno, lines, self._counts.pop()])
                self._names.pop()
            elif isinstance(node, ast.ClassDef):
                self.classes += 1
                self._names.append(node.name)
                self.count(node)
                self._names.pop()
            else:
                found = 0
                if isinstance(node, BRANCHES):
                    found = 1
                elif isinstance(node, ast.BoolOp):
                    found = len(node.values) - 1
                elif isinstance(node, ast.comprehension):
                    found = len(node.ifs)
                self.branches += found
                self._counts[-1] += found
                self.count(node)


def count_file(path: Path) -> tuple[int, Census]:
    """Return the lines and counts of a file. Raises SyntaxError, ValueError or RecursionError if it
    is not Python."""
    raw = path.read_bytes()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # warnings about invalid escapes do not concern the counts
        tree = ast.parse(raw, filename=str(path))
    census = Census()
    census.count(tree)
    return raw.count(b"\n") + (not raw.endswith(b"\n") and raw != b""), census


def count_module(source: Path, name: str, files: list[str]) -> dict[str, object]:
    lines = classes = branches = 0
    functions: list[list[str | int]] = []
    unread: list[list[str]] = []
    for file in files:
        try:
            found, census = count_file(source / file)
        except (SyntaxError, ValueError, RecursionError, OSError) as error:
            unread.append([file, f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"])
            continue
        lines += found
        classes += census.classes
        branches += census.branches
        functions += [[file, *function] for function in census.functions]
    return {
        "name": name,
        "files": len(files),
        "lines": lines,
        "classes": classes,
        "branches": branches,
        "functions": functions,
        "unread": unread,
    }


def main() -> None:
    number = sys.argv[1]
    part = json.loads(Path("parts", f"{number}.json").read_text())
    source = Path(part["source"])
    if not source.is_dir():
        sys.exit(f"{source} is not on this machine: set CENSUS_SOURCE to a folder that all workers have")
    modules = [count_module(source, m["name"], m["files"]) for m in part["modules"]]
    Path("count.json").write_text(json.dumps({"source": part["source"], "parts": part["parts"], "modules": modules}))
    print(f"part {number}: {len(modules)} modules, {sum(int(str(m['lines'])) for m in modules):,} lines")


if __name__ == "__main__":
    main()
