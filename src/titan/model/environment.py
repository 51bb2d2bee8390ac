"""Reserved variables of a job's environment: TITAN_*. A job's `env` may set all others.

The SDK and the master both reject a job that sets a reserved variable. As a second line of defence
the worker drops reserved variables that it receives nevertheless, for example from an older
journal.
"""

from __future__ import annotations

from collections.abc import Iterable

from titan.model.dag import JobTemplate

OWN_PREFIX = "TITAN_"
_ADDED = frozenset({"TITAN_SCHEDULE", "TITAN_SCHEDULED_AT", "TITAN_FAILED_JOB", "TITAN_PORT"})
"""Variables that the master or the worker adds to templates."""
_SERVICE = "TITAN_SERVICE_"
RESULT = "TITAN_RESULT_"
"""Prefix of the variables that hold results for a command. A number follows."""


def own_problem(names: Iterable[str]) -> str:
    """Return the problem with variable names that a job sets; "" if there is none."""
    own = next((name for name in names if name.startswith(OWN_PREFIX)), "")
    return f"{own[:80]} is reserved, as are all names that begin with {OWN_PREFIX}: choose another name" if own else ""


def environment_of(template: JobTemplate) -> dict[str, str]:
    """Return the variables that a template sets, except reserved ones that Titan did not add."""
    return {
        name: value
        for name, value in template.env
        if not name.startswith(OWN_PREFIX) or name in _ADDED or name.startswith((_SERVICE, RESULT))
    }
