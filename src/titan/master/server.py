"""Master: the process that owns a home and serves workers and clients on a port."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import logging
import os
import secrets
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from titan._version import __version__
from titan.content.directory import DirectoryStore
from titan.core import effects as fx
from titan.core.events import events as ev
from titan.core.inputs import WorkerDisconnected
from titan.core.state.state import State
from titan.errors import Bug, EnvironmentFault, LimitExceeded, PeerError, PortInUse, ProtocolError, TitanError
from titan.gateway.follower import Follower
from titan.gateway.outbound import order_of, reply_of
from titan.host.clock import SteadyClock, note_time
from titan.journal import SyncPolicy
from titan.journal.engine import LogEngine
from titan.master.archiver import Archiver
from titan.master.connection_limits import ConnectionLimits, raise_descriptor_limit
from titan.master.content_names import Registry
from titan.master.core_loop import CoreLoop
from titan.master.faulty_peers import FaultyPeers, Raised
from titan.master.garbage_collection import GarbageCollector
from titan.master.handlers.files import FileHandler
from titan.master.handlers.history import HistoryHandler
from titan.master.handlers.secrets import SecretHandler
from titan.master.handlers.table import Handlers
from titan.master.history.check import restore_history
from titan.master.history.database import History
from titan.master.home.clock import NOTE_S, open_clock
from titan.master.home.mark import mark, why_copied
from titan.master.home.server import HomeServer
from titan.master.interpreter_settings import tune_interpreter
from titan.master.local_provider import LocalProvider
from titan.master.log_store import LogStore
from titan.master.provider import Bursts
from titan.master.recovery import recover
from titan.master.storage import open_storage, store_of
from titan.master.store.cluster_keys import EVENTS_KEY, PREFIX, ClusterKeys
from titan.master.store.port import StorePort
from titan.master.store.sessions import StoreSessions
from titan.master.vault import Key, Vault
from titan.master.webhooks.delivery import WebhookDelivery
from titan.master.webhooks.secret import webhook_secret
from titan.master.webhooks.targets import Rule, Targets
from titan.model.disk import has_full_disk
from titan.model.plain import plain
from titan.model.settings import Settings
from titan.net.memory_budget import Inflow, Outflow
from titan.net.peer import Outbox, Peer
from titan.protocol import messages as msg
from titan.protocol.codec import Blob, MessageDecoder, encode, error_of
from titan.protocol.frames import MAX_MESSAGE
from titan.protocol.handshake import MAX_USER, answer

log = logging.getLogger("titan.master")
SOFTWARE = f"titan {__version__}"
HELLO_S = 10.0
WORKER_MESSAGE = 256 << 20
"""Maximum bytes of a worker's message, after decompression."""
CAREFUL_S = 60.0
"""Time after an exception of a turn in which each input gets its own turn.

If another exception follows, the input that caused it is then known.
"""


_LOGGED = frozenset(
    {
        *(ev.WorkerJoined, ev.WorkerFactsChanged, ev.WorkerSetAside, ev.WorkerTakenBack, ev.WorkerLost, ev.WorkerLeft),
        *(ev.MasterStarted, ev.TermRaised, ev.ClockSetBack, ev.BurstRequested, ev.BurstRetired, ev.WorkerAsked),
    }
)
"""Types of events that the master logs, with one line each."""


