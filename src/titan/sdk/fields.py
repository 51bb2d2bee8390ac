"""The fields of a job, one by one: what each may hold, and the sentence that says what is wrong with a value.

Pipeline files and `Job` use the same, so both say the same. Knows nothing of `Job`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Final

from titan.model.dag import MAX_ARGS_BYTES, MAX_PRIORITY, MAX_RETRIES, MAX_SECONDS
from titan.model.environment import own_problem
from titan.model.names import NAME_RULE, match_name
from titan.model.timing import MAX_TIME
from titan.sdk import failure_fields as ff
from titan.sdk.file_fields import problem_in
from titan.sdk.limits import limits_problem
from titan.sdk.needs import cpus_problem, gpus_problem, memory_problem, requirement_problem
from titan.sdk.secrets import secrets_problem

PERM: Final = "perm:"
"""A `file` that starts so is looked up by name in the master's registry, perm_files/."""

DRIVERS: Final = ("python", "process")
MAX_PATH: Final = 4096


def perm_name(file: str) -> str:
    """The registry's name that a `file` of `perm:NAME` asks for; "" for a file of this machine."""
    return file[len(PERM) :] if file.startswith(PERM) else ""


def is_python_script(file: str | None) -> bool:
    return file is not None and file.endswith(".py")


def problem_of(field: str, value: object) -> str:
    """What is wrong with the value of a field of a job, for after a colon; "" if nothing is. An unknown field is a KeyError."""
    return _PROBLEMS[field](value)


def dag_problem_of(field: str, value: object) -> str:
    """The same for `name`, `version` and `deadline` of a DAG."""
    if field == "deadline":
        return _timeout(value)
    if problem := text_problem(value):
        return problem
    text = str(value)
    if field == "name" and not text:
        return "must not be empty"
    if len(text) > 256 or not text.isprintable():
        return "must be at most 256 printable characters"
    return ""


# -- one field each: "" or the problem ----------------------------------------------------------------------------------
def id_problem(value: object) -> str:
    if not isinstance(value, str):
        return f"must be a string, not {kind_of(value)}"
    return "" if match_name(value) else f"is malformed: an id is {NAME_RULE}"


def _pipeline(value: object) -> str:
    return "" if isinstance(value, str) and match_name(value) else f"must be the name of a saved pipeline, which is {NAME_RULE}"


def _file(value: object) -> str:
    if problem := text_problem(value):
        return problem
    text = str(value)
    if not text:
        return "must not be empty"
    if text.startswith(PERM) and any(not part or part.startswith(".") for part in perm_name(text).split("/")):
        return f"{text!r} names no file of perm_files/: no '..', no leading '/' or '.'"
    return ""


def _command(value: object) -> str:
    if isinstance(value, str):
        if problem := text_problem(value):
            return problem
        if not value.strip():
            return "must not be empty"
        size = len(value)
    elif isinstance(value, (list, tuple)):
        if not value or not value[0]:
            return "must not be empty: the first item is the program"
        for item in value:
            if problem := text_problem(item):
                return f"each item {problem}" if problem.startswith("must be") else problem
        size = sum(map(len, value))
    else:
        return f"must be a string or a list of strings, not {kind_of(value)}"
    return f"exceeds {MAX_ARGS_BYTES:,} characters: put it into a script" if size > MAX_ARGS_BYTES else ""


def _args(value: object) -> str:
    if not isinstance(value, (list, tuple)):
        return f"must be a string or a list, not {kind_of(value)}"
    for item in value:
        if problem := text_problem(item):
            return f"each item {problem}" if problem.startswith("must be") else problem
    return f"exceed {MAX_ARGS_BYTES:,} characters: pass a file" if sum(map(len, value)) > MAX_ARGS_BYTES else ""


def _parents(value: object) -> str:
    if not isinstance(value, (list, tuple)):
        return f"must be a list of job ids, not {kind_of(value)}"
    return next((f"{item!r} is no job id: {problem}" for item in value if (problem := id_problem(item))), "")


def _priority(value: object) -> str:
    if not isinstance(value, int) or isinstance(value, bool):
        return f"must be an integer, not {kind_of(value)}"
    return "" if -MAX_PRIORITY <= value <= MAX_PRIORITY else f"must be within +-{MAX_PRIORITY:,}"


