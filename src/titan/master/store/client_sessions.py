"""Store commands in messages of clients.

A connection has store lanes, which the client numbers. Each lane is a session of the store.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial

from titan.errors import CallerError, LimitExceeded
from titan.master.store.sessions import StoreClient, StoreSessions
from titan.net.peer import Peer
from titan.protocol import messages as msg
from titan.store.replies import BLOCKED, Error, Reply
from titan.store.resp import encode

LANES = 1024
"""Maximum number of store lanes of a connection."""
RESP = 3
_KILLED = Error(b"ERR the session was closed by CLIENT KILL: try again")
_OF_A_PORT = (
    b"SUBSCRIBE",
    b"PSUBSCRIBE",
    b"UNSUBSCRIBE",
    b"PUNSUBSCRIBE",
    b"MONITOR",
    b"HELLO",
    b"AUTH",
    b"CLIENT",
    b"QUIT",
    b"RESET",
)


class _Batch:
    __slots__ = ("count", "left", "out", "request")

    def __init__(self, request: int, count: int) -> None:
        self.request = request
        self.count = self.left = count
        self.out = bytearray()


class Lane(StoreClient):
    """Session of a store lane. Replies are sent in the same batches as their commands."""

    def __init__(self, sessions: StoreSessions, peer: Peer) -> None:
        super().__init__(sessions, address=peer.address)
        self.session.resp = RESP
        self.session.authenticated = True  # a client that may submit jobs may use the store too
        self._peer = peer
        self._batches: deque[_Batch] = deque()
        self._done: list[_Batch] = []
        self.closed = False

    def put(self, request: int, commands: list[list[bytes]]) -> None:
        self._batches.append(_Batch(request, len(commands)))
        self.take(commands)

    def answer(self, reply: Reply) -> None:
        if reply is BLOCKED:
            return
        batch = self._batches[0]
        encode(reply, RESP, batch.out)
        self.out = batch.out  # `StoreClient` bounds the replies in `out` that are made before they are sent
        batch.left -= 1
        if not batch.left:
            self._done.append(self._batches.popleft())

    def collect(self) -> Callable[[], None] | None:
        done, self._done, self.out = self._done, [], bytearray()
        return partial(self._send, done) if done else None

    def _send(self, done: list[_Batch]) -> None:
        for batch in done:
            self._peer.send(msg.StoreReplies(batch.request, batch.count), bytes(batch.out))

    def close(self) -> None:
        """End the session after CLIENT KILL. Each command that has no reply yet gets an error.

        The next command of the lane begins a new session.
        """
        if self.session.closed and not self.closed:
            self.closed = True
            self._waiting.clear()
            while self._batches:
                self.answer(_KILLED)
            done, self._done = self._done, []
            self._send(done)
            self._sessions.leave(self)


class ClientSessions:
    """Store lanes of all connections."""

    def __init__(self, sessions: StoreSessions) -> None:
        self._sessions = sessions
        self._lanes: dict[Peer, dict[int, Lane]] = {}

    def on_store_commands(self, peer: Peer, message: msg.StoreCommands) -> None:
        """Execute commands. Send their replies when the changes are durable.

        Raises CallerError, LimitExceeded.
        """
        if not message.commands or not all(message.commands):
            raise CallerError("a command for the store is empty")
        for command in message.commands:
            if command[0].upper() in _OF_A_PORT:
                name = command[0].decode("ascii", "replace").upper()
                raise CallerError(f"{name} is for connections to the store's port: open it with titan master --store-port 6379")
        lanes = self._lanes.setdefault(peer, {})
        lane = lanes.get(message.lane)
        if lane is None or lane.closed:
            if lane is None and len(lanes) >= LANES:
                raise LimitExceeded(f"{LANES} lanes of this connection are open: close some")
            lane = lanes[message.lane] = Lane(self._sessions, peer)
        lane.put(message.request, message.commands)

    def on_close_lane(self, peer: Peer, message: msg.CloseLane) -> None:
        lane = self._lanes.get(peer, {}).pop(message.lane, None)
        if lane is not None:
            self._sessions.leave(lane)

    def forget(self, peer: Peer) -> None:
        """End the lanes of a closed connection."""
        for lane in self._lanes.pop(peer, {}).values():
            self._sessions.leave(lane)
