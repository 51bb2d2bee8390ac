"""The variables of a job's environment that are Titan's own: TITAN_*. A job's `env` may set all
others.

Both the SDK and the master ask here; the worker, the second line, drops what came all the same, as
from an older journal.
"""

from __future__ import annotations

from collections.abc import Iterable

from titan.model.dag import JobTemplate

OWN_PREFIX = "TITAN_"
_ADDED = frozenset({"TITAN_SCHEDULE", "TITAN_SCHEDULED_AT", "TITAN_FAILED_JOB", "TITAN_PORT"})
"""Put into templates by the master or the worker itself."""
_SERVICE = "TITAN_SERVICE_"


def own_problem(names: Iterable[str]) -> str:
    """What is wrong with variables that a job sets, for after a colon; "" if nothing is."""
    own = next((name for name in names if name.startswith(OWN_PREFIX)), "")
    return f"{own[:80]} is set by Titan itself, as is all that begins with {OWN_PREFIX}: choose another name" if own else ""


def environment_of(template: JobTemplate) -> dict[str, str]:
    """Name to value, without what only Titan may set."""
    return {
        name: value
        for name, value in template.env
        if not name.startswith(OWN_PREFIX) or name in _ADDED or name.startswith(_SERVICE)
    }
