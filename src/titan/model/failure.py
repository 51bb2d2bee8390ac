"""Checks of a template's failure fields and gates: retries, back-off, final exit codes, gate
fields.

The SDK makes these checks before it sends a DAG, and the master makes them when it receives one.
Both call this module, so their errors are the same.
"""

from __future__ import annotations

import re

from titan.model.conditions import condition_problem
from titan.model.dag import ALWAYS, ENDED, MAX_SECONDS, Gate, JobTemplate, Kind, Retry

MAX_CODES = 64
MAX_MESSAGE = 4096
MAX_URL = 2048
MAX_BY = 128
MAX_COMMENT = 4096
ON_FAILURE = ("cancel", "continue")
OUTPUT_LOST = "output lost: "
_URL = re.compile(r"https?://[^\s/?#@\\]+(?:[/?#][^\s]*)?", re.IGNORECASE)


def with_loss(reason: str, lost: str) -> str:
    """Return an attempt's reason, extended by the reason for lost output if there is one.

    The text is for people. Code that decides reads `lost`.

    >>> with_loss("exit code 1", "the disk is full"), with_loss("exit code 1", "")
    ('exit code 1; output lost: the disk is full', 'exit code 1')
    >>> with_loss("", "the disk is full")
    'output lost: the disk is full'
    """
    if not lost:
        return reason
    return f"{reason}; {OUTPUT_LOST}{lost}" if reason else OUTPUT_LOST + lost


def template_problem(t: JobTemplate) -> str:
    """Return the problem with a template's failure fields or its gate; "" if there is none."""
    if t.kind not in Kind.__members__.values():
        return f"type {t.kind[:80]!r} is unknown: this master may be older than its client"
    if (t.gate is not None) is not (t.kind == Kind.GATE):
        return "a job of type gate needs the fields of a gate, and only such a job may have them"
    if t.on_failure not in ("", *ON_FAILURE):
        return f"on_failure {t.on_failure[:80]!r} is unknown: use cancel, continue, or the name of a failure handler"
    if t.on_failure == "continue" and (t.function or t.kind == Kind.GATE):
        if t.kind == Kind.GATE:
            return "on_failure continue: a gate cannot have it, because a rejected gate cancels the jobs that wait for it"
        return "on_failure continue: a call cannot have it, because the children of a call need its value"
    if problem := _start_problem(t):
        return problem
    if t.retry is not None and (problem := retry_problem(t.retry)):
        return problem
    return gate_problem(t.gate) if t.gate is not None else ""


def retry_problem(retry: Retry) -> str:
    for field, seconds in (("backoff", retry.backoff_s), ("backoff_max", retry.backoff_max_s)):
        if problem := seconds_problem(seconds):
            return f"{field} {problem}"
    if problem := codes_problem(retry.final_codes):
        return f"no_retry {problem}"
    return ""


def gate_problem(gate: Gate) -> str:
    if problem := message_problem(gate.message):
        return f"message {problem}"
    if not gate.max_wait_s or (problem := seconds_problem(gate.max_wait_s)):
        return f"max_wait {problem if gate.max_wait_s else 'must be more than 0 seconds'}"
    if problem := webhook_problem(gate.webhook):
        return f"webhook {problem}"
    return ""


def seconds_problem(value: float) -> str:
    # also for NaN
    return "" if 0 <= value <= MAX_SECONDS else f"must be 0 to {MAX_SECONDS:,.0f} seconds"


def _start_problem(t: JobTemplate) -> str:
    """Return why a template cannot start as it says, by `when` and `condition`; "" if it can."""
    if t.when not in ("", ALWAYS, ENDED):
        return f"when {t.when[:80]!r} is unknown: this master may be older than its client"
    name = "always" if t.when == ALWAYS else "if"
    if t.when and t.function:
        return f"{name}: a call cannot wait for the end of its parents, because it needs their values"
    if (t.when or t.condition) and t.kind == Kind.HANDLER:
        return f"{name}: a failure handler cannot have it, because it runs only if a job is DEAD"
    if t.when == ENDED and not t.condition:
        return "if: the job has no condition: this master may be older than its client"
    problem = condition_problem(t.condition, t.when) if t.condition else ""
    return f"if: {problem}" if problem else ""


def codes_problem(codes: tuple[int, ...]) -> str:
    if len(codes) > MAX_CODES:
        return f"has more than {MAX_CODES} exit codes"
    wrong = next((code for code in codes if not 1 <= code <= 255), None)
    return "" if wrong is None else f"must be exit codes, 1 to 255, not {wrong}"


def message_problem(text: str) -> str:
    if len(text) > MAX_MESSAGE:
        return f"exceeds {MAX_MESSAGE:,} characters"
    return "holds a NUL character" if "\0" in text else ""


def webhook_problem(url: str) -> str:
    """Return the problem with a webhook's URL; "" if there is none, or if the URL is empty."""
    if not url:
        return ""
    if len(url) > MAX_URL:
        return f"exceeds {MAX_URL:,} characters"
    return "" if url.isprintable() and _URL.fullmatch(url) else "must be an http or https URL without a user name in it"
