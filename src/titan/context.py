"""What a running job can ask of Titan: `from titan import context`.

    context.run, context.job, context.attempt       who it is
    context.store                                   TitanStore, keys of its run alone
    context.shared_store                            TitanStore, keys that all runs and clients share

>>> from titan import context                          # doctest: +SKIP
>>> context.store.incr("done")                         # doctest: +SKIP
1

Outside of a job everything but `in_job` raises NotInJob. Commands go through the job's worker, on a connection that is opened by
the first; threads may share a store, and their commands wait for one another.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from typing import TYPE_CHECKING, Any

from titan.errors import CallerError, ConnectionLost

if TYPE_CHECKING:
    from titan.sdk.store import Store

__all__ = ["NotInJob", "attempt", "in_job", "job", "run", "shared_store", "store"]
PATIENCE_S = 60.0
"""How long a command that was not sent yet waits for the master."""
_SOCKET, _LEASE = "TITAN_CONTEXT", "TITAN_LEASE"


class NotInJob(CallerError):
    """This process was not started by a worker."""

    code = "not_in_job"


def in_job() -> bool:
    """Whether this process is a job's, or was started by one."""
    return _SOCKET in os.environ and os.environ.get(_LEASE, "").isdigit()


class _Link:
    """One connection. Commands are sent once: whether one was executed when the connection broke nobody knows."""

    def __init__(self, space: str) -> None:
        self._space = space
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._pid = 0

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

        if self._socket is not None and self._pid == os.getpid() and not _is_closed(self._socket):
            return self._socket
        self._drop()
        path, lease = os.environ.get(_SOCKET), os.environ.get(_LEASE, "")
        if not path or not lease.isdigit():
            raise NotInJob("this is no job of Titan: a worker sets TITAN_CONTEXT and TITAN_LEASE for those that it starts")
        until, wait = time.monotonic() + PATIENCE_S, 0.02
        while True:
            it = socket.socket(socket.AF_UNIX)
            try:
                it.connect(path)
                it.sendall(f"TITAN {lease} {self._space}\n".encode())
                greet(it)
                self._socket, self._pid = it, os.getpid()
                return it
            except OSError as e:
                it.close()
                if time.monotonic() > until:
                    raise ConnectionLost(f"no master was reached through the worker for {PATIENCE_S:g} s: {e}") from e
            time.sleep(wait)
            wait = min(1.0, wait * 2)

    def _drop(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def _is_closed(it: socket.socket) -> bool:
    """Whether the other side has hung up, as far as that is known here."""
    try:
        return it.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


_links = {space: _Link(space) for space in ("run", "shared")}


def __getattr__(name: str) -> Any:
    if name in ("store", "shared_store"):
        from titan.sdk.store import Store

        return Store(_links["run" if name == "store" else "shared"].exchange)
    variable = {"run": "TITAN_RUN", "job": "TITAN_JOB", "attempt": "TITAN_ATTEMPT"}.get(name)
    if variable is None:
        raise AttributeError(f"module 'titan.context' has no attribute {name!r}")
    if not in_job():
        raise NotInJob("this is no job of Titan")
    return int(os.environ[variable]) if name == "attempt" else os.environ[variable]


if TYPE_CHECKING:
    run: str
    job: str
    attempt: int
    store: Store
    shared_store: Store
