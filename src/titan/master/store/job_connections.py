"""Connections of jobs to TitanStore, which their workers forward. Each run has its own keys.

A tunnel carries one such connection inside the connection of a worker.
"""

from __future__ import annotations

from titan.core.state.state import State
from titan.master.store.sessions import StoreClient, StoreSessions
from titan.net.peer import Peer
from titan.protocol import messages as msg
from titan.protocol.codec import Blob
from titan.store.replies import Error
from titan.store.requests import BadRequest, Requests

CONNECTIONS = 65_536
"""Maximum number of job connections of a worker."""


class _Tunnel(StoreClient):
    def __init__(self, sessions: StoreSessions, peer: Peer, number: int, address: str) -> None:
        super().__init__(sessions, address=address)
        self.requests = Requests(max_bulk_bytes=sessions.max_bulk_bytes)
        self._peer = peer
        self._number = number
        self._under_way = 0

    def write(self, data: bytes) -> None:
        self._peer.send(msg.StoreStream(self._number), data)
        self._under_way += len(data)
        if self._under_way > msg.WINDOW:
            self.ready = False

    def on_taken(self, count: int) -> None:
        self._under_way -= count
        if not self.ready and self._under_way <= msg.WINDOW // 2:
            self.ready = True
            self.go_on()

    def close(self) -> None:
        self._peer.send(msg.StoreStream(self._number, closed=True))


class StoreRelay:
    """Job connections of all workers."""

    def __init__(self, state: State, sessions: StoreSessions) -> None:
        self._state = state
        self._sessions = sessions
        self._tunnels: dict[Peer, dict[int, _Tunnel]] = {}

    def on_store_stream(self, peer: Peer, message: msg.StoreStream, blob: Blob) -> None:
        tunnels = self._tunnels.setdefault(peer, {})
        tunnel = tunnels.get(message.request)
        if tunnel is None:
            if message.closed:
                return
            tunnel = self._open(peer, peer.worker, message)
            if tunnel is None or len(tunnels) >= CONNECTIONS:
                peer.send(msg.StoreStream(message.request, closed=True))
                return
            tunnels[message.request] = tunnel
        if message.taken:
            tunnel.on_taken(message.taken)
        if message.closed:
            self._sessions.leave(tunnels.pop(message.request))
        elif blob:
            self._feed(tunnel, bytes(blob))
            peer.send(msg.StoreStream(message.request, taken=len(blob)))

    def _open(self, peer: Peer, worker: int, message: msg.StoreStream) -> _Tunnel | None:
        """Return a new tunnel, or None if the worker does not hold the lease."""
        holder = self._state.workers.get(worker)
        number = holder.held.get(message.lease) if holder is not None else None
        if number is None and (message.lease or not message.shared):
            return None
        job = self._state.jobs[number] if number is not None else None
        tunnel = _Tunnel(self._sessions, peer, message.request, f"{job.run.id}/{job.name}" if job is not None else peer.address)
        self._sessions.store.bind_job(tunnel.session, job.run.first if job is not None and not message.shared else 0)
        return tunnel

    @staticmethod
    def _feed(tunnel: _Tunnel, data: bytes) -> None:
        try:
            tunnel.take(tunnel.requests.feed(data))
        except BadRequest as error:
            tunnel.take(error.before)
            tunnel.end(Error(f"ERR Protocol error: {error}".encode("latin-1", "replace")))

    def forget(self, peer: Peer) -> None:
        """End the tunnels of a worker whose connection was closed."""
        for tunnel in self._tunnels.pop(peer, {}).values():
            self._sessions.leave(tunnel)
