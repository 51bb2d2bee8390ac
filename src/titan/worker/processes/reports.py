"""Types of reports about a process, made by wardens through their links and by every driver.

The order of reports for one key is `Started`, any number of `Output` and `LogFailed`, then one of
`Exited` and `Lost`. `Refused` and `Withdrawn` come alone. Times are in seconds of
`time.monotonic()`. A report with a new meaning is a new type in this module.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple


class Started(NamedTuple):
    key: int
    pid: int
    """Main process, which leads a session of its own. 0: no process on this machine."""
    at_s: float


class Refused(NamedTuple):
    """The process could not be started."""

    key: int
    errno: int
    text: str
    final: bool | None = None
    """True if no retry can help. None: `errno` decides."""


class Withdrawn(NamedTuple):
    """The attempt was queued behind another and will not begin."""

    key: int


class Output(NamedTuple):
    """`data` is in the log of `stream` (1: stdout, 2: stderr) at `offset`."""

    key: int
    stream: int
    offset: int
    skipped: int
    """Bytes that the job wrote before `data` and that were dropped, because the log is limited."""
    data: bytes


class LogFailed(NamedTuple):
    """Output from this point on is lost. Reported once per stream."""

    key: int
    stream: int
    errno: int
    text: str


class Exited(NamedTuple):
    """The main process has ended, the other processes of the job are killed, and all output is
    reported."""

    key: int
    code: int
    """Exit code, or the negative number of a signal."""
    at_s: float
    cpu_s: float = 0.0
    peak_bytes: int = 0
    dropped_stdout: int = 0
    """Bytes beyond the limit of the log."""
    dropped_stderr: int = 0
    leftover: int = 0
    """Number of processes that the main process left behind, which were killed."""


class Lost(NamedTuple):
    """The warden of a helper process died and the process was killed. Lost attempts are reported
    together instead: see `Supervisor`."""

    key: int
    spared: bool
    """Another process under the same warden may have caused the death."""


Report = Started | Refused | Withdrawn | Output | LogFailed | Exited | Lost
Sink = Callable[[Report], None]
LAST = (Exited, Refused, Withdrawn)
"""Types of the last report about a process."""

_TYPES: dict[str, Callable[[Iterable[Any]], Report]] = {
    "started": Started._make,
    "refused": lambda fields: Refused(*fields),
    "withdrawn": Withdrawn._make,
    "output": Output._make,
    "log_failed": LogFailed._make,
    "exited": Exited._make,
}
"""Name on the wire -> constructor of the type."""


def typed(report: tuple[Any, ...]) -> Report:
    """Return the report for its form on the wire, (name, fields). Raises ValueError for an unknown
    name."""
    make = _TYPES.get(report[0])
    if make is None:
        raise ValueError(f"{report[0]!r} is not a report of a process")
    return make(report[1:])
