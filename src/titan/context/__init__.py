"""Functions for a running job: `from titan import context`.

    context.run, context.job, context.attempt       ids of the run and the job, attempt number
    context.progress(0.4, "epoch 4 of 10")          report progress: `titan status`, watchers
    context.status("warming up")                    set a status text, which is kept
    context.result({"accuracy": 0.93})              set the result: `titan result`, `Run.result`
    context.value_of("prepare")                     result of an earlier job of the run
    context.store                                   TitanStore: keys of the run
    context.shared_store                            TitanStore: keys shared by all runs and clients
    context.submit, context.expand                  add jobs to the run: `titan.sdk.additions`
    context.submit_saved                            add the jobs of a saved pipeline
    context.publish(key, path)                      publish a file or folder for the run
    context.publish(key, path, shared=True)         publish it for all runs
    context.artifact(key).download(path)            download a published file or folder

>>> from titan import context                          # doctest: +SKIP
>>> context.store.incr("done")                         # doctest: +SKIP
1

The module works in scripts, commands and services, in processes and threads that they start, and in
calls (call, map, task). A thread or process that outlives its call acts for the call that its
function runner executes at that time.

Outside of a job, every function except `in_job` raises NotInJob. All requests go through the job's
worker. The first request opens a connection to the worker; threads may share it.
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
    is_closed,
)
from titan.net.job_link import own as _job_link

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from titan.sdk.store import Store

__all__ = [
    "NotInJob", "artifact", "ask", "attempt", "expand", "in_job", "job", "progress", "publish", "result", "run", "shared_store",
    "status", "store", "submit", "submit_saved", "value_of",
]  # fmt: skip
TEXT_BYTES = 1024
"""Limit of a status text and of a progress message."""
PATIENCE_S = 60.0
"""Seconds for which a store command waits for a connection to the store before it fails."""


def in_job() -> bool:
    """Return True if this process belongs to a job, or was started by such a process."""
    return bool(os.environ.get(SOCKET)) and os.environ.get(LEASE, "").removeprefix("-").isdigit()


def progress(fraction: float | None, message: str = "") -> None:
    """Report the progress of this job. Costs some microseconds.

    `fraction` is 0 to 1, or None if it is not known. `message` is at most 1 KiB.

    Only the newest report counts. `titan status`, `titan run` and watchers show it within half a
    second. The report disappears when the attempt ends. Raises CallerError for a fraction that is
    not between 0 and 1, LimitExceeded for a longer message, NotInJob.
    """
    if fraction is None:
        value = -1.0
    else:
        if isinstance(fraction, bool) or not isinstance(fraction, (int, float)):
            raise CallerError(f"progress: {fraction!r} is not a number: give 0 to 1, or None if it is not known")
        value = float(fraction)
        if math.isnan(value) or not 0.0 <= value <= 1.0:
            raise CallerError(f"progress: {fraction!r} is not between 0 and 1: give the fraction done / total")
    _progress_link.tell(REPORT_PROGRESS, (value, _text("progress", message)))


def status(text: str) -> None:
    """Set the status text of this job: one line of up to 1 KiB.

    The text is durable, and is shown with the job even after the attempt has ended. "" clears the
    text. The worker sends the master at most one text per second, always the newest. Raises
    LimitExceeded, NotInJob.
    """
    _job_link.ask(SET_STATUS, (_text("status", text),))


def result(value: Any) -> None:
    """Set the result of this job. The result counts only if the job succeeds.

    - The last value that was set counts. The value of a failed attempt is dropped.
    - A value that JSON returns unchanged is stored as JSON: None, bool, int, float, str, lists,
      dicts with str keys. `titan result` prints such a value, and a program in any language can
      read it. All other values are pickled.
    - The limit is 48 MiB.
    - Readers are `Run.result(job)`, `titan result`, and `context.value_of(job)` in later jobs of
      the run. A task call with the Job among its arguments receives the value.

    Raises LimitExceeded, NotInJob, and CallerError if the value can be neither JSON nor a pickle.
    In a call, `result` raises CallerError, because the result of a call is its return value.
    """
    first_lease()
    data = _as_json(value)
    as_json = data is not None
    if data is None:
        data = _pickled(value)
    set_result(data, as_json=as_json)


def set_result(data: bytes, *, as_json: bool) -> None:
    """Set the result to a value that is already JSON or a pickle. See `result`."""
    if len(data) > MAX_RESULT_BYTES:
        kind = "JSON" if as_json else "a pickle"
        raise LimitExceeded(
            f"result: {len(data):,} bytes as {kind}; the limit is {MAX_RESULT_BYTES:,}: write a file, or split the result"
        )
    view = memoryview(data)
    step = PIECE_BYTES if len(data) > INLINE_BYTES else INLINE_BYTES
    with _result_lock:
        for at in range(0, max(1, len(data)), step):
            _job_link.ask(SET_RESULT, (as_json, len(data), at), view[at : at + step])


def value_of(job: str) -> Any:
    """Return the result of another job of this run, by its id.

    The result is the value set by `result`, or the return value of a call; None if the job set no
    result. The job must be COMPLETED, so this job should depend on it. The classes in a pickled
    value must be importable here. Raises NotFound, Conflict, NotInJob.
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
    """Return (kind, data) of a job's result.

    The kind is b"j" for JSON, b"i" for a pickle, or b"" for no result.
    """
    for _ in range(3):
        value: bytes = _job_link.ask(READ_VALUE, (0, job))[1]
        if value[:1] not in (RETURNED_FILE, JSON_FILE):
            return value[:1], value[1:]
        try:
            with open(value[1:], "rb") as file:
                return JSON if value[:1] == JSON_FILE else RETURNED, file.read()
        except FileNotFoundError:  # the worker has evicted the file meanwhile
            continue
    raise JobFailed(f"the value of {job} was evicted from the worker's cache before it could be read: try again")


