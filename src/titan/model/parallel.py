"""Limits of the jobs of one array that are on workers at a time: `max_parallel`."""

from __future__ import annotations

from titan.model.dag import MAX_JOBS, JobTemplate, Kind
from titan.model.names import NAME_RULE, match_name


def parallel_problem(t: JobTemplate) -> str:
    """Return why a template cannot have its limit; "" if it can."""
    if t.parallel is None:
        return ""
    if not 1 <= t.parallel.most <= MAX_JOBS:
        return f"max_parallel: must be 1 to {MAX_JOBS:,}"
    if match_name(t.parallel.array) is None:
        return f"max_parallel: the array's name {t.parallel.array[:80]!r} is malformed: a name is {NAME_RULE}"
    if t.kind == Kind.SERVICE:
        return "max_parallel: a service does not end, so others would wait for ever: leave it out"
    if t.affinity:
        return "max_parallel: a job with affinity waits for one worker and would hold back others: leave one of the two out"
    return ""
