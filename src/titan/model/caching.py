"""Reuse of results: which jobs may have a cache, and the key under which a result is found again.

Two jobs with the same key do the same: their code, arguments, environment and inputs are equal. A
job's id, its run, its worker and the fields that decide when and where it runs do not count. A
field that is added to `JobTemplate` counts, unless `_NOT_COUNTED` names it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import msgspec

from titan.model.dag import MAX_SECONDS, Cache, JobTemplate, Kind, waits_for_end
from titan.model.files import SCRIPT_FOLDER, StoredFile

MAX_VERSION = 256
MAX_IGNORED = 64
MAX_VARIABLE = 1024

_WHEN_AND_WHERE = (
    *("requirement", "priority", "delay_s", "affinity", "retries", "timeout_s", "needs", "retry", "limits", "run_at"),
    *("on_failure", "session", "log_limit", "when", "condition", "parallel"),
)
_COUNTED_APART = ("env", "secrets", "inputs", "optional_inputs", "cache")
_NOT_COUNTED = frozenset((*_WHEN_AND_WHERE, *_COUNTED_APART))
_DEFAULTS = JobTemplate()
_COUNTED = [(name, getattr(_DEFAULTS, name)) for name in JobTemplate.__struct_fields__ if name not in _NOT_COUNTED]

_KINDS = {
    Kind.SERVICE: "a service does not end, so it has no result",
    Kind.GATE: "a gate is decided by people each time",
    Kind.HANDLER: "a failure handler runs because of a failure, which is new each time",
}


class KeyFacts(msgspec.Struct, frozen=True, array_like=True):
    """Facts that count for the key of a job, apart from its template."""

    name: str
    args: tuple[str, ...] = ()
    payload: bytes = b""
    files: Sequence[StoredFile] = ()
    """Input files; `name` is the path in the job's folder."""
    values: Sequence[tuple[str, bytes]] = ()
    """Result of each parent, with the parent's id."""
    secrets: Sequence[tuple[str, int, float]] = ()
    """Name of each secret, its version and the time at which it was set."""


def cache_key(template: JobTemplate, facts: KeyFacts) -> str:
    """Return the key of a job with caching: a SHA-256 in hex.

    >>> part = JobTemplate(command="sort $1", cache=Cache())
    >>> key = cache_key(part, KeyFacts("a", ("x.csv",)))
    >>> key == cache_key(part, KeyFacts("b", ("x.csv",)))
    True
    >>> key == cache_key(part, KeyFacts("a", ("y.csv",)))
    False
    """
    cache = template.cache or Cache()
    program: list[Any] = [(name, value) for name, default in _COUNTED if (value := getattr(template, name)) != default]
    env = sorted(pair for pair in template.env if pair[0] not in cache.ignore)
    files = sorted((file.name, file.hash, file.kind) for file in facts.files)
    # A call gets the values by their positions; other jobs read a result by the id of its job.
    values = [value for _, value in facts.values] if template.function else [pair for pair in facts.values if pair[1]]
    position = facts.name[facts.name.rfind("[") :] if cache.by_position and facts.name.endswith("]") else ""
    work = (program, env, cache.version, position, facts.args, facts.payload, files, values, facts.secrets)
    return hashlib.sha256(msgspec.msgpack.encode(work)).hexdigest()


def cache_problem(t: JobTemplate) -> str:
    """Return why a template cannot have its cache; "" if it can."""
    if t.cache is None:
        return ""
    if problem := _kind_problem(t) or _options_problem(t.cache):
        return f"cache: {problem}"
    return ""


def _kind_problem(t: JobTemplate) -> str:
    if t.kind in _KINDS:
        return f"{_KINDS[Kind(t.kind)]}: leave cache out"
    if waits_for_end(t):
        return "a job that also runs after failures gets the id of the job that failed: leave cache out"
    if t.cwd not in ("", SCRIPT_FOLDER):
        return (
            "the files in the job's cwd may change without Titan's knowledge: "
            "leave cwd out and name the files as inputs, or leave cache out"
        )
    return ""


def _options_problem(cache: Cache) -> str:
    if problem := version_problem(cache.version):
        return f"version {problem}"
    if not 0 <= cache.max_age_s <= MAX_SECONDS:  # also false for NaN
        return f"for must be 0 to {MAX_SECONDS:,.0f} seconds"
    return f"ignore {problem}" if (problem := ignore_problem(cache.ignore)) else ""


def version_problem(text: str) -> str:
    """Return the problem with a version, to be put after its name; "" if there is none."""
    well_formed = len(text) <= MAX_VERSION and text.isprintable()
    return "" if well_formed else f"must be at most {MAX_VERSION} printable characters"


def ignore_problem(names: Sequence[str]) -> str:
    """Return the problem with the variables to ignore, to be put after a name; "" if there is
    none."""
    if len(names) > MAX_IGNORED:
        return f"has {len(names)} variables; the limit is {MAX_IGNORED}"
    wrong = next((name for name in names if not name or "=" in name or "\0" in name or len(name) > MAX_VARIABLE), None)
    return "" if wrong is None else f"has {wrong[:80]!r}, which is no name of a variable"
