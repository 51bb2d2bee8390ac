"""Memory budgets over all connections of a server: for incomplete messages and for unsent bytes.

Each peer has its own limits, but a thousand peers within their limits could still take all memory.
So the sums are bounded, too.

Incoming: beyond the budget, the server reads only from the peer with the oldest incomplete message,
so that this message can be completed. If that peer stalls while others wait, the server closes its
connection. Outgoing: beyond the budget, the server closes the connection of the peer that has left
most bytes unread.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from titan.errors import PeerError

INCOMING = 256 << 20
OUTGOING = 512 << 20
STALL_S = 10.0
"""Seconds without a byte after which the oldest message counts as stalled."""
LARGE = 1 << 20
"""Bytes. When the budget is spent, peers whose incomplete message has at least this size are paused
at once. Other peers are paused when their message grows."""
_WHY = "budget"


class Sender(Protocol):
    """Interface of a connection for the budget of incoming messages. Hashed by identity."""

    def pause_reading(self, why: str) -> None:
        """Stop reading until `resume_reading` was called for every reason."""

    def resume_reading(self, why: str) -> None: ...

    def fail(self, error: PeerError) -> None:
        """Send the error, then close."""


class Receiver(Protocol):
    """Interface of a connection for the budget of outgoing messages. Hashed by identity."""

    @property
    def unwritten(self) -> int:
        """Bytes that the kernel has not accepted yet."""

    @property
    def address(self) -> str: ...

    def cut(self, why: str) -> None:
        """Close at once, without sending what is queued. `why`: the peer's fault, for the error."""


class Inflow:
    """Budget for incomplete incoming messages, over all peers that report to it."""

    def __init__(self, limit: int = INCOMING) -> None:
        self.limit = limit
        self.total = 0
        self._sizes: dict[Sender, int] = {}
        """Bytes by peer. The first peer has the oldest incomplete message."""
        self._paused: dict[Sender, None] = {}
        self._watch: asyncio.TimerHandle | None = None
        self._watched: tuple[Sender, int] | None = None

    def note(self, peer: Sender, size: int) -> None:
        """Record the size of this peer's incomplete message in bytes of memory; 0 if there is
        none."""
        before = self._sizes.get(peer, 0)
        if size == before:
            return
        self.total += size - before
        if size:
            self._sizes[peer] = size
        else:
            self._sizes.pop(peer, None)
        if self.total > self.limit:
            self._pause(peer)
            for other in [p for p, held in self._sizes.items() if held >= LARGE and p not in self._paused]:
                self._pause(other)  # pause at once, because the next `note` of this peer could come too late
        if self._paused:
            self._resume()

    def forget(self, peer: Sender) -> None:
        self._paused.pop(peer, None)
        self.note(peer, 0)

    def _pause(self, peer: Sender) -> None:
        if peer in self._sizes and peer is not next(iter(self._sizes)) and peer not in self._paused:
            self._paused[peer] = None
            peer.pause_reading(_WHY)
            if self._watch is None:
                self._watch = asyncio.get_running_loop().call_later(STALL_S, self._check_stalled)

    def _resume(self) -> None:
        """Resume the first peer. Resume the others, too, if a quarter of the budget is free."""
        first = next(iter(self._sizes), None)
        room = self.total <= self.limit * 3 // 4
        for peer in [p for p in self._paused if room or p is first]:
            del self._paused[peer]
            peer.resume_reading(_WHY)

    def _check_stalled(self) -> None:
        """Close the first peer's connection if no byte came from it since the last check."""
        self._watch = None
        first = next(iter(self._sizes.items()), None)
        if not self._paused or first is None:
            self._watched = None
            return
        if first == self._watched:
            self._watched = None
            first[0].fail(PeerError(f"the message stalled: nothing came for {STALL_S:g} s, while other peers wait for memory"))
            self.forget(first[0])
        else:
            self._watched = first
        self._watch = asyncio.get_running_loop().call_later(STALL_S, self._check_stalled)


class Outflow:
    """Budget for bytes that peers have not read yet, over all peers with more than NOTED bytes."""

    NOTED = 1 << 20
    """Bytes. A peer with fewer unread bytes is not counted."""

    def __init__(self, limit: int = OUTGOING) -> None:
        self.limit = limit
        self._peers: dict[Receiver, None] = {}

    def note(self, peer: Receiver) -> None:
        """Record that this peer has more than NOTED unread bytes."""
        self._peers[peer] = None
        sizes = {other: size for other in self._peers if (size := other.unwritten) > self.NOTED}
        self._peers = dict.fromkeys(sizes)
        if sum(sizes.values()) > self.limit:
            worst = max(sizes, key=lambda other: sizes[other])
            del self._peers[worst]
            worst.cut(
                f"{worst.address} has left {sizes[worst] >> 20} MiB unread, the most of all peers, which together have left"
                f" more than {self.limit >> 20} MiB unread"
            )

    def forget(self, peer: Receiver) -> None:
        self._peers.pop(peer, None)
