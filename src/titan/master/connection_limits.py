"""Limits on the number of connections: in total, from one address, and before the handshake.

Connections, journal, snapshots and logs all need descriptors. The master therefore raises the
descriptor limit as far as the system permits, and reserves some descriptors for itself. A
connection beyond a limit gets an error and is closed.
"""

from __future__ import annotations

import ipaddress
import resource
from collections import Counter
from collections.abc import Callable

from titan.errors import LimitExceeded
from titan.model.settings import Settings
from titan.net.peer import Peer

RESERVED = 128
"""Descriptors reserved for the journal, snapshots, logs, files and the database.

The reserve is at most half of all descriptors.
"""
MOST_DESCRIPTORS = 1 << 20


def raise_descriptor_limit() -> int:
    """Raise the descriptor limit as far as the system permits. Return the new limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = MOST_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, MOST_DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
        return most
    return most if soft == resource.RLIM_INFINITY else soft


class ConnectionLimits:
    """Counter of open connections. Each connection is counted from `enter` to `leave`.

    `others()` returns the number of connections on other ports, which need descriptors too.
    """

    def __init__(self, settings: Settings, descriptors: int, others: Callable[[], int]) -> None:
        self.most = max(1, min(settings.connections, descriptors - min(RESERVED, descriptors // 2)))
        self._of_address = settings.connections_of_address
        self._waiting_most = max(1, min(settings.connections_waiting, self.most // 2))
        self._others = others
        self._inside: dict[Peer, str] = {}
        self._hosts: Counter[str] = Counter()
        self._waiting: dict[Peer, None] = {}
        """Connections before their handshake, the oldest first."""
        self.refused = 0

    @property
    def has_room(self) -> bool:
        return len(self._inside) + self._others() < self.most

    def enter(self, peer: Peer) -> Peer | None:
        """Count a new connection. Return an older connection that the caller must close, or None.

        If too many connections wait for their handshake, the oldest of them must be closed. Raises
        LimitExceeded if there is no room for the new connection.
        """
        host = peer.host
        if not self.has_room:
            self._refuse(
                f"{self.most:,} connections are open, which is the limit: raise it with --set connections=N and `ulimit -n`"
            )
        if self._hosts[host] >= self._of_address and not _is_local(host):
            self._refuse(
                f"{self._of_address:,} connections from {host} are open, which is the limit: "
                "raise it with --set connections_of_address=N"
            )
        self._inside[peer] = host
        self._hosts[host] += 1
        self._waiting[peer] = None
        return next(iter(self._waiting)) if len(self._waiting) > self._waiting_most else None

    def greet(self, peer: Peer) -> None:
        """Record that the handshake of a connection is done."""
        self._waiting.pop(peer, None)

    def leave(self, peer: Peer) -> None:
        self._waiting.pop(peer, None)
        host = self._inside.pop(peer, None)
        if host is not None:
            self._hosts[host] -= 1
            if not self._hosts[host]:
                del self._hosts[host]

    def _refuse(self, why: str) -> None:
        self.refused += 1
        raise LimitExceeded(why)


def _is_local(host: str) -> bool:
    """Return whether the host is the local machine, whose processes and jobs share one address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
