"""Files that a job has left for its outputs: the search for those that match a pattern.

The search reads the job's folder and follows no link in a folder's place, so it cannot lead out of
the folder. `cache` moves the files.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import NamedTuple

from titan.errors import LimitExceeded, TitanError
from titan.model.dag import JobTemplate
from titan.model.files import MAX_MATCHES, name_problem, path_problem
from titan.model.patterns import DEEP, is_pattern, matches_part, name_of_match, root_of
from titan.worker.files.open_beneath import LEADS_OUT, is_below, open_beneath

MAX_ENTRIES = 1_000_000
"""Maximum number of files and folders that the search for one pattern looks at."""
MAX_DEPTH = 64


class OutputMissing(TitanError):
    """An output or published file does not exist, or is not a file or folder that the job may
    name."""

    code = "output_missing"


class LeftFile(NamedTuple):
    """A file or folder that is an output, or part of one."""

    name: str
    path: str
    """Path in the job's folder."""
    of: str = ""
    """Name of the output whose pattern the file matched."""
    shared: bool = False
    """True if another output is the same file, or lies in this folder or around this file."""


def files_of_outputs(template: JobTemplate, folder: str) -> list[LeftFile]:
    """Return the files to take, in the order of the outputs. The matches of a pattern are sorted by
    path. An optional output that is absent is left out.

    Raises OutputMissing, LimitExceeded, OSError.
    """
    found: list[LeftFile] = []
    count = 0
    for name, path in template.outputs:
        optional = name in template.optional_outputs
        if not is_pattern(path):
            if not optional or os.path.lexists(os.path.join(folder, path)):
                found.append(LeftFile(name, path))
            continue
        matched = sorted(_search(name, path, folder))
        if not matched and not optional:
            raise OutputMissing(f"output {name!r} ({path}): no file matches: write one, or make the output optional")
        count += len(matched)
        found += [LeftFile(_name(name, path, match), match, name) for match in matched]
    if count > MAX_MATCHES:
        raise LimitExceeded(f"{count:,} files match; the limit for the outputs of a job is {MAX_MATCHES:,}: use a folder")
    return _with_shared(found) if len(found) > 1 else found


def open_inside(folder: str, path: str) -> int:
    """Open a path beneath a folder. Absolute links are followed too, if they lead to a path in the
    folder. Raises OSError."""
    try:
        return open_beneath(folder, path)
    except OSError as e:
        root, real = os.path.realpath(folder), os.path.realpath(os.path.join(folder, path))
        if e.errno not in LEADS_OUT or not is_below(real, root):
            raise
        return open_beneath(root, os.path.relpath(real, root))


def _name(output: str, pattern: str, path: str) -> str:
    name = name_of_match(output, pattern, path)
    if problem := name_problem(name) or path_problem(name):
        raise OutputMissing(f"output {output!r} ({pattern}) matches {ascii(path)[:200]}: {problem}")
    return name


def _search(name: str, pattern: str, folder: str) -> Iterator[str]:
    root = root_of(pattern)
    parts = pattern.split("/")[len(root.split("/")) if root else 0 :]
    budget = [MAX_ENTRIES]
    yield from _below(folder, root, parts, budget, 0)
    if budget[0] < 0:
        raise LimitExceeded(f"output {name!r} ({pattern}): over {MAX_ENTRIES:,} files to look at: use a folder")


def _below(folder: str, at: str, parts: list[str], budget: list[int], depth: int) -> Iterator[str]:
    part, rest = parts[0], parts[1:]
    if part == DEEP:
        yield from _below(folder, at, rest, budget, depth)
    for name, is_folder in _entries(folder, at, budget):
        path = f"{at}/{name}" if at else name
        if part == DEEP:
            if is_folder and not name.startswith(".") and depth < MAX_DEPTH:
                yield from _below(folder, path, parts, budget, depth + 1)
        elif matches_part(part, name):
            if not rest:
                yield path
            elif is_folder:
                yield from _below(folder, path, rest, budget, depth)


def _entries(folder: str, at: str, budget: list[int]) -> list[tuple[str, bool]]:
    """Return (name, is a folder) of the entries of a folder; [] if it is none."""
    try:
        place = open_inside(folder, at or ".")
    except OSError:
        return []
    try:
        with os.scandir(f"/proc/self/fd/{place}") as entries:
            found = []
            for entry in entries:
                budget[0] -= 1
                if budget[0] < 0:
                    break
                found.append((entry.name, entry.is_dir(follow_symlinks=False)))
            return found
    except NotADirectoryError:
        return []
    finally:
        os.close(place)


def _with_shared(found: list[LeftFile]) -> list[LeftFile]:
    """Mark the files that another output needs too, so that they are copied rather than moved."""
    paths: dict[str, int] = {}
    for file in found:
        paths[file.path] = paths.get(file.path, 0) + 1
    return [file._replace(shared=paths[file.path] > 1 or _lies_in(file.path, paths)) for file in found]


def _lies_in(path: str, folders: dict[str, int]) -> bool:
    at = path.find("/")
    while at >= 0:
        if path[:at] in folders:
            return True
        at = path.find("/", at + 1)
    return False
