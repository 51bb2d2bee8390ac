"""Requests of jobs, except store commands. They are TITAN_PROTO messages on a connection of the
context socket that the job opened with the line `TITAN LEASE job TOKEN`.

Owns these connections, their limits, and the attempt of each connection. This module must not know
the meaning of a request. A kind of request is a message (protocol/context_messages.py) with one
registration:

    handler.serve(msg.SetStatus, answer)    The worker answers: `answer(request)` calls
                                            `request.reply(...)` or raises a TitanError.
    handler.forward(msg.ReadValue)          The master answers (master/handlers/job_requests.py),
                                            and the worker sends its answer to the job.

If a forwarded message has a field `lease`, this module sets it. A message whose repetition must
have no further effect has an idempotency key in its field `key`. When the worker loses its
connection to the master, pending requests are answered with a retryable error, and the job repeats
them. A handler can also send a request of its own to the master: `handler.ask_master(request,
message, blob, on_answer)`.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from typing import Any

import msgspec

from titan.errors import CallerError, Conflict, ConnectionLost, LimitExceeded, NotFound, ProtocolError, TitanError
from titan.net.peer import Peer
from titan.protocol import messages as msg
from titan.protocol.codec import Blob, MessageDecoder, encode, error_of
from titan.worker.state_machine.attempt import Held, Phase
from titan.worker.state_machine.messages import Assignment

log = logging.getLogger("titan.worker")

PER_ATTEMPT = 64
"""Maximum number of open connections of one attempt or function runner."""
FRAME_BYTES = 16 << 20
INBOX_BYTES = 16 << 10
"""Number of bytes of one connection that are handled before other connections have their turn."""
PENDING_BYTES = 256 << 20
"""Maximum number of bytes of incomplete requests, in total over all connections."""
RATE, BURST = 1000, 2000
"""Token bucket of one connection: messages per second, and messages at once. When the bucket is
empty, the worker pauses reading from the connection."""
PAUSE_S = 0.1
UNDER_WAY = 32
"""The worker pauses reading from a connection when this many of its requests wait for the
master."""
UNDER_WAY_BYTES = 64 << 20
"""The worker refuses requests, with a retryable error, while more than this many bytes of requests
wait for the master."""
ANSWER_S = 60.0

Answer = Callable[["JobRequest", msg.Message, Blob], None]
# The warden starts a queued attempt without asking the worker, so an attempt in AHEAD may have a
# process.
_WITH_PROCESS = (Phase.STARTING, Phase.RUNNING, Phase.AHEAD)


class JobRequest:
    """Request of a job. The handler calls `reply` or `fail`, at once or later. A request with id 0
    gets no answer."""

    __slots__ = ("_connection", "blob", "lease", "message")

    def __init__(self, connection: _JobConnection, lease: int, message: Any, blob: Blob) -> None:
        self._connection = connection
        self.lease = lease
        self.message = message
        self.blob = blob

    @property
    def id(self) -> int:
        return int(self.message.request)

    def reply(self, message: msg.Message, blob: Blob | None = None) -> None:
        """Send an answer. The `request` of `message` has to be the id of this request."""
        if self.id and not self._connection.peer.closed:
            self._connection.peer.send(message, blob)

    def forward_answer(self, answer: msg.Message, blob: Blob = b"") -> None:
        """Send the master's answer, which may be an Error, to the job."""
        self.reply(msgspec.structs.replace(answer, request=self.id), bytes(blob) if blob else None)

    def fail(self, error: TitanError) -> None:
        self.reply(error_of(self.id, error))


class _JobConnection:
    """A job's connection. `first` is the number in its first line: a lease, or (below 0) the key of
    a function runner."""

    def __init__(self, first: int, lease: int, now: float) -> None:
        self.first = first
        self.lease = lease
        self.peer: Peer
        self.pending = 0
        self.credit = float(BURST)
        self.credited_at = now
        self.slowed = False
        self.under_way = 0


class _JobPeer(Peer):
    def __init__(self, handler: ContextHandler, connection: _JobConnection) -> None:
        decoder = MessageDecoder(FRAME_BYTES, FRAME_BYTES, INBOX_BYTES)
        super().__init__(handler._on_message, handler._on_closed, decoder=decoder)
        self._handler = handler
        self._connection = connection

    def buffer_updated(self, nbytes: int) -> None:
        super().buffer_updated(nbytes)
        if not self.closed:
            self._handler._bound(self._connection)


