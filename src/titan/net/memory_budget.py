"""Budgets of memory over all connections of a server: what came and is not whole yet, and what was
not taken yet.

A peer by itself has its limits; a thousand that each keep to theirs could still take all the memory
there is. So the sum is bounded too. Incoming: beyond the budget nobody is read from but the one
whose message has been coming for longest, so that it can be finished; if that one stalls while
others wait, it is cut off. Outgoing: the one who leaves most unread is cut off.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from titan.errors import PeerError

INCOMING = 256 << 20
OUTGOING = 512 << 20
STALL_S = 10.0
LARGE = 1 << 20
"""Who takes up so much is not read from as soon as the budget is spent; who takes less, when it
takes more."""
_WHY = "budget"


class Sender(Protocol):
    """What a budget for incoming messages does with a connection. Hashed by identity."""

    def pause_reading(self, why: str) -> None:
        """Until `resume_reading` was called for every reason."""

    def resume_reading(self, why: str) -> None: ...

    def fail(self, error: PeerError) -> None:
        """Says why, and closes."""


class Receiver(Protocol):
    """What a budget for outgoing messages does with a connection. Hashed by identity."""

    @property
    def unwritten(self) -> int:
        """Bytes that the kernel has not taken yet."""

    @property
    def address(self) -> str: ...

    def cut(self, why: str) -> None:
        """Closes at once, for what the other end does not do."""


class Inflow:
    """Bytes of messages that are not whole yet, over all peers that note them here."""

    def __init__(self, limit: int = INCOMING) -> None:
        self.limit = limit
        self.total = 0
        self._sizes: dict[Sender, int] = {}
        """The first is the one whose message has been coming for longest."""
        self._held: dict[Sender, None] = {}
        self._watch: asyncio.TimerHandle | None = None
        self._watched: tuple[Sender, int] | None = None

    def note(self, peer: Sender, size: int) -> None:
        """So much memory does the message take up now that is coming from this peer; 0: none is."""
        before = self._sizes.get(peer, 0)
        if size == before:
            return
        self.total += size - before
        if size:
            self._sizes[peer] = size
        else:
            self._sizes.pop(peer, None)
        if self.total > self.limit:
            self._hold(peer)
            for other in [p for p, its in self._sizes.items() if its >= LARGE and p not in self._held]:
                self._hold(other)  # now: when it takes more the next time it would be too late
        if self._held:
            self._let_go()

    def forget(self, peer: Sender) -> None:
        self._held.pop(peer, None)
        self.note(peer, 0)

    def _hold(self, peer: Sender) -> None:
        if peer in self._sizes and peer is not next(iter(self._sizes)) and peer not in self._held:
            self._held[peer] = None
            peer.pause_reading(_WHY)
            if self._watch is None:
                self._watch = asyncio.get_running_loop().call_later(STALL_S, self._look)

    def _let_go(self) -> None:
        """The first may always go on, the others while there is room."""
        first = next(iter(self._sizes), None)
        room = self.total <= self.limit * 3 // 4
        for peer in [p for p in self._held if room or p is first]:
            del self._held[peer]
            peer.resume_reading(_WHY)

    def _look(self) -> None:
        """Cuts off the first if nothing came from it since the last look."""
        self._watch = None
        first = next(iter(self._sizes.items()), None)
        if not self._held or first is None:
            self._watched = None
            return
        if first == self._watched:
            self._watched = None
            first[0].fail(PeerError(f"a message of which nothing came for {STALL_S:g} s, while others wait for memory"))
            self.forget(first[0])
        else:
            self._watched = first
        self._watch = asyncio.get_running_loop().call_later(STALL_S, self._look)


class Outflow:
    """Bytes that wait to be read by the other ends, over all peers that leave many."""

    NOTED = 1 << 20
    """A peer that leaves less is not looked at."""

    def __init__(self, limit: int = OUTGOING) -> None:
        self.limit = limit
        self._peers: dict[Receiver, None] = {}

    def note(self, peer: Receiver) -> None:
        """This peer leaves more than NOTED."""
        self._peers[peer] = None
        sizes = {it: size for it in self._peers if (size := it.unwritten) > self.NOTED}
        self._peers = dict.fromkeys(sizes)
        if sum(sizes.values()) > self.limit:
            worst = max(sizes, key=lambda it: sizes[it])
            del self._peers[worst]
            worst.cut(f"{worst.address} leaves {sizes[worst] >> 20} MiB unread, and all together over {self.limit >> 20} MiB")

    def forget(self, peer: Receiver) -> None:
        self._peers.pop(peer, None)
