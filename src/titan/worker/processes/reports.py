"""What is reported of a process, as types: by a warden through its link, and by every driver of the
worker.

The order for one key: `Started`, any number of `Output` and `LogFailed`, then one of `Exited` and
`Lost`; or `Refused` or `Withdrawn` alone. Times are in seconds of `time.monotonic()`. A report with
a later meaning is a new type here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple


class Started(NamedTuple):
    key: int
    pid: int
    """Of the main process, which leads a session of its own; 0: none on this machine."""
    at_s: float


class Refused(NamedTuple):
    """There is no process and there was none."""

    key: int
    errno: int
    text: str
    final: bool | None = None
    """Whether no retry can help. None: `errno` decides."""


class Withdrawn(NamedTuple):
    """It stood behind another attempt and will not begin."""

    key: int


class Output(NamedTuple):
    """`data` is in the log of `stream` (1: stdout, 2: stderr) at `offset`."""

    key: int
    stream: int
    offset: int
    data: bytes


class LogFailed(NamedTuple):
    """Output from here on is lost. Once per stream."""

    key: int
    stream: int
    errno: int
    text: str


class Exited(NamedTuple):
    """The main process has ended, all others of the job are killed, and all output is reported."""

    key: int
    code: int
    """The exit code, or the negative number of a signal."""
    at_s: float
    cpu_s: float = 0.0
    peak_bytes: int = 0
    dropped_stdout: int = 0
    """Bytes over the limit of the log."""
    dropped_stderr: int = 0
    leftover: int = 0
    """Processes that the main one had left, and that were killed."""


class Lost(NamedTuple):
    """The warden of a helper process died and the process was killed. Attempts are told of
    together: see `Supervisor`."""

    key: int
    spared: bool
    """Another process under that warden may have done it."""


Report = Started | Refused | Withdrawn | Output | LogFailed | Exited | Lost
Sink = Callable[[Report], None]
LAST = (Exited, Refused, Withdrawn)
"""The types after which nothing is reported of a process any more."""

_TYPES: dict[str, Callable[[Iterable[Any]], Report]] = {
    "started": Started._make,
    "refused": lambda fields: Refused(*fields),
    "withdrawn": Withdrawn._make,
    "output": Output._make,
    "log_failed": LogFailed._make,
    "exited": Exited._make,
}
"""Name on the wire -> how its type is made."""


def typed(report: tuple[Any, ...]) -> Report:
    """From the form on the wire, (name, fields). Raises ValueError for what is no report of a
    process."""
    make = _TYPES.get(report[0])
    if make is None:
        raise ValueError(f"{report[0]!r} is no report of a process")
    return make(report[1:])
