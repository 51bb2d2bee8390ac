"""Handshake: Hello and Welcome, and the negotiation of the protocol version."""

from __future__ import annotations

from titan.errors import ProtocolError, VersionMismatch
from titan.protocol.frames import VERSION
from titan.protocol.messages import Hello, Message, Welcome

ROLES = ("client", "worker")
FEATURES = ("zstd",)


MAX_USER = 128


def hello(role: str, software: str, user: str = "") -> Hello:
    assert role in ROLES, role
    return Hello(1, role, VERSION, software, FEATURES, user[:MAX_USER])


def answer(first: Message, *, software: str, cluster: str, term: int, now: float = 0.0, content: str = "") -> Welcome:
    """Return the master's answer to a peer's first message.

    Versions may differ by one; both sides then use the lower one. Raises ProtocolError if the
    message is not a Hello, VersionMismatch if the versions differ by more.
    """
    if not isinstance(first, Hello):
        raise ProtocolError(f"the first message must be a Hello, not a {type(first).__name__}")
    if first.role not in ROLES:
        raise ProtocolError(f"a Hello with the role {first.role[:40]!r}: roles are {' and '.join(ROLES)}")
    if first.version < 1 or abs(first.version - VERSION) > 1:
        raise VersionMismatch(
            f"the peer ({first.software[:40]}) speaks version {first.version} of TITAN_PROTO, the master ({software}) "
            f"version {VERSION}; they may differ by one: upgrade the older"
        )
    features = tuple(f for f in first.features if f in FEATURES)
    return Welcome(first.request, min(first.version, VERSION), software, cluster, term, features, now, content)
