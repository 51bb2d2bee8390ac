"""Patterns: outputs that stand for all files whose paths match.

In a pattern `*` stands for any characters in one name, `?` for one character, and the name `**` for
any folders. Names that begin with a dot match only a part of a pattern that begins with a dot. `[`
stands for itself, because names of array jobs contain it.

A file that matched is named OUTPUT/REST. REST is its path below the *root* of the pattern, which is
the folder before the first placeholder. If the name of an output equals its pattern, each file is
named by its whole path instead.
"""

from __future__ import annotations

DEEP = "**"


def is_pattern(path: str) -> bool:
    return "*" in path or "?" in path


def pattern_problem(path: str) -> str:
    """Return the problem with a pattern; "" if there is none."""
    parts = path.split("/")
    if any(DEEP in part and part != DEEP for part in parts):
        return f"{path[:200]!r}: ** must be a whole part of a path, as in **/*.csv"
    if parts[-1] == DEEP:
        return f"{path[:200]!r} matches folders only: write {path[:200]}/*"
    if parts.count(DEEP) > 1:
        return f"{path[:200]!r} has ** twice: one is enough"
    return ""


def root_of(pattern: str) -> str:
    """Return the folder before the first placeholder; "" for the job's folder.

    >>> root_of("out/parts/*.csv"), root_of("*.csv")
    ('out/parts', '')
    """
    parts = pattern.split("/")
    fixed = next(i for i, part in enumerate(parts) if is_pattern(part))
    return "/".join(parts[:fixed])


def name_of_match(output: str, pattern: str, path: str) -> str:
    """Return the name of a file that matched.

    >>> name_of_match("parts", "out/*.csv", "out/a.csv")
    'parts/a.csv'
    >>> name_of_match("out/*.csv", "out/*.csv", "out/a.csv")
    'out/a.csv'
    """
    if output == pattern:
        return path
    root = root_of(pattern)
    return f"{output}/{path[len(root) + 1 :] if root else path}"


def path_of_match(output: str, pattern: str, name: str) -> str:
    """Return the path of a file that matched, from its name."""
    if output == pattern:
        return name
    root, rest = root_of(pattern), name[len(output) + 1 :]
    return f"{root}/{rest}" if root else rest


def rest_of_match(output: str, pattern: str, name: str) -> str:
    """Return the path of a file that matched, below the root of the pattern."""
    root = root_of(pattern) if output == pattern else output
    return name[len(root) + 1 :] if root else name


def matches(pattern: str, path: str) -> bool:
    """Return True if a path matches a pattern.

    >>> matches("parts/*.csv", "parts/a.csv"), matches("**/*.csv", "a.csv"), matches("*", ".hidden")
    (True, True, False)
    """
    parts, names = pattern.split("/"), path.split("/")
    if DEEP not in parts:
        return len(parts) == len(names) and all(map(matches_part, parts, names))
    at = parts.index(DEEP)
    behind = len(parts) - at - 1
    middle = names[at : len(names) - behind]
    if len(names) < at + behind or any(name.startswith(".") for name in middle):
        return False
    return all(map(matches_part, parts[:at], names)) and all(map(matches_part, parts[at + 1 :], names[len(names) - behind :]))


def matches_part(part: str, name: str) -> bool:
    """Return True if a name matches one part of a pattern. Takes at most len(part) * len(name)
    steps."""
    if name.startswith(".") and not part.startswith("."):
        return False
    i = j = restart = 0
    star = -1
    while j < len(name):
        if i < len(part) and part[i] == "*":
            star, restart, i = i, j, i + 1
        elif i < len(part) and part[i] in ("?", name[j]):
            i, j = i + 1, j + 1
        elif star >= 0:
            restart += 1
            i, j = star + 1, restart
        else:
            return False
    return not part[i:].strip("*")
