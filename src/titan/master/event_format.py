"""Events as text: one line each, with the names of jobs, runs and workers instead of numbers.

The text omits or counts large fields: templates, columns of a submission, chunks. `titan journal
inspect --events` shows all fields.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from titan.core.events import events as ev
from titan.core.state.state import NO_WORKER, State
from titan.model.states import Outcome, RunState

SHOWN = 5
"""Maximum number of entries of a column that a line shows."""
_OF_JOBS = ("jobs", "blamed", "doubted", "dead")
_LEFT_OUT = (
    "templates",
    "template",
    "template_of",
    "args",
    "parents",
    "payloads",
    "values",
    "chunks",
    "dag",
    "digest",
    "facts",
    "at",
    "before",
)


def is_about(state: State, event: ev.Event, run: str, job: str = "") -> bool:
    """Return whether an event concerns a run or, if `job` is set, that job of the run.

    The event has just been applied to the state.
    """
    named = getattr(event, "run", "")
    numbers = list(_jobs_of(event))
    if not numbers:
        return bool(named == run)
    return any(known.run.id == run and (not job or known.name == job) for n in numbers if (known := state.jobs.get(n)) is not None)


def fields_of(state: State, event: ev.Event, *, run: str = "", job: str = "") -> dict[str, Any]:
    """Return the fields of an event that has just been applied to the state.

    If `run` and `job` are set, columns keep only the entries that concern the run or the job.
    """
    kept = [
        i for i, n in enumerate(getattr(event, "jobs", ())) if not run or _matches(state, n, run, job)
    ]  # fmt: skip
    columns = len(getattr(event, "jobs", ()))
    fields: dict[str, Any] = {}
    for field in event.__struct_fields__:
        value = getattr(event, field)
        if field in _LEFT_OUT or value in ("", []):
            continue
        if field == "ids":
            fields["jobs"] = len(value)
        elif field in _OF_JOBS:
            numbers = [n for n in value if not run or _matches(state, n, run, job)]
            if numbers:
                fields[field] = [job_name(state, n) for n in numbers]
        elif isinstance(value, list) and columns and len(value) == columns:
            fields[field] = [_plain(state, field, value[i]) for i in kept]
        else:
            fields[field] = _plain(state, field, value)
    return fields


def text(fields: dict[str, Any]) -> str:
    """Return the fields as one line."""
    return " ".join(f"{name}={_shown(value)}" for name, value in fields.items())


def job_name(state: State, number: int) -> str:
    job = state.jobs.get(number)
    return f"{job.run.id}/{job.name}" if job is not None else f"job {number}, which no longer exists"


def _matches(state: State, number: int, run: str, job: str) -> bool:
    known = state.jobs.get(number)
    return known is not None and known.run.id == run and (not job or known.name == job)


def _jobs_of(event: ev.Event) -> Iterator[int]:
    for field in _OF_JOBS:
        yield from getattr(event, field, ())
    if isinstance(event, (ev.TokenIssued, ev.WebhookEnded, ev.ServiceReplaced)):
        yield event.job


def _plain(state: State, field: str, value: Any) -> Any:
    match field, value:
        case ("worker" | "pin" | "pins" | "workers", list()):
            return [_worker(state, number) for number in value]
        case ("worker" | "pin" | "pins" | "workers", int()):
            return _worker(state, value)
        case ("job", int()):
            return job_name(state, value)
        case ("by", int()):
            return job_name(state, value) if value else "a user"
        case "outcomes", list():
            return [Outcome(outcome).name for outcome in value]
        case "outcomes", int():
            return Outcome(value).name
        case "state", int():
            return RunState(value).name
        case "commands", list():
            return [b" ".join(args).decode(errors="replace") for args in value]
        case "timing", _:
            return value.cron or f"every {value.every_s:g} s"
        case _:
            return value


def _worker(state: State, number: int) -> str:
    return "" if number == NO_WORKER else state.worker_name(number)


def _shown(value: Any) -> str:
    if isinstance(value, list | tuple):
        more = f",... ({len(value):,})" if len(value) > SHOWN else ""
        return ",".join(_shown(entry) for entry in value[:SHOWN]) + more
    if isinstance(value, float):
        return f"{value:.3f}".rstrip("0").rstrip(".")
    words = " ".join(str(value).split())
    words = words if len(words) <= 200 else words[:200] + "..."
    return repr(words) if " " in words else words
