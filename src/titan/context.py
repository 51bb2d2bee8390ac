"""What a running job can ask of Titan: `from titan import context`.

    context.run, context.job, context.attempt       who it is
    context.store                                   TitanStore, keys of its run alone
    context.shared_store                            TitanStore, keys that all runs and clients share
    context.submit, context.expand                  more jobs for its run, see `titan.sdk.growing`
    context.submit_saved                            and those of a saved pipeline

>>> from titan import context                          # doctest: +SKIP
>>> context.store.incr("done")                         # doctest: +SKIP
1

Outside of a job everything but `in_job` raises NotInJob. Commands go through the job's worker, on a connection that is opened by
the first; threads may share a store, and their commands wait for one another.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from titan.errors import CallerError, ConnectionLost

if TYPE_CHECKING:
    from titan.protocol.codec import MessageDecoder
    from titan.protocol.messages import Identity, Message
    from titan.sdk.store import Store

__all__ = [
    "NotInJob",
    "ask",
    "attempt",
    "expand",
    "identity",
    "in_job",
    "job",
    "run",
    "shared_store",
    "store",
    "submit",
    "submit_saved",
]
PATIENCE_S = 60.0
"""How long a command that was not sent yet waits for the master."""
_SOCKET, _LEASE = "TITAN_CONTEXT", "TITAN_LEASE"


class NotInJob(CallerError):
    """This process was not started by a worker."""

    code = "not_in_job"


def in_job() -> bool:
    """Whether this process is a job's, or was started by one."""
    return _SOCKET in os.environ and bool(_lease())


def _lease() -> str:
    """What the worker knows the attempt by, "" if there is none. Of a call: its runner, and which one of that it is."""
    text = os.environ.get(_LEASE, "")
    if text.isdigit():
        return text
    marks = getattr(sys, "_titan_marks", None)
    return f"{text}:{marks[0]}" if marks is not None and text.removeprefix("-").isdigit() else ""


class _Link:
    """One connection. Commands are sent once: whether one was executed when the connection broke nobody knows."""

    def __init__(self, space: str) -> None:
        self._space = space
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._whose = (0, "")

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

    def _greet(self, it: socket.socket) -> None:
        from titan.sdk.store import greet

        greet(it)

    def _open(self) -> socket.socket:
        whose = os.getpid(), _lease()
        if self._socket is not None and self._whose == whose and not _is_closed(self._socket):
            return self._socket
        self._drop()
        path, lease = os.environ.get(_SOCKET), whose[1]
        if not path or not lease:
            raise NotInJob("this is no job of Titan: a worker sets TITAN_CONTEXT and TITAN_LEASE for those that it starts")
        until, wait = time.monotonic() + PATIENCE_S, 0.02
        while True:
            it = socket.socket(socket.AF_UNIX)
            try:
                it.connect(path)
                it.sendall(f"TITAN {lease} {self._space}\n".encode())
                self._greet(it)
                self._socket, self._whose = it, whose
                return it
            except OSError as e:
                it.close()
                if time.monotonic() > until:
                    raise ConnectionLost(f"no master was reached through the worker for {PATIENCE_S:g} s: {e}") from e
            time.sleep(wait)
            wait = min(1.0, wait * 2)

    def _drop(self) -> None:
        """A child that was forked has its own, and leaves this one as it is."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


class _Channel(_Link):
    """The way to the worker: requests and answers, one at a time."""

    def __init__(self) -> None:
        super().__init__("job")
        self._requests = 0
        self._decoder: MessageDecoder | None = None

    def _greet(self, it: socket.socket) -> None:
        from titan.protocol.codec import MessageDecoder

        self._decoder = MessageDecoder()

    def ask(self, make: Callable[[int], Message], blob: bytes | None = None, *, answered: bool = True) -> Message | None:
        """Sends the message that is made of a request number, and returns the answer. Said again if the way breaks.

        Without `answered` it does not wait: there is no answer. Raises what the answer says, ConnectionLost, NotInJob.
        """
        from titan.errors import from_code
        from titan.protocol import messages as msg
        from titan.protocol.codec import encode

        until = time.monotonic() + PATIENCE_S
        with self._lock:
            while True:
                it = self._open()
                self._requests += 1
                try:
                    it.sendall(encode(make(self._requests), blob))
                    answer = self._answer(it, self._requests) if answered else None
                except OSError as e:
                    self._drop()
                    if time.monotonic() > until:
                        raise ConnectionLost(f"the way to the worker broke: {e}") from e
                    continue
                if isinstance(answer, msg.Error):
                    if answer.retryable and time.monotonic() < until:
                        time.sleep(0.1)
                        continue
                    raise from_code(answer.code, answer.message)
                return answer

    def _answer(self, it: socket.socket, request: int) -> Message:
        from titan.protocol.codec import Misfit

        assert self._decoder is not None
        while True:
            data = it.recv(1 << 16)
            if not data:
                raise ConnectionResetError("the worker hung up")
            for received in self._decoder.receive_data(data):
                if isinstance(received, Misfit):
                    raise ConnectionResetError(str(received.error))
                if received.message.request == request:
                    return received.message


def _is_closed(it: socket.socket) -> bool:
    """Whether the other side has hung up, as far as that is known here."""
    try:
        return it.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


_links = {space: _Link(space) for space in ("run", "shared")}
_channel = _Channel()
_identity: tuple[tuple[int, str], Any] | None = None


def ask(make: Callable[[int], Message], blob: bytes | None = None) -> Message:
    """Asks the worker, or through it the master; see `titan.worker.job_desk`. For the other parts of the SDK."""
    answer = _channel.ask(make, blob)
    assert answer is not None
    return answer


def identity() -> Identity:
    """Which job this is, as the worker knows it. Raises NotInJob."""
    global _identity
    from titan.protocol import messages as msg

    whose = os.getpid(), _lease()
    if _identity is None or _identity[0] != whose:
        _identity = whose, ask(msg.WhoAmI)
    known = _identity[1]
    assert isinstance(known, msg.Identity)
    return known


def __getattr__(name: str) -> Any:
    if name in ("submit", "expand", "submit_saved"):
        from titan.sdk import growing

        return getattr(growing, name)
    if name in ("store", "shared_store"):
        from titan.sdk.store import Store

        return Store(_links["run" if name == "store" else "shared"].exchange)
    variable = {"run": "TITAN_RUN", "job": "TITAN_JOB", "attempt": "TITAN_ATTEMPT"}.get(name)
    if variable is None:
        raise AttributeError(f"module 'titan.context' has no attribute {name!r}")
    if not in_job():
        raise NotInJob("this is no job of Titan")
    if variable not in os.environ:  # a call
        return getattr(identity(), name)
    return int(os.environ[variable]) if name == "attempt" else os.environ[variable]


if TYPE_CHECKING:
    run: str
    job: str
    attempt: int
    store: Store
    shared_store: Store
    from titan.sdk.growing import expand, submit, submit_saved
