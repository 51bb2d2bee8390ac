"""Authorization on the context socket: decide which process may send requests for an attempt.

A caller needs the attempt's token and must not be a process of another attempt.

A token is a keyed hash of the lease, or of the key (below 0) of a function runner. The worker
generates the hash key at random when it starts. So nobody else can compute the 128 bits of a token,
and the worker need not store tokens. An attempt finds its token in TITAN_CONTEXT_TOKEN.

Other processes of the same user can read a token in /proc/PID/environ. So the worker also checks
the peer's pid, which the kernel reports. A process belongs to an attempt if the process or one of
its ancestors is in the session of the attempt's main process. This is reliable, because no process
can join a session from outside. A process of another attempt is refused, even with a valid token.

Where the owner of a process is unknown, the token alone decides:

- a process whose parents have all ended and that has left its session (a daemon)
- a process in another pid namespace (a container)
- a process that has ended since it connected
- any process in the 5 ms before the warden has reported the main process
"""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Callable

from titan.worker.isolated.processes import read_process

LeaseOf = Callable[[int, int], int | None]
RunnerOf = Callable[[int], int | None]
TOKEN_BYTES = 16
MOST_ANCESTORS = 64


class Callers:
    def __init__(self, key: bytes) -> None:
        """Create an empty table of main processes. `key` is the random hash key of this worker."""
        self._key = key
        self._runner_of: RunnerOf = lambda lease: None
        self._lease_of: LeaseOf = lambda key, seq: None
        self._owner: dict[int, int] = {}
        """Pid of a main process -> lease of its attempt, or key of its runner."""
        self._pid: dict[int, int] = {}

    def share(self, *, lease_of: LeaseOf, runner_of: RunnerOf) -> None:
        """Set the lookups for function runners, each of which executes many calls.

        `runner_of(lease)` returns the key of the runner that has the call, None if the lease is not
        that of a call. `lease_of(key, seq)` returns the lease of a runner's call by its sequence
        number.
        """
        self._lease_of, self._runner_of = lease_of, runner_of

    def call_of(self, key: int, seq: int) -> int | None:
        """Return the lease of call `seq` of the runner with this key. A `seq` of 0 means the
        running call."""
        return self._lease_of(key, seq)

    def token_of(self, key: int) -> str:
        return hashlib.blake2b(b"%d" % key, digest_size=TOKEN_BYTES, key=self._key).hexdigest()

    def began(self, key: int, pid: int) -> None:
        self._owner[pid] = key
        self._pid[key] = pid

    def ended(self, key: int) -> None:
        pid = self._pid.pop(key, 0)
        if self._owner.get(pid) == key:
            del self._owner[pid]

    def problem(self, lease: int, token: bytes, pid: int) -> str:
        """Return the reason why process `pid` with this token may not send requests for `lease`, ""
        if it may."""
        runner = self._runner_of(lease) if lease >= 0 else None
        holder = lease if runner is None else runner
        if not hmac.compare_digest(self.token_of(holder).encode(), token):
            return "the token is not that of this attempt: a job may speak only for itself, with its own TITAN_CONTEXT_TOKEN"
        owner = self._owner_of(pid)
        if owner is not None and owner != holder:
            return f"process {pid} belongs to another attempt: a job may speak only for itself"
        return ""

    def _owner_of(self, pid: int) -> int | None:
        """Return the lease of the attempt, or the key of the runner, that a process belongs to.
        None: unknown."""
        own = os.getpid()
        for _ in range(MOST_ANCESTORS):
            process = read_process(pid) if pid > 1 and pid != own else None
            if process is None:
                return None
            for main in (pid, process.session):
                if main in self._owner:
                    return self._owner[main]
            pid = process.parent
        return None
