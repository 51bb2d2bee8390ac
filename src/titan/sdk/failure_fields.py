"""The fields of a job that say how it fails, and those of a gate: what each may be, and what is kept of it.

`Job` holds the values that are made here; what a template may say is `titan.model.failure`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from titan.model import failure
from titan.model.dag import MAX_SECONDS, Gate, Retry
from titan.model.names import NAME_RULE, match_name

MAX_WAIT_S: Final = Gate().max_wait_s
"""48 h: after that an undecided gate is rejected if it says nothing else."""
GATE_SUFFIX: Final = ".gate"
GATE_KEYS: Final[tuple[str, ...]] = ("message", "max_wait", "webhook")
NOT_OF_A_GATE: Final[tuple[str, ...]] = (
    *("file", "command", "args", "requirement", "priority", "affinity", "retries", "timeout", "env", "python", "driver"),
    *("foreach", "matrix", "backoff", "backoff_max", "no_retry", "on_failure", "hitl_message", "max_wait_seconds"),
    *("port", "health", "restart", "keep", "secrets", "outputs", "inputs"),
)
"""Fields that a gate has no use for: nothing runs."""
TYPES: Final = ("run", "gate", "service")


_EMPTY: Final = ("args", "env", "no_retry", "secrets", "outputs", "inputs")
_DEFAULTS: Final = (*((name, ()) for name in _EMPTY), ("on_failure", "cancel"), ("handler", ""))
_UNSET: Final = ("foreach", "matrix", "backoff", "backoff_max", "hitl_message", "timeout", "python", "driver")


class BadField(ValueError):
    """Says what is wrong with a value, for after a colon."""


def on_failure_of(value: object) -> tuple[str, str]:
    """("cancel" or "continue", handler or ""). Raises BadField.

    >>> on_failure_of("continue"), on_failure_of({"run": "alarm"})
    (('continue', ''), ('cancel', 'alarm'))
    """
    if isinstance(value, str):
        if value not in failure.ON_FAILURE:
            raise BadField(f"must be cancel, continue or {{run: JOB}}, not {value[:80]!r}")
        return value, ""
    if not isinstance(value, Mapping):
        raise BadField(f"must be cancel, continue or {{run: JOB}}, not {_said(value)}")
    if set(value) != {"run"}:
        raise BadField("a handler is named as {run: JOB}, and nothing else is in there")
    name = value["run"]
    name = getattr(name, "id", name)
    if not isinstance(name, str) or not match_name(name):
        raise BadField(f"run: {_said(name)} is no job id: an id is {NAME_RULE}")
    return "cancel", name


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


def seconds_of(value: object) -> float:
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


def type_of(value: object) -> str:
    if not isinstance(value, str) or value not in TYPES:
        raise BadField(f"must be run (the default), gate or service, not {_said(value)}")
    return value


FIELDS: Final[Mapping[str, Callable[[object], object]]] = {
    "type": type_of,
    "backoff": seconds_of,
    "backoff_max": seconds_of,
    "no_retry": codes_of,
    "on_failure": on_failure_of,
    "message": message_of,
    "max_wait": seconds_of,
    "webhook": webhook_of,
    "hitl_message": message_of,
    "max_wait_seconds": seconds_of,
}
"""field -> what makes the kept value of a given one; raises BadField."""


def misplaced(job: Any) -> tuple[str, str]:
    """(field, problem) of what a whole job has and has no use for; ("", "") if there is nothing."""
    if job.type == "gate":
        given = [name for name, default in _DEFAULTS if getattr(job, name) != default]
        given += [name for name in _UNSET if getattr(job, name) is not None]
        field = "on_failure" if given[:1] == ["handler"] else given[0] if given else ""
        return field, "is nothing for a gate, which runs nothing: leave it out" if field else ""
    if job.message:
        return "message", "goes with type gate alone: say hitl_message"
    if job.webhook and job.hitl_message is None:
        return "webhook", "goes with type gate, or with hitl_message"
    return "", ""


def problem_of(field: str) -> Callable[[object], str]:
    """As of any other field: the problem of a value, "" if there is none."""

    def problem(value: object) -> str:
        try:
            FIELDS[field](value)
        except BadField as bad:
            return str(bad)
        return ""

    return problem


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
