"""What a running job can ask of Titan: `from titan import context`.

    context.run, context.job, context.attempt       who it is
    context.progress(0.4, "epoch 4 of 10")          how far it is: `titan status`, watchers
    context.status("warming up")                    what it says of itself; kept
    context.result({"accuracy": 0.93})              what it comes to: `titan result`, `Run.result`, calls that are given it
    context.value_of("prepare")                     what an earlier job of its run came to
    context.store                                   TitanStore, keys of its run alone
    context.shared_store                            TitanStore, keys that all runs and clients share
    context.submit, context.expand                  more jobs for its run, see `titan.sdk.additions`
    context.submit_saved                            and those of a saved pipeline
    context.publish(key, path)                      a file or folder, for its run or (shared=True) for all
    context.artifact(key).download(path)            what is published under a key

>>> from titan import context                          # doctest: +SKIP
>>> context.store.incr("done")                         # doctest: +SKIP
1

It works in scripts, commands and services, in processes and threads that they start, and in calls
(call, map, task). Threads and processes that outlive their call speak for the one that runs then.
Outside of a job everything but `in_job` raises NotInJob. All goes through the job's worker, on
connections that are opened by the first use; threads may share them.
"""

from __future__ import annotations

import math
import os
import socket
import threading
import time

from titan.context import files as job_files
from titan.context.files import JobArtifact
from titan.errors import CallerError, ConnectionLost, JobFailed, LimitExceeded, StoreRefused
from titan.model.values import INLINE_BYTES, JSON, JSON_FILE, MAX_RESULT_BYTES, PIECE_BYTES, RETURNED, RETURNED_FILE
from titan.net.backoff import Backoff
from titan.net.job_link import (
    LEASE,
    READ_VALUE,
    REPORT_PROGRESS,
    SET_RESULT,
    SET_STATUS,
    SOCKET,
    JobLink,
    NotInJob,
    ask,
    first_lease,
    first_line,
)
from titan.net.job_link import own as _asks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from titan.sdk.store import Store

__all__ = [
    "NotInJob", "artifact", "ask", "attempt", "expand", "in_job", "job", "progress", "publish", "result", "run", "shared_store",
    "status", "store", "submit", "submit_saved", "value_of",
]  # fmt: skip
TEXT_BYTES = 1024
"""Of a status, or of the words beside progress."""
PATIENCE_S = 60.0
"""How long a command that was not sent yet waits for the master."""


def in_job() -> bool:
    """Whether this process is a job's, or was started by one."""
    return bool(os.environ.get(SOCKET)) and os.environ.get(LEASE, "").removeprefix("-").isdigit()


def progress(fraction: float | None, message: str = "") -> None:
    """How far this job is, 0 to 1, or None if that is not known; and at most 1 KiB of text. Costs
    some microseconds.

    Only the newest counts: it is shown within half a second by `titan status`, `titan run` and
    watchers, and is gone when the attempt ends. Raises CallerError for another number,
    LimitExceeded, NotInJob.
    """
    if fraction is None:
        given = -1.0
    else:
        if isinstance(fraction, bool) or not isinstance(fraction, (int, float)):
            raise CallerError(f"progress: {fraction!r} is no number: give 0 to 1, or None if it is not known")
        given = float(fraction)
        if math.isnan(given) or not 0.0 <= given <= 1.0:
            raise CallerError(f"progress: {fraction!r} is not between 0 and 1: give the part that is done, as done / total")
    _notes.tell(REPORT_PROGRESS, (given, _text("progress", message)))


def status(text: str) -> None:
    """What this job says of itself, in a line of up to 1 KiB: shown with the job, also when the
    attempt is over, and durable.

    "" takes it away. The master is told at most once a second: of several only the last. Raises
    LimitExceeded, NotInJob."""
    _asks.ask(SET_STATUS, (_text("status", text),))


def result(value: Any) -> None:
    """What this job comes to, if it ends well: the value set last counts, and that of an attempt
    that fails does not.

    What JSON can say and gives back as it was (None, bool, int, float, str, lists, dicts with str
    keys) travels as JSON, which `titan result` prints and any language reads; all else is pickled.
    At most 48 MiB. Read by `Run.result(job)`, `titan result`, `context.value_of(job)` in later jobs
    of the run, and given to calls of tasks that have the Job among their arguments. Raises
    CallerError for what can be neither, LimitExceeded, NotInJob; and CallerError in a call, whose
    value is what it returns.
    """
    first_lease()
    data = _as_json(value)
    as_json = data is not None
    if data is None:
        data = _pickled(value)
    set_result(data, as_json=as_json)


def set_result(data: bytes, *, as_json: bool) -> None:
    """As `result`, of a value that is JSON or a pickle already."""
    if len(data) > MAX_RESULT_BYTES:
        kind = "JSON" if as_json else "a pickle"
        told = f"result: {len(data):,} bytes as {kind}; the limit is {MAX_RESULT_BYTES:,}: write a file, or results in parts"
        raise LimitExceeded(told)
    view = memoryview(data)
    step = PIECE_BYTES if len(data) > INLINE_BYTES else INLINE_BYTES
    with _setting:
        for at in range(0, max(1, len(data)), step):
            _asks.ask(SET_RESULT, (as_json, len(data), at), view[at : at + step])


