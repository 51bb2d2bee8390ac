"""Fields of a job: functions that convert a value to the stored one, or raise BadField.

`Job` and pipeline files share them, so both report the same errors. Does not know `Job`.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import dataclass
from datetime import datetime
from numbers import Real
from typing import Any, Final

from titan.model.dag import MAX_ARGS_BYTES, MAX_SECONDS
from titan.model.durations import EXAMPLE, as_seconds
from titan.model.environment import own_problem
from titan.model.files import folder_problem
from titan.model.names import NAME_RULE, match_name
from titan.model.timing import MAX_TIME
from titan.sdk.field_table import BadField

PERM: Final = "perm:"
"""Prefix of a `file` that names an entry of the master's registry, perm_files/."""

MAX_PATH: Final = 4096
MAX_DESCRIPTION: Final = 4096
"""Limit of the characters of a description."""


def perm_name(file: str) -> str:
    """Return NAME of a `file` that is `perm:NAME`; "" for a file of this machine."""
    return file[len(PERM) :] if file.startswith(PERM) else ""


def is_python_script(file: str | None) -> bool:
    return file is not None and file.endswith(".py")


def problem_of(make: Callable[[Any], object], value: object) -> str:
    """Return the problem that `make` finds in the value, to be put after a colon; else ""."""
    try:
        make(value)
    except BadField as bad:
        return str(bad)
    return ""


# -- numbers, booleans and choices -----------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Integer:
    """Function that checks for an integer within these limits.

    >>> Integer(0, 19)(5), problem_of(Integer(0, 19), 20), problem_of(Integer(-9, 9), "5")
    (5, 'must be 0 to 19', "must be an integer, not the string '5'")
    """

    least: int
    most: int
    expected: str = "an integer"

    def __call__(self, value: object) -> int:
        if not isinstance(value, int) or isinstance(value, bool):
            raise BadField(f"must be {self.expected}, not {kind_of(value)}")
        if not self.least <= value <= self.most:
            raise BadField(
                f"must be within +-{self.most:,}" if self.least == -self.most else f"must be {self.least:,} to {self.most:,}"
            )
        return value


def switch(value: object) -> bool:
    if not isinstance(value, bool):
        raise BadField(f"must be true or false, not {kind_of(value)}")
    return value


def choice(*words: str) -> Callable[[object], str]:
    """Return a function that checks for one of these words.

    >>> problem_of(choice("python", "process"), "warm")
    "must be python or process, not 'warm'"
    """
    options = f"{', '.join(words[:-1])} or {words[-1]}"

    def make(value: object) -> str:
        if not isinstance(value, str):
            raise BadField(f"must be a string, not {kind_of(value)}")
        if value not in words:
            raise BadField(f"must be {options}, not {shown(value)}")
        return value

    return make


def seconds_of(value: object) -> float:
    value = as_seconds(value)
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise BadField(f"must be {EXAMPLE}, not {kind_of(value)}")
    if not 0 <= value <= MAX_SECONDS:  # also for NaN
        raise BadField(f"must be 0 to {MAX_SECONDS:,.0f} seconds")
    return float(value)


def timeout_of(value: object) -> float | None:
    if value is None:
        return None
    return seconds_of(value) or _fail("must be more than 0 seconds: leave it out for no limit")


def moment_of(value: object) -> object:
    """Return the seconds since the epoch of a datetime. Any other value is returned unchanged."""
    try:
        return value.timestamp() if isinstance(value, datetime) else value
    except (OverflowError, ValueError, OSError):  # the datetime is outside of the range of its time zone
        return -1.0


def run_at_of(value: object) -> float:
    moment = moment_of(value)
    if not isinstance(moment, (int, float)) or isinstance(moment, bool):
        raise BadField(f"must be a time or seconds since the epoch, not {kind_of(moment)}")
    if not 0 < moment <= MAX_TIME:  # also for NaN
        raise BadField("must be a time between the years 1970 and 9999")
    return moment


# -- texts -----------------------------------------------------------------------------------------
def id_problem(value: object) -> str:
    if not isinstance(value, str):
        return f"must be a string, not {kind_of(value)}"
    return "" if match_name(value) else f"is malformed: an id is {NAME_RULE}"


def id_of(value: object) -> str:
    if problem := id_problem(value):
        raise BadField(problem)
    assert isinstance(value, str)
    return value


def pipeline_of(value: object) -> str:
    if not isinstance(value, str) or not match_name(value):
        raise BadField(f"must be the name of a saved pipeline, which is {NAME_RULE}")
    return value


def text_of(value: object) -> str:
    if problem := text_problem(value):
        raise BadField(problem)
    assert isinstance(value, str)
    return value


def file_of(value: object) -> str:
    text = text_of(_path(value))
    if not text:
        raise BadField("must not be empty")
    if text.startswith(PERM) and any(not part or part.startswith(".") for part in perm_name(text).split("/")):
        raise BadField(f"{text!r} is not a name in perm_files/: it must not contain '..' or start with '/' or '.'")
    return text


def folder_of(value: object) -> str:
    """Return an absolute path, or the name of a folder that the worker finds. Raises BadField."""
    text = text_of(_path(value))
    if problem := folder_problem(text):
        raise BadField(problem)
    return text


def stdin_of(value: object) -> str:
    """Return the path of a file. Raises BadField."""
    text = text_of(_path(value))
    if not text or len(text) > MAX_PATH:
        raise BadField(f"must be the path of a file, with at most {MAX_PATH:,} characters")
    return text


