"""The fields of a job that say how it fails, and those of a gate: what each may be, and what is
kept of it.

`Job` holds the values that are made here; what a template may say is `titan.model.failure`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from typing import Final

from titan.model import failure
from titan.model.dag import MAX_SECONDS, Gate, Retry
from titan.model.names import NAME_RULE, match_name
from titan.sdk.field_table import BadField

MAX_WAIT_S: Final = Gate().max_wait_s
"""48 h: after that an undecided gate is rejected if it says nothing else."""
GATE_SUFFIX: Final = ".gate"


def on_failure_of(value: object) -> str:
    """ "cancel" or "continue". Raises BadField.

    >>> on_failure_of("continue"), on_failure_of({"run": "alarm"})
    ('continue', 'cancel')
    """
    if not isinstance(value, str):
        handler_of(value)
        return "cancel"
    if value not in failure.ON_FAILURE:
        raise BadField(f"must be cancel, continue or {{run: JOB}}, not {value[:80]!r}")
    return value


def handler_of(value: object) -> str:
    """The job that runs then, "" for none. Raises BadField.

    >>> handler_of("continue"), handler_of({"run": "alarm"})
    ('', 'alarm')
    """
    if isinstance(value, str):
        return ""
    if not isinstance(value, Mapping):
        raise BadField(f"must be cancel, continue or {{run: JOB}}, not {_said(value)}")
    if set(value) != {"run"}:
        raise BadField("a handler is named as {run: JOB}, and nothing else is in there")
    name = value["run"]
    name = getattr(name, "id", name)
    if not isinstance(name, str) or not match_name(name):
        raise BadField(f"run: {_said(name)} is no job id: an id is {NAME_RULE}")
    return name


def codes_of(value: object) -> tuple[int, ...]:
    """Exit codes, in order, each once. Raises BadField."""
    if isinstance(value, (str, bytes, Mapping)) or not isinstance(value, Iterable):
        raise BadField(f"must be a list of exit codes, not {_said(value)}")
    codes = list(value)
    for code in codes:
        if not isinstance(code, int) or isinstance(code, bool):
            raise BadField(f"each exit code must be an integer, not {_said(code)}")
    found = tuple(sorted(dict.fromkeys(codes)))
    if problem := failure.codes_problem(found):
        raise BadField(problem)
    return found


def positive_of(value: object) -> float:
    """More than 0. Raises BadField."""
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise BadField(f"must be a number of seconds, not {_said(value)}")
    if not 0 < value <= MAX_SECONDS:
        raise BadField(f"must be more than 0 and at most {MAX_SECONDS:,.0f} seconds")
    return float(value)


def message_of(value: object) -> str:
    return _checked(value, failure.message_problem)


def webhook_of(value: object) -> str:
    return _checked(value, failure.webhook_problem)


class Type(StrEnum):
    """What `type` of a job may be."""

    RUN = "run"
    GATE = "gate"
    SERVICE = "service"


TYPES: Final = tuple([it.value for it in Type])


def type_of(value: object) -> str:
    if not isinstance(value, str) or value not in TYPES:
        raise BadField(f"must be run (the default), gate or service, not {_said(value)}")
    return value


def retry_of(backoff: float | None, backoff_max: float | None, codes: tuple[int, ...]) -> Retry | None:
    """None if the job says nothing of it."""
    if backoff is None and backoff_max is None and not codes:
        return None
    return Retry(backoff or 0.0, backoff_max or 0.0, codes)


def _checked(value: object, problem_of_text: Callable[[str], str]) -> str:
    if not isinstance(value, str):
        raise BadField(f"must be a string, not {_said(value)}")
    if problem := problem_of_text(value):
        raise BadField(problem)
    return value


def _said(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
