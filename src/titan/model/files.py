"""Files that jobs exchange: outputs, inputs, and content that is published under a key.

Content is identified by its SHA-256. A folder is transferred as one tar file. This module owns the
data structures, their limits and the rules for paths and keys.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import msgspec

from titan.errors import InvalidGraph
from titan.model.dag import JobTemplate, Kind

MAX_FILES = 256
"""Maximum number of outputs of one job, and maximum number of its inputs."""
MAX_PATH = 1024
MAX_FOLDER = 4096
SHARED_FOLDER = "shared"
"""In place of a working directory: the folder that the jobs of a run share on a machine."""
SCRIPT_FOLDER = "script"
"""In place of a working directory: the folder that holds the job's file."""
MAX_PART = 255
MAX_OUTPUT_NAME = 256
MAX_KEY = 256
MAX_KEYS = 10_000
"""Maximum keys of a run."""
MAX_SHARED_KEYS = 100_000
MAX_VERSIONS = 8
"""Number of versions of a key that the master keeps; it drops the oldest first."""
FILE, PROGRAM, FOLDER = 0, 1, 2
"""Kinds of outputs: a file, an executable file, a folder."""
INDEX = "${index}"
"""Placeholder in the name of an input's source job. In an array it stands for the array position of
the job that gets the input."""
KEY_RULE = "1 to 256 characters, parts of A-Z a-z 0-9 _ . : @ + = , - with / between them, none of which begins with a dot"

_PART = r"[A-Za-z0-9_:@+=,-][A-Za-z0-9_.:@+=,-]*"
_KEY = re.compile(rf"{_PART}(?:/{_PART})*")
_RUN = re.compile(r"[0-9a-hjkmnp-tv-z]{12}")
_INDEX_OF = re.compile(r"\[([0-9]+)\]$")


class StoredFile(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """File, identified by its content. `name` is the name of an output, or the path of an input."""

    name: str
    hash: str
    """SHA-256 in hex; for a folder, the hash of its tar file."""
    size: int
    """Bytes."""
    kind: int = FILE


class Published(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One version of the content that is published under a key."""

    hash: str
    size: int
    kind: int
    at: float
    by: str = ""
    """RUN/JOB of the job that published the content; "" for a client."""


def is_key(key: str) -> bool:
    return len(key) <= MAX_KEY and _KEY.fullmatch(key) is not None


def is_run(text: str) -> bool:
    """Return whether a text has the form of a run id. Shared keys must not begin with a run id."""
    return _RUN.fullmatch(text) is not None


def path_problem(path: str) -> str:
    """Return the problem with a path in a job's folder; "" if there is none."""
    if not path or "\0" in path:
        return "a path must not be empty or hold a NUL character"
    if len(path.encode(errors="replace")) > MAX_PATH:
        return f"{path[:80]!r}... exceeds {MAX_PATH:,} bytes"
    parts = path.split("/")
    if path.startswith("/") or any(part in ("", ".", "..") for part in parts):
        return f"{path[:200]!r} must be a plain path inside the job's folder: no leading '/', no '.', '..' or '//' in it"
    if any(len(part.encode(errors="replace")) > MAX_PART for part in parts):
        return f"{path[:80]!r} holds a name of more than {MAX_PART} bytes"
    return ""


def name_problem(name: str) -> str:
    """Return the problem with the name of an output; "" if there is none."""
    if not name or len(name) > MAX_OUTPUT_NAME or not name.isprintable():
        return f"an output's name is 1 to {MAX_OUTPUT_NAME} printable characters"
    return ""


def nested_problem(paths: Sequence[str]) -> str:
    """Return the problem if two paths are equal or one lies in another; "" if there is none."""
    known = set(paths)
    if len(known) < len(paths):
        return f"{next(p for i, p in enumerate(paths) if p in paths[:i])!r} appears twice"
    for path in paths:
        at = path.find("/")
        while at >= 0:
            if path[:at] in known:
                return f"{path!r} lies in {path[:at]!r}, which is also listed"
            at = path.find("/", at + 1)
    return ""


def files_problem(t: JobTemplate) -> str:
    """Return the problem with a template's outputs and inputs; "" if there is none.

    `check_inputs` compares the inputs with the outputs of the parents.
    """
    if not t.outputs and not t.inputs:
        return ""
    if t.kind == Kind.GATE or t.function:
        kind = "a gate" if t.kind == Kind.GATE else "a call"
        return f"{'outputs' if t.outputs else 'inputs'}: {kind} has no folder of its own: use a job with file or command"
    if t.kind == Kind.SERVICE and t.outputs:
        return "outputs: a service has no outputs because it does not end: let it publish its files"
    if t.kind == Kind.HANDLER and t.inputs:
        return "inputs: a handler has no inputs because the jobs that it waits for have not succeeded"
    for field, count in (("outputs", len(t.outputs)), ("inputs", len(t.inputs))):
        if count > MAX_FILES:
            return f"{field}: {count} files; the limit is {MAX_FILES}: use a folder"
    names = [name for name, _ in t.outputs]
    if problem := next((p for name in names if (p := name_problem(name))), ""):
        return f"outputs: {problem}"
    if len(set(names)) < len(names):
        return f"outputs: {next(n for i, n in enumerate(names) if n in names[:i])!r} appears twice"
    for field, paths in (("outputs", [p for _, p in t.outputs]), ("inputs", [p for p, _, _ in t.inputs])):
        problem = next((p for path in paths if (p := path_problem(path))), "") or (
            nested_problem(paths) if field == "inputs" else ""
        )
        if problem:
            return f"{field}: {problem}"
    if t.file and any(path == t.file for path, _, _ in t.inputs):
        return f"inputs: {t.file!r} is the script itself"
    return ""


def giver_of(job: str, source: str) -> str:
    """Return the source job of an input of `job`, with `INDEX` replaced by the job's array
    position."""
    if INDEX not in source:
        return source
    found = _INDEX_OF.search(job)
    return source.replace(INDEX, found[1]) if found is not None else source


def check_inputs(job: str, template: JobTemplate, parents: Sequence[int], parent: Callable[[int], tuple[str, JobTemplate]]) -> None:
    """Raise InvalidGraph unless each input is an output of one of the job's parents.

    `parent(position)` returns the id and template of a parent.
    """
    known = dict(parent(p) for p in parents)
    for path, source, name in template.inputs:
        giver = giver_of(job, source)
        found = known.get(giver)
        if found is None:
            raise InvalidGraph(f"job {job!r}: inputs: {path!r} comes from {giver!r}, which the job does not depend on", job)
        if all(name != output for output, _ in found.outputs):
            there = ", ".join(output for output, _ in found.outputs[:10])
            hint = f"its outputs are {there}" if there else "it has no outputs: add it to the outputs of that job"
            raise InvalidGraph(f"job {job!r}: inputs: {path!r}: job {giver!r} has no output {name!r}: {hint}", job)
        if found.on_failure == "continue":
            raise InvalidGraph(f"job {job!r}: inputs: {giver!r} has on_failure: continue, so its outputs may be missing", job)


def folder_problem(path: str) -> str:
    """Return why a path cannot be a working directory on a worker; "" if it can."""
    if path in (SHARED_FOLDER, SCRIPT_FOLDER):
        return ""
    if not path.startswith("/"):
        return f"must be an absolute path, {SHARED_FOLDER} or {SCRIPT_FOLDER}, not {path[:80]!r}"
    if len(path.encode(errors="replace")) > MAX_FOLDER:
        return f"exceeds {MAX_FOLDER:,} bytes"
    return "contains a NUL character" if "\0" in path else ""