def _retries(value: object) -> str:
    if not isinstance(value, int) or isinstance(value, bool):
        return f"must be an integer, not {kind_of(value)}"
    return "" if 0 <= value <= MAX_RETRIES else f"must be 0 to {MAX_RETRIES:,}"


def _seconds(value: object) -> str:
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return f"must be a number of seconds, not {kind_of(value)}"
    return "" if 0 <= value <= MAX_SECONDS else f"must be 0 to {MAX_SECONDS:,.0f} seconds"  # also for NaN


def _timeout(value: object) -> str:
    if value is None:
        return ""
    return _seconds(value) or ("" if value else "must be more than 0 seconds: leave it out for no limit")


def moment_of(value: object) -> object:
    """A datetime as seconds since the epoch; anything else as it is."""
    try:
        return value.timestamp() if isinstance(value, datetime) else value
    except (OverflowError, ValueError, OSError):  # beyond what the zone can say
        return -1.0


def _run_at(value: object) -> str:
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return f"must be a time or seconds since the epoch, not {kind_of(value)}"
    return "" if 0 < value <= MAX_TIME else "must be a time between the years 1970 and 9999"  # also for NaN


def _affinity(value: object) -> str:
    return "" if isinstance(value, bool) else f"must be true or false, not {kind_of(value)}"


def _env(value: object) -> str:
    if not isinstance(value, Mapping):
        return f"must be a mapping of names to values, not {kind_of(value)}"
    for name, text in value.items():
        if problem := text_problem(name) or text_problem(text):
            return f"{shown(name)}: {problem}"
        if not name or "=" in name:
            return f"{shown(name)}: a variable's name must not be empty or hold '='"
        if len(name) + len(text) > MAX_ARGS_BYTES:
            return f"{shown(name)}: exceeds {MAX_ARGS_BYTES:,} characters: pass a file"
    return own_problem(map(str, value))


def _python(value: object) -> str:
    if problem := text_problem(value):
        return problem
    if not value:
        return "must not be empty: leave it out for the worker's own interpreter"
    return "" if len(str(value)) <= MAX_PATH else f"exceeds {MAX_PATH:,} characters: give the path of an interpreter"


def _driver(value: object) -> str:
    if not isinstance(value, str):
        return f"must be a string, not {kind_of(value)}"
    return "" if value in DRIVERS else f"must be python or process, not {shown(value)}"


def no_script(file: str | None) -> str:
    if is_python_script(file):
        return ""
    return "goes with a .py file only: " + (
        "a command names its own interpreter" if file is None else "another file is started as it is, by its #! line"
    )


def text_problem(value: object) -> str:
    if not isinstance(value, str):
        return f"must be a string, not {kind_of(value)}"
    if "\0" in value:
        return "holds a NUL character"
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            return "is not valid Unicode"
    return ""


_PROBLEMS: dict[str, Callable[[object], str]] = {
    "id": id_problem,
    "file": _file,
    "command": _command,
    "args": _args,
    "parents": _parents,
    "requirement": requirement_problem,
    "cpus": cpus_problem,
    "memory": memory_problem,
    "gpus": gpus_problem,
    "priority": _priority,
    "delay": _seconds,
    "affinity": _affinity,
    "run_at": _run_at,
    "retries": _retries,
    "timeout": _timeout,
    "env": _env,
    "python": _python,
    "driver": _driver,
    **{field: ff.problem_of(field) for field in ff.FIELDS},
    "limits": limits_problem,
    "pipeline": _pipeline,
    "secrets": secrets_problem,
    "outputs": problem_in("outputs"),
    "inputs": problem_in("inputs"),
}


def shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def kind_of(value: object) -> str:
    if value is None:
        return "nothing (null)"
    if isinstance(value, bool):
        return f"the boolean {str(value).lower()}"
    if isinstance(value, str):
        return f"the string {shown(value)}"
    if isinstance(value, (int, float)):
        return f"the number {shown(value)}"
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, (list, tuple)):
        return "a list"
    return "bytes" if isinstance(value, bytes) else f"a {type(value).__name__}"