def value_of(job: str) -> Any:
    """What a job of this run came to, by its id: what it set by `result`, or returned if it is a
    call; None if it set nothing.

    It has to be COMPLETED: depend on it. What was pickled has to be importable here. Raises
    NotFound, Conflict, NotInJob.
    """
    kind, data = raw_value_of(job)
    if not kind:
        return None
    if kind == JSON:
        import json

        return json.loads(data)
    from titan.sdk.pickles import loads

    return loads(data)


def raw_value_of(job: str) -> tuple[bytes, bytes]:
    """(b"" for nothing, b"j" for JSON or b"i" for a pickle; that)."""
    for _ in range(3):
        value: bytes = _asks.ask(READ_VALUE, (0, job))[1]
        if value[:1] not in (RETURNED_FILE, JSON_FILE):
            return value[:1], value[1:]
        try:
            with open(value[1:], "rb") as file:
                return JSON if value[:1] == JSON_FILE else RETURNED, file.read()
        except FileNotFoundError:  # the worker needed its room meanwhile
            continue
    raise JobFailed(f"the value of {job} does not stay in its worker's cache long enough to be read")


def _text(what: str, text: str) -> str:
    if not isinstance(text, str):
        raise CallerError(f"{what}: {text!r} is no text")
    size = len(text.encode("utf-8", "replace"))
    if size > TEXT_BYTES:
        raise LimitExceeded(f"{what}: a text of {size:,} bytes; the limit is {TEXT_BYTES:,}: a longer one belongs in the output")
    return text


def _as_json(value: Any) -> bytes | None:
    """None if JSON cannot say it, or would give back something else."""
    import json

    try:
        text = json.dumps(value, allow_nan=False, separators=(",", ":"), ensure_ascii=False)
        return text.encode() if json.loads(text) == value else None
    except Exception:
        return None


def _pickled(value: Any) -> bytes:
    from titan.sdk.pickles import dumps

    try:
        return dumps(value)
    except Exception as first:
        told = f"result: a {type(value).__name__} can be said neither as JSON nor as a pickle ({type(first).__name__}: {first})"
        raise CallerError(f"{told}: set plain values, or write a file") from first


class _Link:
    """One connection. Commands are sent once: whether one was executed when the connection broke
    nobody knows."""

    def __init__(self, space: str) -> None:
        self._space = space
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._pid = 0
        self._of = ""
        """The run whose keys it works on, in a function runner: the next call may be another's."""

    def exchange(self, commands: list[list[bytes]]) -> list[Any]:
        from titan.sdk.store import packed_commands, replies_from

        with self._lock:
            it = self._open()
            try:
                it.sendall(packed_commands(commands))
                return replies_from(it, len(commands))
            except OSError as e:
                self._drop()
                raise ConnectionLost(f"the way to the store broke ({e}): what was asked may have been done, or not") from e

    def _open(self) -> socket.socket:
        from titan.sdk.store import greet

        lease, of = first_lease(), ""
        if lease.startswith("-") and self._space == "run":
            it = _asks.identify()
            lease, of = str(it.lease), it.run
        if self._socket is not None and self._pid == os.getpid() and self._of == of and not _is_closed(self._socket):
            return self._socket
        self._drop()
        self._of, path = of, os.environ[SOCKET]
        until, backoff = time.monotonic() + PATIENCE_S, Backoff(0.02, 1.0)
        while True:
            stream = socket.socket(socket.AF_UNIX)
            try:
                stream.connect(path)
                stream.sendall(first_line(lease, self._space))
                greet(stream)
                self._socket, self._pid = stream, os.getpid()
                return stream
            except StoreRefused as e:
                stream.close()
                raise CallerError(str(e).removeprefix("NOPERM ")) from None
            except OSError as e:
                stream.close()
                if time.monotonic() > until:
                    raise ConnectionLost(f"no master was reached through the worker for {PATIENCE_S:g} s: {e}") from e
            time.sleep(backoff.next_s())

    def _drop(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def _is_closed(sock: socket.socket) -> bool:
    """Whether the other side has hung up, as far as that is known here."""
    try:
        return sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


def publish(key: str, path: str | os.PathLike[str], *, shared: bool = False) -> JobArtifact:
    """A file or folder is published under a key of this run, `shared`: of all; durable when this
    returns.

    The newest version of a key counts. Raises CallerError for a bad key, or if nothing is there;
    LimitExceeded; EnvironmentFault.
    """
    return job_files.publish(_asks, key, path, shared=shared)


def artifact(key: str) -> JobArtifact:
    """What this run published under the key, else what is shared under it; RUN/KEY: what another
    run did. Raises NotFound."""
    return job_files.find(_asks, key)


_links = {space: _Link(space) for space in ("run", "shared")}
_notes = JobLink()
"""Of its own: progress does not wait for an answer to something else."""
_setting = threading.Lock()


def __getattr__(name: str) -> Any:
    if name in ("submit", "expand", "submit_saved"):
        from titan.sdk import additions

        return getattr(additions, name)
    if name in ("store", "shared_store"):
        from titan.sdk.store import Store

        return Store(_links["run" if name == "store" else "shared"].exchange)
    if name not in ("run", "job", "attempt"):
        raise AttributeError(f"module 'titan.context' has no attribute {name!r}")
    return getattr(_asks.identify(), name)


if TYPE_CHECKING:
    run: str
    job: str
    attempt: int
    store: Store
    shared_store: Store
    from titan.sdk.additions import expand, submit, submit_saved
