"""Types of reports about a process. Wardens send such reports through their links, and every driver
makes them.

The order of reports for one key is `Started`, any number of `Output` and `LogFailed`, then one of
`Exited` and `Lost`. `Refused` and `Withdrawn` are the only report for their key. Times are in
seconds of `time.monotonic()`. A report with a new meaning needs a new type in this module.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple


class Started(NamedTuple):
    key: int
    pid: int
    """Pid of the main process, which leads a session of its own. 0: no process on this machine."""
    at_s: float


class Refused(NamedTuple):
    """The process could not be started."""

    key: int
    errno: int
    text: str
    final: bool | None = None
    """True if no retry can help. None: the launcher decides by `errno`."""


class Withdrawn(NamedTuple):
    """The attempt was queued behind another attempt, and will not begin."""

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
    """The log could not be written, and later output of this stream is lost. Reported once per
    stream."""

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
    """Bytes of stdout that were dropped because of the log's limit."""
    dropped_stderr: int = 0
    leftover: int = 0
    """Number of processes that the main process left behind. They were killed."""


class Lost(NamedTuple):
    """The warden of a helper process died, and the helper process was killed. There is no such
    report for attempts: `Supervisor` reports all attempts of a dead warden together."""

    key: int
    spared: bool
    """The helper is not blamed, because another process under the same warden may have caused the
    death."""


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
"""Name in the protocol of the warden -> constructor of the type."""


def typed(report: tuple[Any, ...]) -> Report:
    """Return the typed report for a tuple of the protocol, which is a name and fields. Raises
    ValueError for an unknown name."""
    make = _TYPES.get(report[0])
    if make is None:
        raise ValueError(f"{report[0]!r} is not a report of a process")
    return make(report[1:])
