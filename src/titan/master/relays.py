"""Downloads from a worker to a client that pass through the master, piece by piece.

The client reports what it has written, and the worker sends at most FILE_WINDOW bytes more. So the
master holds at most a window of each download, and only while the client reads slowly. The master
writes nothing to its disk, so a full disk does not matter.
"""

from __future__ import annotations

from titan.errors import EnvironmentFault, LimitExceeded, ProtocolError, TitanError, from_code
from titan.net.peer import Peer
from titan.protocol import messages as msg
from titan.protocol.codec import Blob, error_of

FIRST_REQUEST = 1 << 42
"""Above the request ids that workers draw, and those of other requests to workers."""
MAX_OF_CLIENT, MAX_ALL = 16, 64
"""Most downloads at once: of one connection, and of all."""


class _Relay:
    def __init__(self, number: int, client: Peer, request: int, worker: Peer, name: str, offset: int) -> None:
        self.number = number
        self.client = client
        self.request = request
        self.worker = worker
        self.name = name
        """Name of the worker."""
        self.sent = offset
        self.taken = offset


class Relays:
    def __init__(self) -> None:
        self._numbers = FIRST_REQUEST
        self._by_number: dict[int, _Relay] = {}
        self._by_client: dict[tuple[Peer, int], _Relay] = {}

    def begin(self, client: Peer, request: int, worker: Peer, name: str, offset: int) -> int:
        """Begin a download from the worker `name`. Return the request id for the worker. Raises
        LimitExceeded."""
        mine = sum(relay.client is client for relay in self._by_number.values())
        if (client, request) in self._by_client or mine >= MAX_OF_CLIENT:
            raise LimitExceeded(f"{MAX_OF_CLIENT} files are being downloaded on this connection, the limit: finish some first")
        if len(self._by_number) >= MAX_ALL:
            raise LimitExceeded(f"{MAX_ALL} files are being downloaded from workers, the limit: try again later")
        self._numbers += 1
        relay = _Relay(self._numbers, client, request, worker, name, offset)
        self._by_number[relay.number] = self._by_client[client, request] = relay
        return relay.number

    def on_piece(self, worker: Peer, message: msg.FilePiece, blob: Blob) -> bool:
        """Pass a piece on to its client. Return False if it belongs to no download of a client."""
        relay = self._by_number.get(message.request)
        if relay is None or relay.worker is not worker:
            return message.request >= FIRST_REQUEST and worker.role == "worker"
        if message.offset != relay.sent or message.offset + len(blob) > message.size:
            self._fail(relay, ProtocolError(f"worker {relay.name} sent a piece of another place than the next: try again"))
        elif message.offset + len(blob) - relay.taken > msg.FILE_WINDOW:
            self._fail(relay, ProtocolError(f"worker {relay.name} sent more than {msg.FILE_WINDOW:,} bytes at once: try again"))
        else:
            relay.sent += len(blob)
            relay.client.send(msg.FilePiece(relay.request, message.offset, message.size), blob, plain=True)
            if relay.sent >= message.size:
                self._end(relay)
        return True

    def on_taken(self, client: Peer, message: msg.FileTaken) -> bool:
        """Report to the worker what a client has written. Return False if it is for no relay."""
        relay = self._by_client.get((client, message.request))
        if relay is None:
            return False
        relay.taken = min(relay.taken + message.size, relay.sent)
        relay.worker.send(msg.FileTaken(relay.number, message.size))
        return True

    def on_stop(self, client: Peer, request: int) -> bool:
        """End a download. Return False if the client has no such download."""
        relay = self._by_client.get((client, request))
        if relay is not None:
            self._stop(relay)
        return relay is not None

    def on_error(self, worker: Peer, message: msg.Error) -> None:
        """Pass the error of a worker on to the client."""
        relay = self._by_number.get(message.request)
        if relay is not None and relay.worker is worker:
            self._end(relay)
            relay.client.send(error_of(relay.request, error_of_worker(message, relay.name)))

    def forget(self, peer: Peer) -> None:
        """End the downloads of a closed connection, from it and to it."""
        for relay in list(self._by_number.values()):
            if relay.client is peer:
                self._stop(relay)
            elif relay.worker is peer:
                self._end(relay)
                relay.client.send(error_of(relay.request, broken(relay.name)))

    def _fail(self, relay: _Relay, error: TitanError) -> None:
        self._stop(relay)
        relay.client.send(error_of(relay.request, error))

    def _stop(self, relay: _Relay) -> None:
        self._end(relay)
        if not relay.worker.closed:
            relay.worker.send(msg.StopSending(0, relay.number))

    def _end(self, relay: _Relay) -> None:
        del self._by_number[relay.number], self._by_client[relay.client, relay.request]


def broken(name: str) -> EnvironmentFault:
    return EnvironmentFault(f"the connection to worker {name} broke: try again when `titan workers` shows it as ALIVE")


def error_of_worker(message: msg.Error, name: str) -> TitanError:
    """Return the error of a worker as an error for a client. A worker of an earlier version does
    not know the request."""
    error = from_code(message.code, message.message)
    if isinstance(error, ProtocolError):
        return EnvironmentFault(f"worker {name} is of an earlier Titan that cannot show files: upgrade it")
    return error
