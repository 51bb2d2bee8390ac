"""Base class of simulated users, who have a connection to the master.

A user sends all unanswered requests. If an answer is late, the user sends the requests again or
opens a new connection. After a connection breaks, the user also opens a new connection.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from titan.protocol import messages as pm
from titan.protocol.codec import MessageDecoder, Misfit, encode
from titan.protocol.handshake import hello
from titan.sim.network import Connection
from titan.sim.oracle.processes import Violation
from titan.sim.oracle.records import ACTOR
from titan.sim.world import SOFTWARE, World

PATIENCE_S = 6.0


class SimUser(ABC):
    def __init__(self, world: World, host: str) -> None:
        self.world = world
        self.host = host
        self._link: Connection | None = None
        self._decoder = MessageDecoder()

    @abstractmethod
    def open_work(self) -> list[str]:
        """Describe unfinished work, one text for each item. The list must be empty at the end of a
        simulation."""

    @abstractmethod
    def _send_requests(self) -> None:
        """Send all unanswered requests, if there is a connection."""

    @abstractmethod
    def _on_message(self, message: pm.Message) -> None: ...

    def _dial(self) -> None:
        self.world.network.dial(self.host, self, self._retry)

    def _retry(self) -> None:
        self.world.clock.after(0.5 + self.world.rng.random(), self._dial)

    def _dial_or_send(self) -> None:
        if self._link is None:
            self._dial()
        else:
            self._send_requests()

    def _resend_or_hang_up(self, link: Connection) -> None:
        """Handle an answer that is late: send the requests again, or close the connection."""
        if self.world.rng.random() < 0.5:
            self._send_requests()
        else:
            self.world.network.close(link, link.up)
            self.on_closed(link)

    def _send(self, message: pm.Message) -> None:
        if self._link is not None:
            self.world.network.send(self._link, self._link.up, encode(message))

    # -- the network's side ------------------------------------------------------------------------
    def on_opened(self, link: Connection) -> None:
        self._link, self._decoder = link, MessageDecoder()
        self._send(hello("client", SOFTWARE, ACTOR))
        self._send_requests()

    def on_closed(self, link: Connection) -> None:
        if self._link is link:
            self._link = None
            if self.open_work():
                self._retry()

    def on_received(self, link: Connection, data: bytes) -> None:
        if self._link is not link:
            return
        for received in self._decoder.receive_data(data):
            if isinstance(received, Misfit):
                raise Violation(f"{self.host} cannot read an answer: {received.error}")
            self._on_message(received.message)