class Master(HomeServer):
    """Master of a home.

    If `policy` is None, no journal is kept, and a crash of the master loses all runs.
    """

    WHAT = "the master"
    DANGER = "run commands on your workers"

    def __init__(
        self,
        home: Path,
        *,
        host: str = "127.0.0.1",
        port: int = 9090,
        policy: SyncPolicy | None = SyncPolicy.ALWAYS,
        settings: Settings | None = None,
        insecure: bool = False,
        webhook_secret_file: Path | None = None,
        webhook_allow: Sequence[Rule] = (),
        store_port: int | None = None,
        store_password: str = "",
        secrets_key: Key | None = None,
        accept_clock: bool = False,
    ) -> None:
        """Create a master. `start` opens it.

        `store_port` is the port of TitanStore for Redis clients on `host`. None opens no such port.
        `secrets_key` is the key that seals the secrets. None means the key file in the home.
        `accept_clock` accepts a clock that is far ahead of the time recorded in the home.
        """
        super().__init__(home, host, insecure=insecure, journaled=policy is not None)
        self.port = port
        self._policy = policy
        self._settings = settings or Settings()
        self._webhook_secret_file = webhook_secret_file
        self._webhook_targets = Targets(webhook_allow)
        self._store_port = store_port
        self._store_password = store_password
        self._secrets_key = secrets_key
        self._accept_clock = accept_clock
        self._peers: dict[int, Peer] = {}
        self._numbers = 0
        self._server: asyncio.Server | None = None
        self._log_syncer: asyncio.Task[None] | None = None
        self._faulty_peers = FaultyPeers(self._host_of)
        self._reopening: asyncio.Task[None] | None = None
        self._inflow, self._outflow, self._outbox = Inflow(), Outflow(), Outbox()
        self._complain_after = 0.0
        self._expected: dict[Peer, asyncio.TimerHandle] = {}
        """Timer of each peer that has not sent its Hello yet.

        A timer is cancelled when its peer is closed. Otherwise it would keep the peer and its
        buffers in memory.
        """
        self._closed = False
        self._time_noter: asyncio.Task[None] | None = None
        self._restorer: asyncio.Task[list[str]] | None = None
        self.content: DirectoryStore | None = None

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"

    # -- life --------------------------------------------------------------------------------------
    async def _close(self) -> None:
        """Close all parts. Workers keep their jobs and wait for the next master."""
        if self._closed:
            return
        self._closed = True
        await self.bursts.close()
        if self._server is not None:
            self._server.close()
        if self._log_syncer is not None:
            self._log_syncer.cancel()
            await asyncio.gather(self._log_syncer, return_exceptions=True)
        if self._time_noter is not None:
            self._time_noter.cancel()
            await asyncio.gather(self._time_noter, return_exceptions=True)
            self._write_time()
        if self._restorer is not None:
            self._restorer.cancel()
            await asyncio.gather(self._restorer, return_exceptions=True)
        if self.store_port is not None:
            self.store_port.close()
        self.store.close()
        await self.webhook_delivery.close()
        await self.archiver.stop()
        await self.past.close()
        await self.handlers.close()
        for peer in list(self._peers.values()):
            peer.close()
        await self.core.close()
        self.logs.close()
        self.history.close()
        with contextlib.suppress(OSError):
            (self.home / "master.json").unlink()

    async def stop(self) -> None:
        if self._reopening is not None:
            await asyncio.gather(self._reopening, return_exceptions=True)
        await super().stop()

    def _on_raised(self, raised: Raised) -> None:
        """Recover from the journal in this process after a turn raised an exception.

        Such an exception is a bug. After it the state can no longer be trusted, but the journal
        can.
        """
        log.critical("%s made a handler raise: %s", raised.input_name, raised.cause, exc_info=raised.cause)
        if self._policy is None or not self._faulty_peers.note(raised):
            self._on_fatal(raised.cause)
            return
        if raised.sender and self._faulty_peers.is_set_aside(raised.sender):
            log.critical("%s is set aside until this master is restarted", raised.sender)
        peer = self._peers.get(raised.origin)
        if peer is not None:
            problem = (
                f"{raised.input_name} made the master fail, which is a bug of the master: the request was refused, and the master "
                f"restarts from its journal; see the master's log ({type(raised.cause).__name__}: {raised.cause})"
            )
            peer.send(error_of(getattr(raised.input, "request", 0), Bug(plain(problem))))
        for other in list(self._peers.values()):
            other.close()
        self._reopening = asyncio.get_running_loop().create_task(self._reopen())

    async def _reopen(self) -> None:
        try:
            await self._close()
            await self._open()
        except Exception as error:  # without recovery the master cannot continue
            self._on_fatal(error)
            return
        self.core.careful = True  # then the input that raises is known
        asyncio.get_running_loop().call_later(CAREFUL_S, setattr, self.core, "careful", False)
        log.warning("the master restarted from its journal, in term %d; nothing acknowledged is lost", self.core.state.term)

    def _redis_clients(self) -> int:
        return len(self.store_port.connections) if self.store_port is not None else 0

    def _host_of(self, origin: int) -> str:
        peer = self._peers.get(origin)
        return peer.host if peer is not None else "an unknown address"

    async def _open(self) -> None:
        """Open the storage, follow the log, listen, lead, and serve. A failure closes the ports.

        A standby could stop after the log is followed.
        """
        self._closed = False
        vault = Vault.open(self.home, self._secrets_key)
        engine = open_storage(store_of(self.home), policy=self._policy, places=self.places)
        follower = self._follow(engine)
        state = follower.state
        tune_interpreter(anew=self.content is not None)
        clock, behind_s = open_clock(self.home, state.decided_at, accept=self._accept_clock)
        self._open_parts(state, clock, vault)
        sock_server = await self._listen()
        try:
            await self._open_store_port()
            await self._lead(follower, behind_s)
            if self.store_port is not None:
                await self.store_port.serve()
        except BaseException:
            sock_server.close()
            if self.store_port is not None:
                self.store_port.close()
            raise
        self._server = sock_server
        await sock_server.start_serving()
        self._begin_chores()
        log.info("master of cluster %s, term %d, on %s, home %s", state.cluster, state.term, self.address, self.home)

    def _follow(self, engine: LogEngine) -> Follower:
        """Recover the state from the log. Append nothing yet."""
        recovered = recover(engine, self._settings)
        for warning in recovered.warnings:
            log.warning("%s", warning)
        state, follower = recovered.state, recovered.follower
        if self._policy is None:
            log.warning("no journal is kept: a crash of this master loses every run")
        elif state.term:
            live = sum(run.open > 0 for run in state.runs.values())
            log.info(
                "recovered %d runs (%d open), %d jobs, from %d events", len(state.runs), live, len(state.jobs), follower.events
            )
        return follower

    def _open_parts(self, state: State, clock: SteadyClock, vault: Vault) -> None:
        """Create all parts that must exist before the first connection."""
        self._connection_limits = ConnectionLimits(self._settings, raise_descriptor_limit(), self._redis_clients)
        self.logs = LogStore(self.home / "logs")
        # All terms of this process share one store, because a thread of an earlier term may still
        # remove blobs from it.
        if self.content is None:
            self.content = DirectoryStore(self.home / "files")
            try:
                self.content.offer_nearby()
            except (OSError, UnicodeError) as e:
                log.warning("large values on this machine are sent over connections, not as files: %s", e)
        adopted = self.content.adopt(self.home / "perm_files" / ".objects")
        if adopted:
            log.info("%d scripts, archives and values of an older Titan were moved to %s", adopted, self.content.folder)
        self.registry = Registry(self.home / "perm_files", self.content)
        self.core = CoreLoop(
            state,
            clock,
            prepare=self._prepare,
            on_events=self._on_events,
            on_pressure=self._on_pressure,
            on_fatal=self._on_fatal,
            on_raised=self._on_raised,
            on_released=self._outbox.flush,
            faulty_peers=self._faulty_peers,
        )
        self.history = History(self.home / "history.sqlite")
        self.files = FileHandler(self.content, most_bytes=self._settings.file_bytes)
        self.garbage = GarbageCollector(self.core, self.history, self.content, self.registry)
        self.archiver = Archiver(self.core, self.history, self.logs, self.garbage)
        self.past = HistoryHandler(self.core, self.history)
        self.webhook_delivery = WebhookDelivery(
            self.core, webhook_secret(self.home, self._webhook_secret_file), self._webhook_targets
        )
        self.store = StoreSessions(self.core)
        self.store_port: StorePort | None = None
        self.cluster_keys = ClusterKeys(state)
        self.store.store.mount(PREFIX, self.cluster_keys)
        self.handlers = Handlers(
            self.core,
            self.home,
            logs=self.logs,
            content=self.content,
            registry=self.registry,
            past=self.past,
            store=self.store,
            secrets=SecretHandler(vault, self.core.clock.now, self.core.see),
            files=self.files,
            webhooks=self._webhook_targets,
            stop=self.request_stop,
        )
        self.bursts = Bursts(LocalProvider(self.home) if self._settings.scale else None, self.core.see)

    async def _open_store_port(self) -> None:
        """Open the port of TitanStore if it is configured. Redis clients get replies after
        `serve`."""
        if self._store_port is None:
            return
        if self._store_password:
            self.store.configure({"requirepass": self._store_password})
        self.store_port = StorePort(self.store, self.host, self._store_port, has_room=lambda: self._connection_limits.has_room)
        await self.store_port.open()
        self._store_port = self.store_port.port
        log.info("TitanStore listens for Redis clients on %s:%d", self.host, self._store_port)

    async def _lead(self, follower: Follower, behind_s: float) -> None:
        """Begin a term and lead the log from now on. Return when the term is durable."""
        copied = why_copied(self.home) if self._policy is not None and follower.state.term else ""
        bursts = await self.bursts.open(_local_address(self.host, self.port))
        self.core.lead(follower, secrets.token_hex(8), bursts, copied=copied, behind_s=behind_s)
        await self.core.settled()
        if self._policy is not None:
            mark(self.home)

    def _begin_chores(self) -> None:
        about = {"address": self.address, "pid": os.getpid(), "software": SOFTWARE}
        if self.store_port is not None:
            about["store"] = self.store_port.address
        (self.home / "master.json").write_text(json.dumps(about) + "\n")
        self.archiver.start()
        self._log_syncer = asyncio.get_running_loop().create_task(self._sync_logs())
        self._time_noter = asyncio.get_running_loop().create_task(self._note_time())
        if self._policy is not None:
            whole = self.garbage.history_is_whole
            self._restorer = asyncio.get_running_loop().create_task(restore_history(self.core.state, self.history, self.home))
            self._restorer.add_done_callback(lambda task: None if task.cancelled() else whole.set())
        else:
            self.garbage.history_is_whole.set()

    async def _listen(self) -> asyncio.Server:
        loop = asyncio.get_running_loop()
        try:
            server = await loop.create_server(self._make_peer, self.host, self.port, start_serving=False, backlog=4096)
        except OSError as e:
            if e.errno == errno.EADDRINUSE:
                raise PortInUse(f"port {self.port} on {self.host} is in use by another program: give another with --port") from e
            raise EnvironmentFault(
                f"cannot listen on {self.host}:{self.port}: {e.strerror or e}: give another with --host or --port"
            ) from e
        self.port = server.sockets[0].getsockname()[1]
        return server

    async def _note_time(self) -> None:
        while True:
            self._write_time()
            await asyncio.sleep(NOTE_S)

    def _write_time(self) -> None:
        if self._policy is not None:
            try:
                note_time(self.home, self.core.clock.now())
            except OSError as e:
                log.error("the time could not be recorded in the home: %s", e)

    async def _sync_logs(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self.logs.written.wait()
            await asyncio.sleep(1.0)
            self.logs.written.clear()
            for run, attempts, error in await loop.run_in_executor(None, self.logs.sync):
                names = ", ".join(sorted(job for job, _ in attempts)[:5])
                log.error("output of run %s (%s, ...) may be lost: the disk failed: %s", run, names, error)
                self.handlers.workers.note_unsynced(run, attempts, error)

    # -- connections -------------------------------------------------------------------------------
    def _make_peer(self) -> Peer:
        budgets = (MessageDecoder.before_handshake(), self._inflow, self._outflow, self._outbox)
        return Peer(self._on_message, self._on_closed, self._on_opened, *budgets)

    def _on_opened(self, peer: Peer) -> None:
        self._numbers += 1
        peer.number = self._numbers
        self._peers[peer.number] = peer
        try:
            oldest = self._connection_limits.enter(peer)
        except LimitExceeded as e:
            self._turn_away(peer, e)
            return
        if oldest is not None:
            self._turn_away(oldest, LimitExceeded("too many connections sent no Hello, and this one was the oldest of them"))
        self._expected[peer] = asyncio.get_running_loop().call_later(HELLO_S, self._expect_hello, peer)

    def _turn_away(self, peer: Peer, why: LimitExceeded) -> None:
        now = asyncio.get_running_loop().time()
        if now >= self._complain_after:
            self._complain_after = now + 60.0
            log.warning("a connection from %s was refused: %s", peer.host, why)
        peer.send(error_of(0, why))
        peer.close()

    def _expect_hello(self, peer: Peer) -> None:
        if not peer.role and not peer.closed:
            peer.fail(ProtocolError(f"no Hello within {HELLO_S:g} s"))

    def _expect_no_more(self, peer: Peer) -> None:
        timer = self._expected.pop(peer, None)
        if timer is not None:
            timer.cancel()

    def _on_message(self, peer: Peer, message: msg.Message, blob: Blob) -> None:
        try:
            if not peer.role:
                self._on_hello(peer, message)
            else:
                self.handlers.take(peer, message, blob)
        except PeerError as e:
            if not peer.role:
                peer.fail(e)
            else:
                peer.send(error_of(message.request, e))
        except TitanError as e:
            peer.send(error_of(message.request, e))
        except OSError as e:
            log.error("a %s could not be served: %s", type(message).__name__, e)
            peer.send(error_of(message.request, EnvironmentFault(f"the master's disk failed: {e}")))
        except Exception as e:  # a bug: this sender gets an error, and all other peers continue
            log.exception("a %s could not be served", type(message).__name__)
            problem = f"a {type(message).__name__} could not be served, which is a bug of the master; see the master's log"
            peer.send(error_of(message.request, Bug(plain(f"{problem} ({type(e).__name__}: {e})"))))

    def _on_hello(self, peer: Peer, message: msg.Message) -> None:
        state = self.core.state
        welcome = answer(
            message, software=SOFTWARE, cluster=state.cluster, term=state.term, now=self.core.clock.now(), content=self._offered()
        )
        assert isinstance(message, msg.Hello)
        peer.role = message.role
        peer.actor = " ".join(plain(message.user, MAX_USER).split()) or f"a {peer.role} on {peer.host}"
        self._expect_no_more(peer)
        self._connection_limits.greet(peer)
        peer.allow(MAX_MESSAGE if peer.role == "client" else WORKER_MESSAGE)
        local = peer.address.startswith(("127.", "::1"))
        peer.compress = "zstd" in welcome.features and not local
        peer.send(welcome)

    def _offered(self) -> str:
        """Return the content folder that the Welcome names, or "" if the master offers none."""
        return self.content.nearby.folder if self.content is not None and self.content.nearby is not None else ""

    def _on_closed(self, peer: Peer, error: Exception | None) -> None:
        self._peers.pop(peer.number, None)
        self._expect_no_more(peer)
        self._connection_limits.leave(peer)
        if isinstance(error, TitanError):
            log.warning("connection %d was closed: %s", peer.number, error)
        self.handlers.forget(peer)

    def _on_pressure(self, pressed: bool) -> None:
        for peer in self._peers.values():
            if pressed:
                peer.pause_reading("journal")
            else:
                peer.resume_reading("journal")
        if self.store_port is not None:
            self.store_port.press(pressed=pressed)

    # -- decisions of the core ---------------------------------------------------------------------
    def _on_events(self, events: list[ev.Event]) -> None:
        self.handlers.note(events)  # first, because peers wait for the messages of these handlers
        self.archiver.note(events)
        self.webhook_delivery.note(events)
        if any(isinstance(event, (ev.RunArchived, ev.RunDropped)) for event in events):
            self.store.keep_spaces({run.first for run in self.core.state.runs.values()})
        self.cluster_keys.events.note(self.store.now_ms(), events)
        if self.cluster_keys.events.has_news:
            self.store.notice(EVENTS_KEY)
        for event in events:
            if type(event) in _LOGGED:
                self._log(event)

    def _log(self, event: ev.Event) -> None:
        if isinstance(event, ev.WorkerJoined):
            log.info("worker %s joined: %d slots, %s", event.name, event.slots, " ".join(event.capabilities))
        elif isinstance(event, (ev.MasterStarted, ev.TermRaised, ev.ClockSetBack)):
            if event.notice:
                log.warning("%s", event.notice)
        elif isinstance(event, ev.WorkerFactsChanged) and has_full_disk(event.facts):
            log.warning("worker %s: its disk is full", self.core.state.worker_name(event.worker))
        elif isinstance(event, ev.WorkerSetAside):
            name = self.core.state.worker_name(event.worker)
            log.warning("worker %s is set aside for %.0f s: %s", name, event.until - event.at, event.reason)
        elif isinstance(event, ev.WorkerTakenBack):
            log.warning("worker %s takes work again", self.core.state.worker_name(event.worker))
        elif isinstance(event, ev.WorkerLost):
            log.warning("worker lost: %s", event.reason)
        elif isinstance(event, (ev.BurstRequested, ev.BurstRetired)):
            change = "started" if isinstance(event, ev.BurstRequested) else "retired"
            log.info("burst workers %s: %s (%s)", change, " ".join(event.names), event.reason)
        elif isinstance(event, ev.WorkerAsked):
            name = self.core.state.worker_name(event.worker)
            log.info("worker %s is told to leave%s by %s", name, " now" if event.now else "", event.actor or "a user")
        elif isinstance(event, ev.WorkerLeft):
            log.info("worker %s left", self.core.state.worker_name(event.worker))

    def _prepare(self, effects: list[fx.Effect]) -> list[Callable[[], None]]:
        """Return the calls for effects, with orders to workers before replies to clients.

        Jobs wait for these orders. A client that got its reply first could take the CPU before the
        orders are sent.
        """
        calls: list[Callable[[], None]] = []
        replies: list[Callable[[], None]] = []
        state = self.core.state
        for effect in effects:
            match effect:
                case fx.SendDispatch():
                    calls += self.handlers.workers.dispatch(effect)
                case fx.StartBurst():
                    calls.append(partial(self.bursts.start, effect))
                case fx.StopBurst():
                    calls.append(partial(self.bursts.stop, effect))
                case fx.AcceptWorker():
                    peer = self._peers.get(effect.origin)
                    if peer is not None:
                        calls += self.handlers.workers.accept(peer, effect)
                    else:  # the worker disconnected before it was accepted
                        self.core.see(WorkerDisconnected(effect.worker, effect.origin))
                case fx.Disconnect():
                    self._then(calls, effect.origin, None)
                case fx.AnnounceGate():
                    calls += self.webhook_delivery.announce(effect.job)
                case _:
                    if (order := order_of(state, effect)) is not None:
                        calls += self.handlers.workers.send(*order)
                    elif (reply := reply_of(state, effect)) is not None:
                        self._answer(replies, effect, *reply)
        return calls + replies

    def _answer(self, replies: list[Callable[[], None]], effect: fx.Effect, origin: int, message: msg.Message) -> None:
        if isinstance(effect, fx.Refuse):
            self.handlers.runs.refused(origin, effect.request)
        self._then(replies, origin, message)
        if isinstance(effect, fx.ReplySubmitted):
            more = self.handlers.runs.submitted(origin, effect.request, effect.run)
            if more is not None:
                replies.append(more)

    def _then(self, calls: list[Callable[[], None]], origin: int, message: msg.Message | None) -> None:
        peer = self._peers.get(origin)
        if peer is None:
            return
        if message is None:
            calls.append(peer.abort)
        else:
            frame = encode(message, compress=peer.compress)
            calls.append(lambda: peer.write(frame))


def _local_address(host: str, port: int) -> str:
    """Return the address at which a local process reaches a server on `host` and `port`."""
    return f"{ {'0.0.0.0': '127.0.0.1', '::': '::1'}.get(host, host) }:{port}"
