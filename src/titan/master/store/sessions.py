"""Sessions of TitanStore: execution of commands, and release of replies when they are durable.

Commands are executed at once on the store in the core's state. The next turn journals the changes
of all connections since the turn before, as one event. Replies wait until this event is durable.
Replies to reads also wait, because a read may have seen a change that is not durable yet. This
module owns sessions, expiry and timeouts. It must not know the origin or the effect of commands.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections import deque
from collections.abc import Callable, Container, Mapping
from functools import partial

from titan._version import __version__
from titan.core.inputs import StoreWritten
from titan.errors import CallerError
from titan.master.core_loop import CoreLoop
from titan.store.hooks import Hooks
from titan.store.replies import BLOCKED, NO_REPLY, OK, Error, Reply, Status
from titan.store.resp import encode
from titan.store.session import Session

log = logging.getLogger("titan.store")

AT_ONCE_BYTES = 1 << 20
"""Maximum bytes of replies that are made for a client before other clients get their turn."""
REQUESTS_AT_ONCE = 2048
"""Maximum requests of a client that are executed in one turn, which takes some milliseconds."""
EXPIRE_AT_ONCE = 200
"""Maximum keys that are expired in one turn."""
WARN_EVERY_S = 60.0


class StoreClient:
    """Client with a session. Subclasses send the replies."""

    def __init__(self, sessions: StoreSessions, *, address: str = "", local_address: str = "") -> None:
        self.session = sessions.enter(self, address, local_address)
        self.ready = True
        """True if more replies may be written. The owner calls `go_on` when `ready` becomes
        True."""
        self.out = bytearray()
        """Replies that are not released yet."""
        self.ended = False
        self.deferred = False
        """True if the client used much time and must wait for a turn with time left."""
        self.waiting_bytes = 0
        self._sessions = sessions
        self._waiting: deque[list[bytes]] = deque()
        """Requests that wait: for the end of a blocked command, for unwritten replies, or for other
        clients' turns."""

    @property
    def waiting(self) -> int:
        """Number of waiting requests."""
        return len(self._waiting)

    def take(self, requests: list[list[bytes]]) -> None:
        """Execute as many requests as possible now, in order. Keep the others waiting."""
        if self._waiting or self.session.blocked is not None or self.session.closed or not self.ready:
            self._put(requests)
            return
        if len(requests) > REQUESTS_AT_ONCE:
            self._put(requests[REQUESTS_AT_ONCE:])
            requests = requests[:REQUESTS_AT_ONCE]
            self._sessions.defer(self)
        execute, session, now = self._sessions.store.execute, self.session, self._sessions.now_ms()
        for at, args in enumerate(requests):
            reply = execute(now, session, args)
            self.answer(reply)
            if reply is BLOCKED or session.halted or len(self.out) > AT_ONCE_BYTES:
                self._put(requests[at + 1 :], first=True)
                break
        if session.halted:
            self._halt()
        self._sessions.touched(self)

    def go_on(self) -> None:
        """Execute waiting requests, unless the client is blocked, deferred, closed or not ready."""
        waiting, session = self._waiting, self.session
        if not waiting or session.blocked is not None or not self.ready or session.closed or self.deferred:
            return
        execute, now = self._sessions.store.execute, self._sessions.now_ms()
        for _ in range(min(len(waiting), REQUESTS_AT_ONCE)):
            args = waiting.popleft()
            self.waiting_bytes -= _size(args)
            reply = execute(now, session, args)
            self.answer(reply)
            if reply is BLOCKED or session.halted or len(self.out) > AT_ONCE_BYTES:
                break
        self._halt()
        if waiting and session.blocked is None:
            self._sessions.defer(self)
        self._sessions.touched(self)
        self.eased()

    def eased(self) -> None:
        """Hook for subclasses: fewer requests wait, so more may be accepted."""

    def _halt(self) -> None:
        session = self.session
        if session.halted and not session.closed:
            session.halted = False
            if self._waiting:
                self._sessions.defer(self)

    def _put(self, requests: list[list[bytes]], *, first: bool = False) -> None:
        if self.session.closed:
            self._waiting.clear()
            return
        self.waiting_bytes += sum(map(_size, requests))
        if first:
            self._waiting.extendleft(reversed(requests))
        else:
            self._waiting.extend(requests)

    def end(self, reply: Reply) -> None:
        """Send a last reply and drop the waiting requests."""
        self._waiting.clear()
        self.waiting_bytes = 0
        self.answer(reply)
        self.ended = True
        self._sessions.touched(self)

    def answer(self, reply: Reply) -> None:
        encode(reply, self.session.resp, self.out)

    def collect(self) -> Callable[[], None] | None:
        """Return the call that sends the replies, or None. The caller makes it when all is
        durable."""
        if not self.out:
            return None
        data, self.out = bytes(self.out), bytearray()
        return partial(self.write, data)

    def write(self, data: bytes) -> None:
        raise NotImplementedError

    def close(self) -> None:
        """Close the connection after all written data is sent."""
        raise NotImplementedError