def _text(function: str, text: str) -> str:
    if not isinstance(text, str):
        raise CallerError(f"{function}: {text!r} is not a string")
    size = len(text.encode("utf-8", "replace"))
    if size > TEXT_BYTES:
        raise LimitExceeded(f"{function}: a text of {size:,} bytes; the limit is {TEXT_BYTES:,}: print longer texts instead")
    return text


def _as_json(value: Any) -> bytes | None:
    """Return the value as JSON; None if JSON cannot express it or would change it."""
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
    except Exception as error:
        problem = f"a {type(value).__name__} can be neither JSON nor a pickle ({type(error).__name__}: {error})"
        raise CallerError(f"result: {problem}: set plain values, or write a file") from error


class _StoreConnection:
    """Connection to the store, opened by the first command.

    A command is sent only once. If the connection breaks, the command may or may not have been
    executed.
    """

    def __init__(self, space: str) -> None:
        self._space = space
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._pid = 0
        self._run = ""
        """Run whose keys the connection accesses.

        In a function runner, the next call may belong to another run and needs a new connection.
        """

    def exchange(self, commands: list[list[bytes]]) -> list[Any]:
        from titan.sdk.store import packed_commands, replies_from

        with self._lock:
            stream = self._open()
            try:
                stream.sendall(packed_commands(commands))
                return replies_from(stream, len(commands))
            except OSError as e:
                self._drop()
                raise ConnectionLost(
                    f"the connection to the store broke ({e}): the command may or may not have been executed"
                ) from e

    def _open(self) -> socket.socket:
        from titan.sdk.store import greet

        lease, run = first_lease(), ""
        if lease.startswith("-") and self._space == "run":
            identity = _job_link.identify()
            lease, run = str(identity.lease), identity.run
        if self._socket is not None and self._pid == os.getpid() and self._run == run and not is_closed(self._socket):
            return self._socket
        self._drop()
        self._run, path = run, os.environ[SOCKET]
        deadline, backoff = time.monotonic() + PATIENCE_S, Backoff(0.02, 1.0)
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
                if time.monotonic() > deadline:
                    raise ConnectionLost(f"the worker has not reached a master for {PATIENCE_S:g} s: {e}") from e
            time.sleep(backoff.next_s())

    def _drop(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def publish(key: str, path: str | os.PathLike[str], *, shared: bool = False) -> JobArtifact:
    """Publish a file or folder under a key of this run, or with `shared` under a key for all runs.

    The artifact is durable when this returns. Readers of a key get its newest version. Raises
    CallerError for a malformed key or a missing path, LimitExceeded, EnvironmentFault.
    """
    return job_files.publish(_job_link, key, path, shared=shared)


def artifact(key: str) -> JobArtifact:
    """Return the artifact that this run published under the key, else the shared one.

    The key RUN/KEY names an artifact of another run. Raises NotFound.
    """
    return job_files.find(_job_link, key)


_store_connections = {space: _StoreConnection(space) for space in ("run", "shared")}
_progress_link = JobLink()
"""Separate connection for progress, so that a report never waits for the answer to a request."""
_result_lock = threading.Lock()


def __getattr__(name: str) -> Any:
    if name in ("submit", "expand", "submit_saved"):
        from titan.sdk import additions

        return getattr(additions, name)
    if name in ("store", "shared_store"):
        from titan.sdk.store import Store

        return Store(_store_connections["run" if name == "store" else "shared"].exchange)
    if name not in ("run", "job", "attempt"):
        raise AttributeError(f"module 'titan.context' has no attribute {name!r}")
    return getattr(_job_link.identify(), name)


if TYPE_CHECKING:
    run: str
    job: str
    attempt: int
    store: Store
    shared_store: Store
    from titan.sdk.additions import expand, submit, submit_saved
