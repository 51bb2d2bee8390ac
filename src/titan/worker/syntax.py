"""Syntax errors of Python scripts, which no retry can mend."""

from __future__ import annotations

MAX_BYTES = 256 * 1024
"""A larger script is not checked, because that would delay the other attempts of the worker."""


def syntax_error(path: str, name: str) -> str:
    """Return why this interpreter cannot compile a script, "" if it can or the script cannot be
    read. `name` is the script's name in the text."""
    try:
        with open(path, "rb") as file:
            source = file.read(MAX_BYTES + 1)
    except OSError:
        return ""
    if len(source) > MAX_BYTES:
        return ""
    try:
        compile(source, name, "exec", dont_inherit=True)
    except SyntaxError as e:
        return f"syntax error in {name}, line {e.lineno}: {e.msg}"
    except (ValueError, RecursionError, MemoryError):  # null bytes, nesting
        return ""
    return ""
