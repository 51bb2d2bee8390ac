"""Who may speak for an attempt on the context socket: whoever has its token, and is none of another
attempt's processes.

A token is a keyed hash of the lease (or, below 0, of the key of a function runner) under a key that
this worker drew at its start: 128 bits that nobody else can make, and nothing to remember. An
attempt finds its own in TITAN_CONTEXT_TOKEN.

A token can be read by other processes of the same user, in /proc/PID/environ; so the kernel's word
about the peer's pid counts too. A process belongs to an attempt if it, or one of its ancestors, is
in the session of the attempt's main process, which cannot be joined from outside. What belongs to
another attempt is refused, whatever token it has. Where that cannot be decided the token alone
does: for a process whose parents have all ended and that has left its session (a daemon), one in
another pid namespace (a container), one that has ended since it connected, and in the 5 ms in which
the warden has not told who the main process is.
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
        """`key`: drawn for this worker."""
        self._key = key
        self._runner_of: RunnerOf = lambda lease: None
        self._lease_of: LeaseOf = lambda key, seq: None
        self._owner: dict[int, int] = {}
        """Main process -> whose it is."""
        self._pid: dict[int, int] = {}

    def share(self, *, lease_of: LeaseOf, runner_of: RunnerOf) -> None:
        """Hear who knows the calls of processes that have many. `runner_of`: the key of the process
        that has a call, None: it is no call. `lease_of` is the other way round."""
        self._lease_of, self._runner_of = lease_of, runner_of

    def call_of(self, key: int, seq: int) -> int | None:
        """Return the call `seq` of a process that has many; 0: the one that runs."""
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
        """Why the process `pid` with this token may not speak for it; "" if it may."""
        runner = self._runner_of(lease) if lease >= 0 else None
        holder = lease if runner is None else runner
        if not hmac.compare_digest(self.token_of(holder).encode(), token):
            return "the token is not the one of this attempt: a job speaks for itself alone, with its own TITAN_CONTEXT_TOKEN"
        owner = self._owner_of(pid)
        if owner is not None and owner != holder:
            return f"process {pid} belongs to another attempt: a job speaks for itself alone"
        return ""

    def _owner_of(self, pid: int) -> int | None:
        """None: that cannot be said."""
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
