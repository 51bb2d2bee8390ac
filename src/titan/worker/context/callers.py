"""Authorization on the context socket: which process may speak for an attempt.

A caller needs the attempt's token and must not be a process of another attempt.

A token is a keyed hash of the lease, or of the key (below 0) of a function runner. The hash key is
drawn by this worker at its start. So a token has 128 bits that nobody else can make, and the worker
need not store it. An attempt finds its token in TITAN_CONTEXT_TOKEN.

Other processes of the same user can read a token in /proc/PID/environ. So the peer's pid, as the
kernel reports it, counts too. A process belongs to an attempt if it or one of its ancestors is in
the session of the attempt's main process, because nobody can join a session from outside. A process
of another attempt is refused, whatever token it has.

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
        """Create the table. `key` is random and belongs to this worker."""
        self._key = key
        self._runner_of: RunnerOf = lambda lease: None
        self._lease_of: LeaseOf = lambda key, seq: None
        self._owner: dict[int, int] = {}
        """Main process -> lease or key of its owner."""
        self._pid: dict[int, int] = {}

    def share(self, *, lease_of: LeaseOf, runner_of: RunnerOf) -> None:
        """Set the lookups for processes that have many calls.

        `runner_of` returns the key of the process that has a call, None for a lease that is not a
        call. `lease_of` returns the call of a process by its sequence number.
        """
        self._lease_of, self._runner_of = lease_of, runner_of

    def call_of(self, key: int, seq: int) -> int | None:
        """Return the call `seq` of a process that has many. 0 means the running call."""
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
        """Return why the process `pid` with this token may not speak for `lease`, "" if it may."""
        runner = self._runner_of(lease) if lease >= 0 else None
        holder = lease if runner is None else runner
        if not hmac.compare_digest(self.token_of(holder).encode(), token):
            return "the token is not that of this attempt: a job may speak only for itself, with its own TITAN_CONTEXT_TOKEN"
        owner = self._owner_of(pid)
        if owner is not None and owner != holder:
            return f"process {pid} belongs to another attempt: a job may speak only for itself"
        return ""

    def _owner_of(self, pid: int) -> int | None:
        """Return the attempt or runner that a process belongs to, None if that is unknown."""
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