def _size(args: list[bytes]) -> int:
    """Return the approximate memory of a request."""
    return 64 + 48 * len(args) + sum(map(len, args))


class _Shell(Hooks):
    """Functions of the process that store commands use."""

    def __init__(self, core: CoreLoop, stop: Callable[[], None] | None) -> None:
        self._core = core
        self._stop = stop
        self._began = time.monotonic()
        self._warned = -WARN_EVERY_S

    def save(self, *, background: bool) -> Reply:
        """Request a snapshot, which only makes the next start faster.

        All changes whose replies were sent are already in the journal, as durable as `--fsync`
        says.
        """
        self._core.snapshot_soon()
        return Status(b"Background saving started") if background else OK

    def rewrite(self) -> Reply:
        self._core.snapshot_soon()
        return Status(b"Background append only file rewriting started")

    def last_save_s(self) -> int:
        return int(self._core.snapshot_at)

    def shutdown(self, options: list[bytes]) -> Reply:
        if b"ABORT" in options:
            return Error(b"ERR No shutdown in progress.")
        if self._stop is None:
            return Error(b"ERR this store is a part of a master: stop the master with SIGTERM")
        self._stop()
        return NO_REPLY

    def suspicious(self, address: str, word: str) -> None:
        if time.monotonic() - self._warned >= WARN_EVERY_S:
            self._warned = time.monotonic()
            log.warning(
                "the store closed the connection of %s, which sent %r: a web page in a browser may have opened it",
                address,
                word,
            )

    def broke(self, command: str, error: Exception) -> None:
        log.error("the store: %s failed: %s", command.upper(), error, exc_info=error)

    def facts(self) -> Mapping[str, Mapping[str, object]]:
        up = int(time.monotonic() - self._began)
        import psutil  # only this command needs psutil

        rss = psutil.Process().memory_info().rss
        return {
            "Server": {
                "titan_version": __version__,
                "process_id": os.getpid(),
                "uptime_in_seconds": up,
                "uptime_in_days": up // 86400,
            },
            "Memory": {"used_memory": rss, "used_memory_rss": rss},
        }


