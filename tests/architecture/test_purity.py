"""Pure code uses no clock, randomness, I/O, environment or event loop, neither itself nor through
its imports.

A module claims purity by its package, or by the word "Pure" in its own docstring. It may import the
libraries in PURE_LIBRARIES, and other modules that claim purity. So everything that it reaches by
imports is pure too.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import titan

SOURCE = Path(titan.__file__).parent
PURE_PACKAGES = ("model", "core", "scheduling", "protocol", "gateway", "store", "predict")
CLAIM = re.compile(r"\bPure\b|[:;] pure\b|\b[Ss]ans-IO\b")
SHARED = {"titan.errors", "titan._version", "titan.journal.engine", "titan.worker.state_machine.messages", "titan.sdk.field_table"}
"""Modules with types and constants that pure modules use. They are checked like pure modules,
although they do not claim purity."""
PURE_LIBRARIES = {
    *("__future__", "abc", "collections", "dataclasses", "enum", "functools", "itertools", "types", "typing"),
    *("array", "base64", "binascii", "bisect", "copy", "fractions", "hashlib", "heapq", "hmac", "json", "math"),
    *("numbers", "operator", "re", "statistics", "string", "struct", "textwrap", "unicodedata", "urllib.parse", "zlib"),
    *("hiredis", "msgspec", "sortedcontainers", "zstandard"),
}
SIGNAL_NAMES = "the numbers and names of signals"
EXCEPTIONS = {
    "titan.model.timing": {
        "cronsim": "computes the next time from the one it is given",
        "datetime": "calendar arithmetic; the names that ask for the present are banned below",
        "zoneinfo": "reads the time zone database of the machine, which is part of what a schedule means",
    },
    "titan.store.sorting": {"sys": "maxsize, a constant"},
    "titan.sdk.arrays": {"os": "PathLike, a type"},
    "titan.worker.state_machine.attempt": {"signal": SIGNAL_NAMES},
    "titan.worker.state_machine.services": {"signal": SIGNAL_NAMES},
    "titan.worker.state_machine.suspects": {"signal": SIGNAL_NAMES},
}
BANNED_NAMES = {"open", "input", "print", "exec", "eval", "__import__", "breakpoint", "hash", "globals"}
"""The `hash` of a text differs between processes, so only `__hash__` may call it."""
BANNED_ATTRIBUTES = {
    *("now", "today", "utcnow", "environ", "getenv", "argv", "stdin", "stdout", "stderr"),
    *("signal", "raise_signal", "alarm", "pause", "sigwait"),
}
"""Attributes of the modules in EXCEPTIONS that ask the system."""


def module_name(path: Path) -> str:
    parts = path.relative_to(SOURCE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def claims_purity(path: Path) -> bool:
    if path.relative_to(SOURCE).parts[0] in PURE_PACKAGES or module_name(path) in SHARED:
        return True
    return CLAIM.search(ast.get_docstring(ast.parse(path.read_text())) or "") is not None


PATHS = {module_name(path): path for path in sorted(SOURCE.rglob("*.py")) if claims_purity(path)}


def imports_of(node: ast.AST) -> Iterator[str]:
    """Return the imports of a module, including those in functions, but without those for
    annotations only. `from a import b` gives a.b and a."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING"):
            continue
        if isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            assert child.module and not child.level, "imports are absolute here"
            yield from (f"{child.module}.{alias.name}" for alias in child.names)
        else:
            yield from imports_of(child)


def is_pure(imported: str) -> bool:
    parts = imported.split(".")
    prefixes = {".".join(parts[: count + 1]) for count in range(len(parts))}
    if parts[0] != "titan":
        return bool(prefixes & PURE_LIBRARIES)
    nearest = next(name for name in sorted(prefixes, key=len, reverse=True) if is_module(name))
    return nearest in PATHS


def is_module(name: str) -> bool:
    base = SOURCE.parent.joinpath(*name.split("."))
    return base.with_suffix(".py").exists() or (base / "__init__.py").exists()


def test_these_packages_and_the_modules_that_say_so_claim_purity() -> None:
    """A claim that the pattern does not find would not be checked."""
    assert {name.split(".")[1] for name in PATHS} >= set(PURE_PACKAGES)
    assert PATHS.keys() >= {
        *(
            "titan.worker.state_machine.machine",
            "titan.worker.state_machine.calls",
            "titan.worker.state_machine.waiting_calls",
            "titan.worker.state_machine.services",
            "titan.worker.state_machine.job_values",
        ),
        *(
            "titan.worker.state_machine.attempt",
            "titan.worker.state_machine.outputs",
            "titan.worker.state_machine.suspects",
            "titan.worker.state_machine.pipelining",
        ),
        *("titan.journal.records", "titan.journal.scan"),
    }


@pytest.mark.parametrize("name", PATHS)
def test_a_pure_module_imports_pure_modules_alone(name: str) -> None:
    excepted = EXCEPTIONS.get(name, {})
    impure = [imported for imported in imports_of(ast.parse(PATHS[name].read_text())) if not is_pure(imported)]
    assert {imported.split(".")[0] if not imported.startswith("titan") else imported for imported in impure} == set(excepted)


@pytest.mark.parametrize("name", PATHS)
def test_a_pure_module_asks_the_system_for_nothing(name: str) -> None:
    tree = ast.parse(PATHS[name].read_text())
    hashing = {id(node) for method in ast.walk(tree) if getattr(method, "name", "") == "__hash__" for node in ast.walk(method)}
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and id(node) not in hashing]
    called = {node.func.id for node in calls if isinstance(node.func, ast.Name)}
    assert called & BANNED_NAMES == set()
    if name in EXCEPTIONS:
        asked = {ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        assert [name for name in asked if name.split(".")[-1] in BANNED_ATTRIBUTES] == []
    coroutines = [node.name for node in ast.walk(tree) if isinstance(node, ast.AsyncFunctionDef)]
    assert coroutines == []


@pytest.mark.parametrize("name", PATHS)
def test_a_pure_module_iterates_no_set(name: str) -> None:
    """The order of a set of strings differs between runs. Dicts serve as ordered sets here."""
    for node in ast.walk(ast.parse(PATHS[name].read_text())):
        iterated = node.iter if isinstance(node, ast.For | ast.comprehension) else None
        is_set = isinstance(iterated, ast.Set | ast.SetComp) or (
            isinstance(iterated, ast.Call) and isinstance(iterated.func, ast.Name) and iterated.func.id in ("set", "frozenset")
        )
        assert not is_set, f"{name}:{getattr(node, 'lineno', 0)}"


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import time", ["time"]),
        ("def f():\n    from os import path", ["os.path"]),
        ("from titan.worker.shell import Shell", ["titan.worker.shell.Shell"]),
        ("import importlib.resources", ["importlib.resources"]),
        ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import time", []),
        ("import urllib.request", ["urllib.request"]),
        ("from titan.core.state.state import State\nimport msgspec.msgpack\nfrom urllib.parse import quote", []),
    ],
)
def test_an_impure_import_is_found_wherever_it_stands(source: str, found: list[str]) -> None:
    assert [imported for imported in imports_of(ast.parse(source)) if not is_pure(imported)] == found
