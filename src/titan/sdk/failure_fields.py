"""Fields of a job for failures, and fields of a gate: checks and conversions.

`Job` holds the converted values. `titan.model.failure` owns the rules for templates.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from typing import Final

from titan.model import failure
from titan.model.conditions import BadCondition, parse
from titan.model.dag import MAX_SECONDS, Gate, Retry
from titan.model.durations import EXAMPLE, as_seconds
from titan.model.names import NAME_RULE, match_name
from titan.sdk.field_table import BadField

MAX_WAIT_S: Final = Gate().max_wait_s
"""Default time after which an undecided gate is rejected: 48 h."""
GATE_SUFFIX: Final = ".gate"


def on_failure_of(value: object) -> str:
    """Convert `on_failure` to "cancel" or "continue". Raises BadField.

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
    """Return the failure handler that `on_failure` names; "" for none. Raises BadField.

    >>> handler_of("continue"), handler_of({"run": "alarm"})
    ('', 'alarm')
    """
    if isinstance(value, str):
        return ""
    if not isinstance(value, Mapping):
        raise BadField(f"must be cancel, continue or {{run: JOB}}, not {_shown(value)}")
    if set(value) != {"run"}:
        raise BadField("must name a handler as {run: JOB}, without other keys")
    name = value["run"]
    name = getattr(name, "id", name)
    if not isinstance(name, str) or not match_name(name):
        raise BadField(f"run: {_shown(name)} is not a job id: an id is {NAME_RULE}")
    return name


def condition_of(value: object) -> str:
    """Check a condition; a boolean is one too. Raises BadField.

    >>> condition_of(True), condition_of("a.state == COMPLETED")
    ('true', 'a.state == COMPLETED')
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, str):
        raise BadField(f"must be an expression such as 'JOB.state == COMPLETED', not {_shown(value)}")
    try:
        parse(value)
    except BadCondition as bad:
        raise BadField(str(bad)) from None
    return value


def codes_of(value: object) -> tuple[int, ...]:
    """Convert exit codes to sorted ones without duplicates. Raises BadField."""
    if isinstance(value, (str, bytes, Mapping)) or not isinstance(value, Iterable):
        raise BadField(f"must be a list of exit codes, not {_shown(value)}")
    codes = list(value)
    for code in codes:
        if not isinstance(code, int) or isinstance(code, bool):
            raise BadField(f"each exit code must be an integer, not {_shown(code)}")
    unique_codes = tuple(sorted(dict.fromkeys(codes)))
    if problem := failure.codes_problem(unique_codes):
        raise BadField(problem)
    return unique_codes


def positive_of(value: object) -> float:
    """Convert a number of seconds above 0, or a duration. Raises BadField."""
    value = as_seconds(value)
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise BadField(f"must be {EXAMPLE}, not {_shown(value)}")
    if not 0 < value <= MAX_SECONDS:
        raise BadField(f"must be more than 0 and at most {MAX_SECONDS:,.0f} seconds")
    return float(value)


def message_of(value: object) -> str:
    return _checked(value, failure.message_problem)


def webhook_of(value: object) -> str:
    return _checked(value, failure.webhook_problem)


class Type(StrEnum):
    """Values of a job's `type`."""

    RUN = "run"
    GATE = "gate"
    SERVICE = "service"


TASK: Final = "task"
"""Another word for `Type.RUN`, from other tools."""
TYPES: Final = (*[type_.value for type_ in Type], TASK)


def type_of(value: object) -> str:
    """Return a `Type`. Raises BadField.

    >>> type_of("gate"), type_of("task")
    ('gate', 'run')
    """
    if not isinstance(value, str) or value not in TYPES:
        near = f": did you mean {value.lower()}?" if isinstance(value, str) and value.lower() in TYPES else ""
        raise BadField(f"must be run (the default), gate or service, not {_shown(value)}{near}")
    return Type.RUN.value if value == TASK else value


def retry_of(backoff: float | None, backoff_max: float | None, codes: tuple[int, ...]) -> Retry | None:
    """Return the retry policy, or None if the job has none of these fields."""
    if backoff is None and backoff_max is None and not codes:
        return None
    return Retry(backoff or 0.0, backoff_max or 0.0, codes)


def _checked(value: object, problem_of_text: Callable[[str], str]) -> str:
    if not isinstance(value, str):
        raise BadField(f"must be a string, not {_shown(value)}")
    if problem := problem_of_text(value):
        raise BadField(problem)
    return value


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