class StoreSessions:
    """All sessions on `core.state.store`."""

    def __init__(self, core: CoreLoop, *, stop: Callable[[], None] | None = None) -> None:
        """`stop` is called by SHUTDOWN. If `stop` is None, SHUTDOWN is rejected."""
        self.store = core.state.store
        self.store.attach(_Shell(core, stop), int.from_bytes(os.urandom(8), "big"))
        core.state.store_is_live = True
        self._core = core
        self._loop = asyncio.get_running_loop()
        self._clients: dict[Session, StoreClient] = {}
        self._numbers = 0
        self._touched: dict[StoreClient, None] = {}
        self._deferred: dict[StoreClient, None] = {}
        """Clients that used much time in a turn, in the order in which they will continue."""
        self._scheduled = False
        self._timer: asyncio.TimerHandle | None = None
        self._timer_due = 0
        self.refresh()

    def now_ms(self) -> int:
        return int(self._core.clock.now() * 1000)

    @property
    def max_bulk_bytes(self) -> int:
        """Maximum bytes of an argument."""
        return self.store.settings.max_bulk

    def configure(self, values: Mapping[str, str]) -> None:
        """Change settings as CONFIG SET does. Raises CallerError."""
        settings = self.store.settings
        for name, value in values.items():
            try:
                settings.change(name, settings.checked(name, value))
            except KeyError:
                raise CallerError(f"the store has no setting {name!r}: its settings are {', '.join(settings.names())}") from None
            except CallerError as e:
                raise CallerError(f"{name}={value}: {e}") from None
        self.store.review()

    def enter(self, client: StoreClient, address: str, local_address: str) -> Session:
        self._numbers += 1
        session = self.store.open_session(self._numbers, address=address, local_address=local_address, now_ms=self.now_ms())
        self._clients[session] = client
        return session

    def leave(self, client: StoreClient) -> None:
        """End the session of a closed connection."""
        if self._clients.pop(client.session, None) is not None:
            self._deferred.pop(client, None)
            self.store.close_session(client.session)
            self.refresh()

    def notice(self, key: bytes) -> None:
        """Wake the clients that wait for a computed key that has changed."""
        if self.store.notice(self.now_ms(), key):
            self.refresh()

    def keep_spaces(self, live: Container[int]) -> None:
        """Delete the keys of all runs whose numbers are not in `live`."""
        for database in self.store.spaces():
            if database not in live:
                self.store.wipe_space(self.now_ms(), database)
                self.refresh()

    def defer(self, client: StoreClient) -> None:
        """Let a client continue only in a turn that has time left."""
        client.deferred = True
        self._deferred[client] = None
        self.refresh()

    def touched(self, client: StoreClient) -> None:
        """Record that a client has executed a command."""
        self._touched[client] = None
        self.refresh()

    def refresh(self) -> None:
        """Schedule the next flush, which journals the changes and releases the replies."""
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._scheduled = False
        store = self.store
        for session, reply in store.take_deliveries():
            client = self._clients.get(session)
            if client is not None:
                client.answer(reply)
                self._touched[client] = None
        for session in store.take_closing():
            client = self._clients.get(session)
            if client is not None:
                self._touched[client] = None
        changes = store.take_changes()
        if changes:
            self._core.see(StoreWritten(changes))
        touched, self._touched = self._touched, {}
        calls = [call for client in touched if (call := client.collect()) is not None]
        calls += [client.close for client in touched if client.session.closed or client.ended]
        if calls:
            self._core.release(partial(_make_calls, calls))
        store.begin_turn()
        for client in touched:
            if client.waiting_bytes:
                client.go_on()
        if self._deferred:
            self._go_on_with_deferred()
        self._arm()

    def _go_on_with_deferred(self) -> None:
        for client in list(self._deferred):
            if self.store.strained:
                break
            del self._deferred[client]
            client.deferred = False
            client.go_on()
        if self._deferred:
            self.refresh()

    # -- time --------------------------------------------------------------------------------------
    def _arm(self) -> None:
        due = self.store.next_due()
        if self._timer is not None:
            if due == self._timer_due:
                return
            self._timer.cancel()
            self._timer = None
        if due is not None:
            self._timer_due = due
            self._timer = self._loop.call_later(max(0.0, (due - self.now_ms()) / 1000) + 0.0005, self._on_due)

    def _on_due(self) -> None:
        self._timer = None
        now = self.now_ms()
        self.store.expire_due(now, EXPIRE_AT_ONCE)
        self.store.time_out_blocked(now)
        self.refresh()

    def close(self) -> None:
        """Stop the timer and close all clients."""
        if self._timer is not None:
            self._timer.cancel()
        for client in list(self._clients.values()):
            client.close()


def _make_calls(calls: list[Callable[[], None]]) -> None:
    for call in calls:
        call()
