"""What jobs ask of their worker, and through it of the master: requests and answers as TITAN_PROTO messages.

A job connects to the worker's local socket, says `TITAN LEASE job` and then what it wants, each under a request number of its
own. A kind of request is answered here (`answer(kind, handler)`) or by the master, under a number of the worker's and with the
lease filled in (`forward(kind)`). Requests to the master must bear being said twice: when the connection to it breaks, the job is
told so, and asks again. Owns who waits for which answer; must not know what a request means.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from titan.errors import CallerError, Conflict, ConnectionLost, ProtocolError, TitanError
from titan.peer import Peer
from titan.protocol import messages as msg
from titan.protocol.codec import Blob, error_of

MAX_OPEN = 64
"""Requests of one connection that may wait for the master."""

Reply = Callable[[msg.Message], None]
Handler = Callable[[int, Any, Blob, Reply], None]
"""(lease, message, blob, reply). Raises TitanError, which becomes the answer."""


class JobDesk:
    """`send`, `can_send` and `next_request` are those of the worker's connection to the master. `is_held(lease)`: whether that
    attempt is still this worker's."""

    def __init__(
        self,
        send: Callable[[msg.Message, bytes | None], None],
        can_send: Callable[[], bool],
        next_request: Callable[[], int],
        is_held: Callable[[int], bool],
    ) -> None:
        self._send = send
        self._can_send = can_send
        self._next_request = next_request
        self._is_held = is_held
        self._handlers: dict[type[msg.Message], Handler] = {}
        self._forwarded: set[type[msg.Message]] = set()
        self._waiting: dict[int, tuple[Peer, int]] = {}
        """Request to the master -> whose it is, and under which number."""
        self.peers: dict[Peer, int] = {}
        """Connections of jobs -> their leases."""

    def answer(self, kind: type[msg.Message], handler: Handler) -> None:
        self._handlers[kind] = handler

    def forward(self, *kinds: type[msg.Message]) -> None:
        self._forwarded.update(kinds)

    # -- jobs -----------------------------------------------------------------------------------------------------------
    def open(self, lease: int) -> Peer:
        """For a connection of this attempt."""
        peer = Peer(self._on_message, self._on_closed)
        self.peers[peer] = lease
        return peer

    def _on_message(self, peer: Peer, message: msg.Message, blob: Blob) -> None:
        lease = self.peers[peer]
        try:
            if not self._is_held(lease):
                raise Conflict("this attempt is over for its worker")
            handler = self._handlers.get(type(message))
            if handler is not None:
                handler(lease, message, blob, peer.send)
            elif type(message) in self._forwarded:
                self._pass_on(peer, lease, message, blob)
            else:
                raise ProtocolError(f"a {type(message).__name__} is nothing that a job asks")
        except TitanError as error:
            peer.send(error_of(message.request, error))

    def _on_closed(self, peer: Peer, error: Exception | None) -> None:
        del self.peers[peer]
        for request in [request for request, (whose, _) in self._waiting.items() if whose is peer]:
            del self._waiting[request]

    def _pass_on(self, peer: Peer, lease: int, message: msg.Message, blob: Blob) -> None:
        if not self._can_send():
            raise ConnectionLost("no master is there: ask again")
        if sum(whose is peer for whose, _ in self._waiting.values()) >= MAX_OPEN:
            raise CallerError(f"{MAX_OPEN} requests of this job wait for the master already")
        known = next((ours for ours, it in self._waiting.items() if it == (peer, message.request)), None)
        request = known if known is not None else self._next_request()  # the pieces of an upload are one request
        self._waiting[request] = peer, message.request
        fields: dict[str, Any] = {"request": request}
        if "lease" in message.__struct_fields__:
            fields["lease"] = lease
        self._send(msgspec.structs.replace(message, **fields), bytes(blob) if blob else None)

    # -- the master -----------------------------------------------------------------------------------------------------
    def heard(self, message: msg.Message) -> bool:
        """Whether that was an answer to a job's request."""
        waiting = self._waiting.pop(message.request, None) if message.request else None
        if waiting is None:
            return False
        peer, request = waiting
        peer.send(msgspec.structs.replace(message, request=request))
        return True

    def disconnected(self) -> None:
        """The master is gone: whether it has heard what it was asked nobody knows."""
        waiting, self._waiting = self._waiting, {}
        for peer, request in waiting.values():
            peer.send(error_of(request, ConnectionLost("the way to the master broke: ask again")))

    def close(self) -> None:
        for peer in list(self.peers):
            peer.abort()
