"""Connections between hosts and the master, with their faults.

Within one direction of a connection, messages keep their order. A message may be late, lost, or
arrive twice in a row. While a host is cut off, its messages in both directions wait, because TCP
would retransmit them. When a connection breaks, its messages in flight are lost and never arrive on
another connection.

TCP neither loses nor repeats data within a connection. The simulation does both, to test that the
core tolerates even a shell that drops messages by mistake.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Protocol

from titan.sim.clock import Clock
from titan.sim.scenario import Faults
from titan.sim.trace import Trace


class Endpoint(Protocol):
    def on_opened(self, link: Connection) -> None: ...

    def on_received(self, link: Connection, data: bytes) -> None: ...

    def on_closed(self, link: Connection) -> None: ...


class Pipe:
    """One direction of a connection. `open`: the receiver still listens."""

    __slots__ = ("epoch", "last", "open", "receiver", "waiting")

    def __init__(self, receiver: Endpoint) -> None:
        self.receiver = receiver
        self.open = True
        self.epoch = 0
        """Number of times that the connection broke and lost its messages in flight. A message that
        was sent in an earlier epoch never arrives."""
        self.last = 0.0
        """Arrival time of the newest message."""
        self.waiting: list[bytes | None] = []
        """Messages that arrived while the host was cut off; None is the end of the stream."""


class Connection:
    __slots__ = ("broken", "down", "host", "number", "up")

    def __init__(self, number: int, host: str, dialer: Endpoint, master: Endpoint) -> None:
        self.number = number
        self.host = host
        self.up = Pipe(master)
        self.down = Pipe(dialer)
        self.broken = False


class Network:
    def __init__(self, clock: Clock, rng: Random, trace: Trace, faults: Faults, latency_s: float) -> None:
        self.faults = faults
        self.links: dict[int, Connection] = {}
        self.cut_off: dict[str, None] = {}
        self.master: Endpoint | None = None
        """None while no master listens."""
        self._clock = clock
        self._rng = rng
        self._trace = trace
        self._latency_s = latency_s
        self._counter = 0

    def dial(self, host: str, dialer: Endpoint, refused: Callable[[], None]) -> None:
        """Connect a host to the master. Calls `dialer.on_opened` or `refused` later."""

        def arrive() -> None:
            if self.master is None:
                refused()
            elif host in self.cut_off:
                self._clock.after(3.0, refused)
            else:
                self._counter += 1
                link = self.links[self._counter] = Connection(self._counter, host, dialer, self.master)
                self.master.on_opened(link)
                dialer.on_opened(link)

        self._clock.after(self._delay(), arrive)

    def send(self, link: Connection, pipe: Pipe, data: bytes) -> None:
        if link.broken or link.number not in self.links:
            return
        if self._rng.random() < self.faults.loss:
            self._trace.count("lost")
            return
        self._carry(link, pipe, data)
        if self._rng.random() < self.faults.duplication:
            self._trace.count("duplicated")
            self._carry(link, pipe, data)

    def close(self, link: Connection, pipe: Pipe) -> None:
        """Close the connection for the sender of `pipe`.

        The messages that it has sent still arrive, and then the end of the stream. The sender
        receives nothing more.
        """
        other = link.down if pipe is link.up else link.up
        if not other.open:
            return
        other.open = False
        if not link.broken:
            self._carry(link, pipe, None)

    def vanish(self, link: Connection, pipe: Pipe) -> None:
        """Simulate a power failure of the sender of `pipe`. The other side does not notice it."""
        other = link.down if pipe is link.up else link.up
        other.open = False
        link.broken = True

    def cut(self, link: Connection) -> None:
        """Break a connection. Messages in flight are lost; each side notices at its own time."""
        link.broken = True
        for pipe in (link.up, link.down):
            pipe.epoch += 1
            pipe.waiting.clear()
            patience = 20.0 if self._rng.random() < self.faults.half_open else 2.0
            self._clock.after(self._rng.random() * patience, lambda pipe=pipe: self._end(link, pipe))  # type: ignore[misc]

    def isolate(self, host: str) -> None:
        self.cut_off[host] = None

    def heal(self, host: str) -> None:
        if host not in self.cut_off:
            return
        del self.cut_off[host]
        for link in list(self.links.values()):
            if link.host == host:
                for pipe in (link.up, link.down):
                    waiting, pipe.waiting = pipe.waiting, []
                    for data in waiting:
                        self._deliver(link, pipe, data)

    def _delay(self) -> float:
        faults, rng = self.faults, self._rng
        delay = self._latency_s * (0.5 + rng.random())
        if faults.spike and rng.random() < faults.spike:
            self._trace.count("delayed")
            delay += rng.random() * faults.spike_s
        return delay

    def _carry(self, link: Connection, pipe: Pipe, data: bytes | None) -> None:
        pipe.last = max(pipe.last, self._clock.now + self._delay())
        epoch = pipe.epoch

        def arrive() -> None:
            if pipe.epoch != epoch:
                return
            if link.host in self.cut_off:
                pipe.waiting.append(data)
            else:
                self._deliver(link, pipe, data)

        self._clock.at(pipe.last, arrive)

    def _deliver(self, link: Connection, pipe: Pipe, data: bytes | None) -> None:
        if data is None:
            self._end(link, pipe)
        elif pipe.open:
            pipe.receiver.on_received(link, data)

    def _end(self, link: Connection, pipe: Pipe) -> None:
        if pipe.open:
            pipe.open = False
            link.broken = True
            pipe.receiver.on_closed(link)
        if not link.up.open and not link.down.open:
            self.links.pop(link.number, None)
