"""Whoever speaks to TitanStore: sessions and their commands, and when their replies may be seen.

Commands are executed on the store of the core's state as they come. What they changed goes into the
journal with the next turn, as one event for all connections that were served in between; their
replies wait for that, reads included, since a read may have seen what is not durable yet. Owns
sessions, expiry and time-outs; must not know where commands come from, nor what they do.
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
"""Replies of one client that are made before they are written; then others have their turn."""
REQUESTS_AT_ONCE = 2048
"""Requests of one client that are executed in one turn, some milliseconds."""
EXPIRE_AT_ONCE = 200
"""Keys that are expired in one turn."""
WARN_EVERY_S = 60.0


class StoreClient:
    """One session. Subclasses say where answers go."""

    def __init__(self, sessions: StoreSessions, *, address: str = "", local_address: str = "") -> None:
        self.session = sessions.enter(self, address, local_address)
        self.ready = True
        """Whether more may be written; the owner says so with `go_on`."""
        self.out = bytearray()
        """Answers that may not be seen yet."""
        self.ended = False
        self.tired = False
        """It has done much in a turn, and is to wait for one with time left."""
        self.waiting_bytes = 0
        self._sessions = sessions
        self._waiting: deque[list[bytes]] = deque()
        """Requests behind one that blocks, behind what is to be written first, or behind much work.
        """

    @property
    def waiting(self) -> int:
        """Requests that wait for their turn."""
        return len(self._waiting)

    def take(self, requests: list[list[bytes]]) -> None:
        """Executes them in order, as far as that goes now."""
        if self._waiting or self.session.blocked is not None or self.session.closed or not self.ready:
            self._put(requests)
            return
        if len(requests) > REQUESTS_AT_ONCE:
            self._put(requests[REQUESTS_AT_ONCE:])
            requests = requests[:REQUESTS_AT_ONCE]
            self._sessions.tire(self)
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
        """What waits is executed, if nothing keeps it."""
        waiting, session = self._waiting, self.session
        if not waiting or session.blocked is not None or not self.ready or session.closed or self.tired:
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
            self._sessions.tire(self)
        self._sessions.touched(self)
        self.eased()

    def eased(self) -> None:
        """Some of what waited is done: perhaps more can be taken."""

    def _halt(self) -> None:
        session = self.session
        if session.halted and not session.closed:
            session.halted = False
            if self._waiting:
                self._sessions.tire(self)

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
        """A last answer, and no request after it."""
        self._waiting.clear()
        self.waiting_bytes = 0
        self.answer(reply)
        self.ended = True
        self._sessions.touched(self)

    def answer(self, reply: Reply) -> None:
        encode(reply, self.session.resp, self.out)

    def collect(self) -> Callable[[], None] | None:
        """What is to be called once all that was executed is durable: it lets the answers go."""
        if not self.out:
            return None
        data, self.out = bytes(self.out), bytearray()
        return partial(self.write, data)

    def write(self, data: bytes) -> None:
        raise NotImplementedError

    def close(self) -> None:
        """The store wants it gone; what was written before is to arrive."""
        raise NotImplementedError


def _size(args: list[bytes]) -> int:
    """The memory that a request takes, about."""
    return 64 + 48 * len(args) + sum(map(len, args))


class _Shell(Hooks):
    """What commands can ask of the process."""

    def __init__(self, core: CoreLoop, stop: Callable[[], None] | None) -> None:
        self._core = core
        self._stop = stop
        self._began = time.monotonic()
        self._warned = -WARN_EVERY_S

    def save(self, *, background: bool) -> Reply:
        """All that was answered is in the journal already, as `--fsync` says; a snapshot only makes
        the next start quicker."""
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
            return Error(b"ERR this store is a part of a master: stop that, with SIGTERM")
        self._stop()
        return NO_REPLY

    def suspicious(self, address: str, word: str) -> None:
        if time.monotonic() - self._warned >= WARN_EVERY_S:
            self._warned = time.monotonic()
            log.warning(
                "the store closed the connection of %s, which said %r: a web page that somebody looks at may be behind it",
                address,
                word,
            )

    def broke(self, command: str, error: Exception) -> None:
        log.error("the store: %s broke off: %s", command.upper(), error, exc_info=error)

    def facts(self) -> Mapping[str, Mapping[str, object]]:
        up = int(time.monotonic() - self._began)
        import psutil  # for one command

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
    """`core.state.store` is executed on from now on."""

    def __init__(self, core: CoreLoop, *, stop: Callable[[], None] | None = None) -> None:
        """`stop`: what SHUTDOWN does, if it may do anything."""
        self.store = core.state.store
        self.store.attach(_Shell(core, stop), int.from_bytes(os.urandom(8), "big"))
        core.state.store_is_live = True
        self._core = core
        self._loop = asyncio.get_running_loop()
        self._clients: dict[Session, StoreClient] = {}
        self._numbers = 0
        self._touched: dict[StoreClient, None] = {}
        self._tired: dict[StoreClient, None] = {}
        """Those that have done much, in the order in which they go on."""
        self._scheduled = False
        self._timer: asyncio.TimerHandle | None = None
        self._timer_due = 0
        self.refresh()

    def now_ms(self) -> int:
        return int(self._core.clock.now() * 1000)

    @property
    def max_bulk_bytes(self) -> int:
        """Of one argument."""
        return self.store.settings.max_bulk

    def configure(self, given: Mapping[str, str]) -> None:
        """As CONFIG SET. Raises CallerError."""
        settings = self.store.settings
        for name, value in given.items():
            try:
                settings.change(name, settings.checked(name, value))
            except KeyError:
                raise CallerError(f"the store has no setting {name!r}: {', '.join(settings.names())}") from None
            except CallerError as e:
                raise CallerError(f"{name}={value}: {e}") from None
        self.store.review()

    def enter(self, client: StoreClient, address: str, local_address: str) -> Session:
        self._numbers += 1
        session = self.store.open_session(self._numbers, address=address, local_address=local_address, now_ms=self.now_ms())
        self._clients[session] = client
        return session

    def leave(self, client: StoreClient) -> None:
        """Its connection is gone."""
        if self._clients.pop(client.session, None) is not None:
            self._tired.pop(client, None)
            self.store.close_session(client.session)
            self.refresh()

    def notice(self, key: bytes) -> None:
        """A derived key has changed."""
        if self.store.notice(self.now_ms(), key):
            self.refresh()

    def keep_spaces(self, live: Container[int]) -> None:
        """Keys of runs that are no longer there go; `live` are the numbers of the others."""
        for database in self.store.spaces():
            if database not in live:
                self.store.wipe_space(self.now_ms(), database)
                self.refresh()

    def tire(self, client: StoreClient) -> None:
        """It goes on in a turn that has time left for it."""
        client.tired = True
        self._tired[client] = None
        self.refresh()

    def touched(self, client: StoreClient) -> None:
        """It has executed something."""
        self._touched[client] = None
        self.refresh()

    def refresh(self) -> None:
        """What has changed is journaled, and answers go out, when the present turn of the loop is
        over."""
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
            self._core.release(partial(_let_go, calls))
        store.begin_turn()
        for client in touched:
            if client.waiting_bytes:
                client.go_on()
        if self._tired:
            self._go_on_with_tired()
        self._arm()

    def _go_on_with_tired(self) -> None:
        for client in list(self._tired):
            if self.store.strained:
                break
            del self._tired[client]
            client.tired = False
            client.go_on()
        if self._tired:
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
        """No more is executed."""
        if self._timer is not None:
            self._timer.cancel()
        for client in list(self._clients.values()):
            client.close()


def _let_go(calls: list[Callable[[], None]]) -> None:
    for call in calls:
        call()