class _ForwardedRequest:
    """A request that waits for the master's answer."""

    __slots__ = ("due", "on_answer", "request", "size")

    def __init__(self, request: JobRequest, on_answer: Answer, size: int, due: float) -> None:
        self.request = request
        self.on_answer = on_answer
        self.size = size
        self.due = due


class ContextHandler:
    def __init__(
        self,
        held: dict[int, Held],
        *,
        master: Callable[[], Peer | None],
        next_request: Callable[[], int],
    ) -> None:
        """Create a handler without connections. `held` are the worker's attempts. `master()`
        returns the registered connection, None if there is none."""
        self._held = held
        self.lease_of: Callable[[int, int], int | None] = lambda key, seq: None
        """(runner key, seq) -> lease of the call. A `seq` of 0 means the running call."""
        self._master = master
        self._next_request = next_request
        self._handlers: dict[type[msg.Message], Callable[[JobRequest], None]] = {}
        self._connections: dict[Peer, _JobConnection] = {}
        self._per_attempt: Counter[int] = Counter()
        self._pending = 0
        self._forwarded: dict[int, _ForwardedRequest] = {}
        self._under_way = 0
        self._sweeper: asyncio.TimerHandle | None = None
        self.serve(msg.WhoAmI, self._on_who)

    def serve(self, kind: type[msg.Message], handler: Callable[[JobRequest], None]) -> None:
        assert kind not in self._handlers, kind
        self._handlers[kind] = handler

    def forward(self, *kinds: type[msg.Message]) -> None:
        """Forward messages of these kinds to the master, which answers them."""
        for kind in kinds:
            self.serve(kind, lambda request: self.ask_master(request, request.message, request.blob))

    def assignment(self, lease: int) -> Assignment | None:
        """Return the assignment of an attempt that has or may have a process, None otherwise."""
        held = self._held.get(lease)
        return held.assignment if held is not None and held.phase in _WITH_PROCESS and not held.orphaned else None

    # -- connections -------------------------------------------------------------------------------
    def adopt(self, first: int, transport: asyncio.Transport, rest: bytes, problem: str) -> None:
        """Take over a connection whose first line has the number `first`. `rest` are the bytes
        after that line. `problem` is the reason to refuse the caller, "" if the caller is
        authorized."""
        lease = first if first >= 0 else self.lease_of(first, 0) or 0
        connection = _JobConnection(first, lease, asyncio.get_running_loop().time())
        connection.peer = peer = _JobPeer(self, connection)
        self._connections[peer] = connection
        self._per_attempt[first] += 1
        transport.set_protocol(peer)
        peer.connection_made(transport)
        if problem:
            self._refuse(peer, CallerError(problem))
        elif self.assignment(connection.lease) is None:
            self._refuse(peer, Conflict("this attempt has ended, or was taken from this worker"))
        elif self._per_attempt[first] > PER_ATTEMPT:
            self._refuse(peer, LimitExceeded(f"this job has {PER_ATTEMPT} open connections, the limit: close some"))
        while rest and not peer.closed:
            space = peer.get_buffer(len(rest))
            count = min(len(space), len(rest))
            space[:count] = rest[:count]
            peer.buffer_updated(count)
            rest = rest[count:]

    @staticmethod
    def _refuse(peer: Peer, error: TitanError) -> None:
        peer.send(error_of(0, error))
        peer.close()

    def _on_closed(self, peer: Peer, error: Exception | None) -> None:
        connection = self._connections.pop(peer, None)
        if connection is None:
            return
        self._pending -= connection.pending
        self._per_attempt[connection.first] -= 1
        if not self._per_attempt[connection.first]:
            del self._per_attempt[connection.first]
        if isinstance(error, TitanError):
            log.info("a connection of lease %d was closed: %s", connection.lease, error)

    def _on_message(self, peer: Peer, message: msg.Message, blob: Blob) -> None:
        connection = self._connections[peer]
        now = asyncio.get_running_loop().time()
        connection.credit = min(BURST, connection.credit + (now - connection.credited_at) * RATE) - 1
        connection.credited_at = now
        request = JobRequest(connection, connection.lease, message, blob)
        try:
            if self.assignment(connection.lease) is None and not (connection.first < 0 and isinstance(message, msg.WhoAmI)):
                raise Conflict("this attempt has ended, or was taken from this worker: its messages no longer count")
            handler = self._handlers.get(type(message))
            if handler is None:
                raise ProtocolError(f"a job may not send a {type(message).__name__}")
            handler(request)
        except TitanError as e:
            request.fail(e)
        except OSError as e:
            log.error("a %s of lease %d could not be served: %s", type(message).__name__, connection.lease, e)
            request.fail(ConnectionLost(f"the worker's disk refused the request: {e}"))

    def _bound(self, connection: _JobConnection) -> None:
        """Apply the limits of memory and rate after bytes were read."""
        self._pending += connection.peer.pending - connection.pending
        connection.pending = connection.peer.pending
        if self._pending > PENDING_BYTES:
            self._refuse(connection.peer, _Busy("the requests of this worker's jobs take too much memory: try again later"))
        elif not connection.slowed and (connection.credit < 0 or connection.peer.congested):
            connection.slowed = True
            connection.peer.pause_reading("rate")
            asyncio.get_running_loop().call_later(PAUSE_S, self._go_on, connection)

    def _go_on(self, connection: _JobConnection) -> None:
        """Resume reading if the job reads its answers. Otherwise check again after PAUSE_S."""
        if connection.peer.congested and not connection.peer.closed:
            asyncio.get_running_loop().call_later(PAUSE_S, self._go_on, connection)
        else:
            connection.slowed = False
            connection.peer.resume_reading("rate")

    def _on_who(self, request: JobRequest) -> None:
        connection = request._connection
        if connection.first < 0:
            lease = self.lease_of(connection.first, request.message.seq)
            if lease is None:
                raise NotFound("this call has ended")
            connection.lease = lease
        assignment = self.assignment(connection.lease)
        if assignment is None:
            raise Conflict("this attempt has ended, or was taken from this worker")
        request.reply(
            msg.Identity(
                request.id, assignment.lease, assignment.run, assignment.job, assignment.attempt, assignment.template.archive
            )
        )

    # -- the master --------------------------------------------------------------------------------
    def ask_master(self, request: JobRequest, message: Any, blob: Blob | None = None, on_answer: Answer | None = None) -> None:
        """Send a message to the master for a job's request, under a request number of the worker.

        `on_answer(request, answer, blob)` handles the answer. Without it the answer, perhaps an
        Error, is sent to the job. Raises ConnectionLost, LimitExceeded.
        """
        master = self._master()
        if master is None:
            raise ConnectionLost("the worker has no connection to the master at the moment: try again later")
        if self._under_way > UNDER_WAY_BYTES:
            raise _Busy(f"{self._under_way >> 20} MiB of requests wait for the master: try again later")
        number = self._next_request()
        fields = {"request": number} | ({"lease": request.lease} if "lease" in message.__struct_fields__ else {})
        frame = encode(msgspec.structs.replace(message, **fields), blob if blob else None, compress=master.compress)
        due = asyncio.get_running_loop().time() + ANSWER_S
        self._forwarded[number] = _ForwardedRequest(request, on_answer or JobRequest.forward_answer, len(frame), due)
        self._under_way += len(frame)
        request._connection.under_way += 1
        if request._connection.under_way >= UNDER_WAY:
            request._connection.peer.pause_reading("master")
        master.write(frame)
        if self._sweeper is None:
            self._sweeper = asyncio.get_running_loop().call_later(ANSWER_S / 4, self._sweep)

    def take_answer(self, message: msg.Message, blob: Blob) -> bool:
        """Handle a message of the master. Return whether it answers a request of a job."""
        forwarded = self._take(message.request) if message.request in self._forwarded else None
        if forwarded is None:
            return False
        try:
            forwarded.on_answer(forwarded.request, message, blob)
        except TitanError as e:
            forwarded.request.fail(e)
        return True

    def disconnected(self) -> None:
        for number in list(self._forwarded):
            forwarded = self._take(number)
            forwarded.request.fail(
                ConnectionLost("the master disconnected before it answered: the request may or may not have been done")
            )

    def _take(self, number: int) -> _ForwardedRequest:
        forwarded = self._forwarded.pop(number)
        connection = forwarded.request._connection
        self._under_way -= forwarded.size
        connection.under_way -= 1
        if connection.under_way < UNDER_WAY:
            connection.peer.resume_reading("master")
        return forwarded

    def _sweep(self) -> None:
        """Fail requests that the master has not answered in time."""
        loop = asyncio.get_running_loop()
        self._sweeper = None
        for number in [number for number, forwarded in self._forwarded.items() if forwarded.due <= loop.time()]:
            self._take(number).request.fail(ConnectionLost(f"the master has not answered for {ANSWER_S:g} s"))
        if self._forwarded:
            self._sweeper = loop.call_later(ANSWER_S / 4, self._sweep)

    def close(self) -> None:
        if self._sweeper is not None:
            self._sweeper.cancel()
        for peer in list(self._connections):
            peer.abort()


class _Busy(LimitExceeded):
    retryable = True