def python_of(value: object) -> str:
    text = text_of(_path(value))
    if not text:
        raise BadField("must not be empty: leave it out for the worker's own interpreter")
    if len(text) > MAX_PATH:
        raise BadField(f"exceeds {MAX_PATH:,} characters: give the path of an interpreter")
    return text


def command_of(value: object) -> str | tuple[str, ...]:
    if isinstance(value, str):
        text_of(value)
        if not value.strip():
            raise BadField("must not be empty")
        command: str | tuple[str, ...] = value
        size = len(value)
    else:
        command = _texts(value)
        if not command or not command[0]:
            raise BadField("must not be empty: the first item is the program")
        size = _size_of_all(command)
    if size > MAX_ARGS_BYTES:
        raise BadField(f"exceeds {MAX_ARGS_BYTES:,} characters: put it into a script")
    return command


def args_of(value: object) -> tuple[str, ...]:
    """Return the items of a list, or the words of a string, which is split like a shell does."""
    if isinstance(value, str):
        text = text_of(value)
        try:
            value = shlex.split(text)
        except ValueError as error:
            raise BadField(f"cannot be split like in a shell ({error}): give a list") from None
    args = _texts(value)
    check_args(args)
    return args


def check_args(args: tuple[str, ...]) -> None:
    """Raise BadField for arguments that no process can receive."""
    if _size_of_all(args) > MAX_ARGS_BYTES:
        raise BadField(f"exceed {MAX_ARGS_BYTES:,} characters: pass a file")


def _size_of_all(texts: tuple[str, ...]) -> int:
    for text in texts:
        if problem := text_problem(text):
            raise BadField(problem)
    return sum(map(len, texts))


def check_ids(ids: tuple[str, ...]) -> None:
    """Raise BadField for a malformed id."""
    for item in ids:
        if not match_name(item):
            raise BadField(f"{item!r} is not a job id: {id_problem(item)}")


def env_of(value: object) -> tuple[tuple[str, str], ...]:
    """Return (name, value) pairs, sorted by name. None gives no pairs."""
    if value is None:
        return ()
    if not isinstance(value, Mapping):
        raise BadField(f"must be a mapping of names to values, not {kind_of(value)}")
    texts: dict[str, str] = {}
    for name, item in value.items():
        text = _scalar(item)
        if text is None:
            raise BadField(f"{shown(name)}: must be a string, a number or a path, not {kind_of(item)}")
        if problem := text_problem(name) or text_problem(text):
            raise BadField(f"{shown(name)}: {problem}")
        if not name or "=" in name:
            raise BadField(f"{shown(name)}: the name of a variable must not be empty or contain '='")
        if len(name) + len(text) > MAX_ARGS_BYTES:
            raise BadField(f"{shown(name)}: exceeds {MAX_ARGS_BYTES:,} characters: pass a file")
        texts[name] = text
    if problem := own_problem(texts):
        raise BadField(problem)
    return tuple(sorted(texts.items()))


def no_script(file: str | None, suffix: str = ".py") -> str:
    """Return the reason why a field that is only for scripts with this suffix does not apply to the
    file.

    "" if the field applies.
    """
    if file is not None and file.endswith(suffix):
        return ""
    return f"applies only to a {suffix} file: " + (
        "a command names its own interpreter" if file is None else "other files are started by their #! line"
    )


# -- fields of a DAG -------------------------------------------------------------------------------
def dag_text_of(value: object) -> str:
    text = text_of(value)
    if len(text) > 256 or not text.isprintable():
        raise BadField("must be at most 256 printable characters")
    return text


def description_of(value: object) -> str:
    text = text_of(value)
    if len(text) > MAX_DESCRIPTION:
        raise BadField(f"must be at most {MAX_DESCRIPTION:,} characters")
    return text


def dag_name_of(value: object) -> str:
    return dag_text_of(text_of(value) or _fail("must not be empty"))


DAG_FIELDS: Final[Mapping[str, Callable[[object], Any]]] = {
    "name": dag_name_of,
    "version": dag_text_of,
    "agent_run_id": dag_text_of,
    "deadline": timeout_of,
    "description": description_of,
}


# -- helpers ---------------------------------------------------------------------------------------
def text_problem(value: object) -> str:
    if not isinstance(value, str):
        return f"must be a string, not {kind_of(value)}"
    if "\0" in value:
        return "contains a NUL character"
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            return "is not valid Unicode"
    return ""


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


def _path(value: object) -> object:
    return value.__fspath__() if isinstance(value, os.PathLike) else value


def _texts(value: object) -> tuple[str, ...]:
    if isinstance(value, (bytes, bytearray, Mapping, Set)) or not isinstance(value, Iterable):
        raise BadField(f"must be a string or a list, not {kind_of(value)}")
    texts = []
    for item in value:
        text = _scalar(item)
        if text is None:
            raise BadField(f"each item must be a string, a number or a path, not {kind_of(item)}")
        texts.append(text)
    return tuple(texts)


def _scalar(value: object) -> str | None:
    if isinstance(value, str):
        return value
    if isinstance(value, os.PathLike):
        path = value.__fspath__()
        return path if isinstance(path, str) else None
    if isinstance(value, bool):
        # str(True) is "True", which no shell or flag parser expects. Callers can pass that string.
        return None
    return str(value) if isinstance(value, Real) else None


def _fail(problem: str) -> Any:
    raise BadField(problem)
