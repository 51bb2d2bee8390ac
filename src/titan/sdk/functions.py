"""Pickles of a call, and how its result is read.

The pickles are the function by value, the arguments, the values and the exceptions.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import linecache
import re
from collections.abc import Callable
from concurrent.futures import CancelledError
from itertools import zip_longest
from typing import Any, NamedTuple, TypeVar

from titan.content.nearby import NearbyFile
from titan.content.transfer import DamagedCopy
from titan.errors import CallerError, JobFailed, LimitExceeded, Untrusted
from titan.model.states import JobState
from titan.model.values import (
    INLINE_BYTES,
    JSON,
    JSON_AT,
    MAX_VALUE_BYTES,
    RAISED,
    RAISED_AT,
    RETURNED_AT,
    by_content,
    failure_of,
    is_failure,
)
from titan.sdk.pickles import dumps, dumps_by_value, is_plain, load, loads

T = TypeVar("T")
Content = bytes | bytearray | NearbyFile
"""A large value: in memory, or as an open file of the master."""


class RemoteTraceback(Exception):
    """Cause of an exception that a call raised: the remote traceback as text."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f"\n{self.text}"


class Function:
    """A pickled function."""

    __slots__ = ("hash", "name", "pickled")

    def __init__(self, function: Callable[..., Any]) -> None:
        self.pickled = pickle_by_value(function)
        self.hash = hashlib.sha256(self.pickled).hexdigest()
        self.name = name_of(function)


def name_of(function: Callable[..., Any]) -> str:
    return str(getattr(function, "__qualname__", None) or type(function).__qualname__)[:200]


def pickle_by_value(function: Callable[..., Any]) -> bytes:
    """Pickle a function by value, with the parts of modules that are not installed.

    The worker has the installed modules, but not the caller's own. Raises CallerError.
    """
    try:
        return dumps_by_value(function)
    except Exception as e:
        raise CallerError(f"{function!r} cannot be sent to a worker: {type(e).__name__}: {e}") from e


def value_of(state: int, value: bytes, reason: str, content: Content | None = None, *, trust: bool = True) -> Any:
    """Return the result of a call or job.

    Raises the exception of the call, JobFailed or CancelledError.

    - `content`: the content of a value that is an artifact. A file is closed.
    - Without `trust`, no pickle that could execute code is opened. A returned value in such a
      pickle raises Untrusted. A raised exception becomes JobFailed, with its type, text and
      traceback.

    Raises DamagedCopy for a file that changed while it was read, OSError.
    """
    if isinstance(content, NearbyFile):
        return _value_in(content, state, value, reason, trust=trust)
    pickled = memoryview(value)[1:] if content is None else content
    if state == JobState.COMPLETED:
        if value[:1] in (JSON, JSON_AT):
            return json.loads(bytes(pickled))
        if value and not trust and not is_plain(pickled):
            raise Untrusted(len(pickled))
        return loads(pickled) if value else None
    if state in (JobState.CANCELLED, JobState.SKIPPED):
        raise CancelledError(reason)
    if value[:1] == RAISED or (value[:1] == RAISED_AT and content is not None):
        if not trust and not is_failure(pickled):
            raise Untrusted(len(pickled))
        description = failure_of(pickled) if is_failure(pickled) else loads(pickled)
        raise error_of(description if trust else (None, *description[1:]))
    raise JobFailed(reason or "the job is DEAD")


def _value_in(file: NearbyFile, state: int, value: bytes, reason: str, *, trust: bool) -> Any:
    """Return the result that a file holds.

    A trusted pickle is read from the file, so its large parts are copied only once.
    """
    with contextlib.closing(file):
        if state != JobState.COMPLETED or value[:1] != RETURNED_AT or not trust:
            content = file.read()
            return value_of(state, value, reason, _intact(file, content), trust=trust)
        try:
            loaded = load(file.file)
        except Exception:
            _intact(file, None)
            raise
        return _intact(file, loaded)


def _intact(file: NearbyFile, value: T) -> T:
    if not file.is_intact():
        raise DamagedCopy("a value changed in the home of the master while it was read: run its job again")
    return value


def error_of(description: tuple[bytes | None, str, str, str]) -> BaseException:
    """Return the exception of a call, with the remote traceback as its cause.

    An exception that cannot be unpickled here becomes JobFailed.
    """
    pickled, kind, text, trace = description
    error: BaseException | None = None
    if pickled is not None:
        with contextlib.suppress(Exception):
            error = loads(pickled)
    if not isinstance(error, BaseException):
        error = JobFailed(f"{kind}: {text}" if kind != "Refused" else text)
    error.__cause__ = RemoteTraceback(with_source(trace))
    if isinstance(error, JobFailed):
        error.error_type, error.traceback = kind, str(error.__cause__.text)
    return error


_FRAME = re.compile(r'  File "(.+)", line (\d+), in ')


def with_source(trace: str) -> str:
    """Return a traceback with the source lines of files that only this program has.

    Such are the files of the caller's own modules and the cells of notebooks.
    """
    lines = trace.split("\n")
    shown = []
    for line, following in zip_longest(lines, lines[1:], fillvalue=""):
        shown.append(line)
        frame = _FRAME.match(line)
        if frame is not None and not following.startswith("    "):
            source = linecache.getline(frame[1], int(frame[2])).strip()
            if source:
                shown.append(f"    {source}")
    return "\n".join(shown)


def arguments_of(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Return the object to pickle for a call's arguments.

    It is `args`, or (args, kwargs) if there are keyword arguments or `args` looks like such a pair.
    """
    is_pair = len(args) == 2 and type(args[0]) is tuple and type(args[1]) is dict
    return (args, kwargs) if kwargs or is_pair else args


class Parcel(NamedTuple):
    """Arguments that travel as an artifact."""

    hash: str
    data: bytes


def parcelled(payload: bytes) -> tuple[bytes, Parcel | None]:
    """Return (payload for the submission, parcel to stage before it). Raises LimitExceeded."""
    size = len(payload)
    if size <= INLINE_BYTES:
        return payload, None
    if size > MAX_VALUE_BYTES:
        raise LimitExceeded(f"the arguments of a call have {size:,} bytes; the limit is {MAX_VALUE_BYTES:,}: pass a file")
    digest = hashlib.sha256(payload).digest()
    return by_content(RETURNED_AT, digest, size), Parcel(digest.hex(), payload)


def pack_arguments(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes:
    """Return the pickle of a call's arguments. See `arguments_of`. Raises CallerError."""
    try:
        return dumps(arguments_of(args, kwargs) if kwargs or len(args) == 2 else args)
    except Exception as e:
        raise CallerError(f"the arguments cannot be sent to a worker: {type(e).__name__}: {e}") from e


def printable(name: str) -> str:
    """Return the name for a run of calls, with unprintable characters replaced."""
    return "".join(c if c.isprintable() else "?" for c in name)[:200] or "call"
