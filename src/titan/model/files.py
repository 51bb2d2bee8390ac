"""Files that jobs exchange: outputs, inputs, and content that is published under a key.

Content is identified by its SHA-256. A folder is transferred as one tar file. This module owns the
data structures, their limits and the rules for paths and keys.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec

from titan.model.dag import JobTemplate, Kind
from titan.model.patterns import is_pattern, pattern_problem, root_of

MAX_FILES = 256
"""Maximum number of outputs that one job declares, and maximum number of its inputs."""
MAX_MATCHES = 1_000
"""Maximum number of files that match the patterns among the outputs of one job."""
MAX_INPUT_FILES = 10_000
"""Maximum number of files that one job receives."""
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
KEY_RULE = "1 to 256 characters, parts of A-Z a-z 0-9 _ . : @ + = , - with / between them, none of which begins with a dot"

_PART = r"[A-Za-z0-9_:@+=,-][A-Za-z0-9_.:@+=,-]*"
_KEY = re.compile(rf"{_PART}(?:/{_PART})*")
_RUN = re.compile(r"[0-9a-hjkmnp-tv-z]{12}")


class StoredFile(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """File, identified by its content. `name` is the name of an output, or the path of an input."""

    name: str
    hash: str
    """SHA-256 in hex; for a folder, the hash of its tar file."""
    size: int
    """Bytes."""
    kind: int = FILE
    of: str = ""
    """Name of the output whose pattern the file matched; "" for other outputs, and for inputs."""


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

    `check_inputs` of `job_inputs` compares the inputs with the outputs of the parents.
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
    for _, path in t.outputs:
        if problem := path_problem(path) or (pattern_problem(path) if is_pattern(path) else ""):
            return f"outputs: {problem}"
    # The job's own folder, "", may receive files of several inputs: `core.handlers.files` finds
    # files with the same path.
    if problem := next((p for path, _, _ in t.inputs if path and (p := path_problem(path))), ""):
        return f"inputs: {problem}"
    if t.file and any(path == t.file for path, _, _ in t.inputs):
        return f"inputs: {t.file!r} is the script itself"
    return _optional_problem(t)


def _optional_problem(t: JobTemplate) -> str:
    known = {name for name, _ in t.outputs}
    if unknown := [name for name in t.optional_outputs if name not in known]:
        return f"outputs: {unknown[0][:80]!r} is optional, but it is not an output"
    if any(not 0 <= position < len(t.inputs) for position in t.optional_inputs):
        return "inputs: an optional input does not exist"
    return ""


def has_left_all(t: JobTemplate, outputs: Sequence[StoredFile]) -> bool:
    """Return True if these files are the outputs that a job with this template must leave."""
    patterns = {name: path for name, path in t.outputs if is_pattern(path)}
    for file in outputs:
        if not file.of:
            continue
        pattern = patterns.get(file.of)
        root = "" if pattern is None else root_of(pattern) if pattern == file.of else file.of
        if pattern is None or path_problem(file.name) or not file.name.startswith(f"{root}/" if root else ""):
            return False
    left = {file.of or file.name for file in outputs}
    plain = [file.name for file in outputs if not file.of]
    declared = {name for name, _ in t.outputs}
    if len(set(plain)) < len(plain) or not left <= declared or not patterns.keys().isdisjoint(plain):
        return False
    return declared - left <= set(t.optional_outputs)


def folder_problem(path: str) -> str:
    """Return why a path cannot be a working directory on a worker; "" if it can."""
    if path in (SHARED_FOLDER, SCRIPT_FOLDER):
        return ""
    if not path.startswith("/"):
        return f"must be an absolute path, {SHARED_FOLDER} or {SCRIPT_FOLDER}, not {path[:80]!r}"
    if len(path.encode(errors="replace")) > MAX_FOLDER:
        return f"exceeds {MAX_FOLDER:,} bytes"
    return "contains a NUL character" if "\0" in path else ""
