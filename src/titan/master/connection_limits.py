"""Who may come in: how many connections in all, of one address, and that have not said who they
are.

A descriptor is what every connection costs, and the journal, snapshots and logs need some too. So
the limit of descriptors is raised as far as the system lets us, a part of it is never given to
connections, and whoever comes beyond a cap is told and closed.
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
"""Descriptors that no connection gets, or half of all if there are few: for the journal, snapshots,
logs, files, the database."""
MOST_DESCRIPTORS = 1 << 20


def raise_descriptor_limit() -> int:
    """As far as the system lets this process; returns the limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = MOST_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, MOST_DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
        return most
    return most if soft == resource.RLIM_INFINITY else soft


class ConnectionLimits:
    """Counts connections from `enter` to `leave`. `others()`: those of other ports, which take
    descriptors too."""

    def __init__(self, settings: Settings, descriptors: int, others: Callable[[], int]) -> None:
        self.most = max(1, min(settings.connections, descriptors - min(RESERVED, descriptors // 2)))
        self._of_address = settings.connections_of_address
        self._waiting_most = max(1, min(settings.connections_waiting, self.most // 2))
        self._others = others
        self._inside: dict[Peer, str] = {}
        self._hosts: Counter[str] = Counter()
        self._waiting: dict[Peer, None] = {}
        """Those that have not said who they are, the oldest first."""
        self.refused = 0

    @property
    def has_room(self) -> bool:
        return len(self._inside) + self._others() < self.most

    def enter(self, peer: Peer) -> Peer | None:
        """Someone has dialled. Raises LimitExceeded if there is no room; returns who has to go for
        it, if anybody has."""
        host = peer.host
        if not self.has_room:
            self._refuse(f"{self.most:,} connections are open, which is the limit (--set connections=N, and `ulimit -n`)")
        if self._hosts[host] >= self._of_address and not _is_local(host):
            self._refuse(f"{self._of_address:,} connections from {host} are open, the limit (--set connections_of_address=N)")
        self._inside[peer] = host
        self._hosts[host] += 1
        self._waiting[peer] = None
        return next(iter(self._waiting)) if len(self._waiting) > self._waiting_most else None

    def greet(self, peer: Peer) -> None:
        """It has said who it is."""
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
    """All of a machine share it: processes of a private cluster, and jobs."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
