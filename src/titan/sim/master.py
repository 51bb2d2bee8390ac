"""Simulated master: the production core between a virtual network and a virtual disk.

Group commit works as in production. In each turn, the master handles a batch of inputs and appends
the resulting events. The effects of the batch wait, in order, until all events appended so far are
synced. A crash loses everything except the disk.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from hashlib import sha256

import msgspec

from titan.core import effects as fx
from titan.core import inputs
from titan.core.apply.apply import apply
from titan.core.events import events as ev
from titan.core.handlers.fencing import term_floor
from titan.core.invariants import check
from titan.core.state import snapshot
from titan.core.state.state import State, TimerKind
from titan.core.step import next_due, step
from titan.errors import JournalFailed, PeerError
from titan.gateway.follower import Follower
from titan.gateway.inbound import client_input, growth_input, purge_input, registration, retry_input, worker_input
from titan.gateway.outbound import messages_of
from titan.gateway.reading import events_of, load_snapshot
from titan.gateway.sequencer import Sequencer
from titan.model.names import run_id
from titan.model.states import JobState, RunState, WorkerState
from titan.protocol import messages as pm
from titan.protocol.codec import MessageDecoder, Misfit, encode
from titan.protocol.handshake import answer
from titan.sim.clock import Timer
from titan.sim.disk import Disk, DiskLog
from titan.sim.files import MasterFiles
from titan.sim.network import Connection
from titan.sim.oracle.processes import Violation
from titan.sim.oracle.records import ACTOR
from titan.sim.oracle.sick_workers import judge_broken_jobs
from titan.sim.provider import SimProvider
from titan.sim.store_user import SimStoreUser
from titan.sim.trace import shorts
from titan.sim.translation import describe
from titan.sim.world import SOFTWARE, World

ORIGIN = b"sim"
_head_decoder = msgspec.msgpack.Decoder(snapshot.Head)


class Peer:
    """The master's side of a connection. `worker` is 0 until the worker's registration is
    accepted."""

    __slots__ = ("actor", "decoder", "link", "opening", "role", "worker")

    def __init__(self, link: Connection) -> None:
        self.link = link
        self.decoder = MessageDecoder()
        self.worker = 0
        self.actor = self.role = ""
        self.opening: dict[int, str] = {}
        """Request -> run, of submissions in parts."""


class SimMaster:
    def __init__(self, world: World) -> None:
        self.world = world
        self.disk = Disk(self._sync, origin=ORIGIN)
        self.up = False
        self.state = State(world.scenario.settings)
        self.log: DiskLog | None = None
        self._standby: Follower | None = None
        """Standby, in every second life of the master. The standby follows the log, and leads after
        the next crash."""
        self.peers: dict[int, Peer] = {}
        self._life = 0
        """Number of this life, which is the number of starts so far. Actions that were planned in
        an earlier life do nothing."""
        self.sequencer = Sequencer()
        self._turn: Timer | None = None
        self._alarm: Timer | None = None
        self._unsynced: deque[tuple[int, list[ev.Event]]] = deque()
        self._states: dict[int, bytes] = {}
        """Last sequence of each record that a crash may lose -> the canonical state after this
        record."""
        self._snapshot: tuple[int, int, list[bytes]] | None = None
        """(sequence, term, chunks) of a snapshot that waits until the log is synced up to it."""
        self._runs = 0
        self.provider = SimProvider(world, world.scenario.burst, gone=self._on_burst_gone)
        self._history: dict[str, list[bytes]] = {}
        """Run -> its chunks in the durable history, encoded as in a snapshot."""
        self._files = MasterFiles(world)
        self._store_user = SimStoreUser(world, self)
        self._store_acks: list[Callable[[], None]] = []
        """Acknowledgements of writes to the store that the next turn will journal."""
        self._tokens: dict[bytes, tuple[int, str]] = {}
        """SHA-256 of a token -> gate and token, until the token is durable and the webhook is
        called."""

    # -- start and crash ---------------------------------------------------------------------------
    def start(self) -> None:
        """Recover the state from the log, and begin a term."""
        self._life += 1
        follower = self._recover()
        state = self.state = follower.state
        self.log = log = self.disk.open(
            after_seq=follower.seq,
            above_term=term_floor(state, copied=False),
            on_durable=self._on_durable,
            on_failed=self._on_log_failed,
        )
        self._store_user.on_recovered(state.store)
        state.store_is_live = True
        self.sequencer.begin(log.next_seq - 1)
        self.up = True
        self._standby = self._follow() if self._life % 2 else None
        self.world.network.master = self
        self.world.trace.note("master", f"starts at sequence {log.next_seq - 1}")
        self._receive(inputs.MasterBooted("sim-cluster", log.term, self.provider.names(), f"draw-{self._life}"))

    def crash(self, *, silent: bool) -> None:
        """Crash. `silent`: the machine loses its power, so no peer notices the lost connections."""
        self.world.trace.note("master", "crashes")
        self.world.trace.count("master crash")
        # with pending acknowledgements, the store has changed, but its event comes in the next turn
        if not self._store_acks:
            self._judge_state(self.state)
        self._store_acks.clear()
        self.up = False
        self.provider.on_master_gone()
        self.world.network.master = None
        for timer in (self._turn, self._alarm):
            if timer is not None:
                timer.cancel()
        for peer in self.peers.values():
            (self.world.network.vanish if silent else self.world.network.close)(peer.link, peer.link.down)
        self.peers = {}
        self._turn = self._alarm = self._snapshot = self.log = None
        self.sequencer.drop()
        if self.disk.crash(self.world.rng):
            self.world.trace.count("torn tail")

    def _follow(self) -> Follower:
        follower = Follower(self.disk, self.world.scenario.settings, origin=ORIGIN, live=True)
        follower.follow()
        return follower

    def _recover(self) -> Follower:
        """Return the follower that leads next: the standby if there is one, else a new follower.

        A new follower recovers from the newest snapshot. Raises Violation if a snapshot, the
        standby and the whole log do not give the same state.
        """
        self.disk.repair()
        full = self._replay_all()
        standby, self._standby = self._standby, None
        snapshots = self.disk.snapshots()
        for stored in snapshots if standby is not None else snapshots[:-1]:
            state = State(self.world.scenario.settings)
            load_snapshot(state, self.disk.get_snapshot(stored), stored.name, ORIGIN)
            for record in self.disk.tail(stored.seq):
                for event in events_of(record, ORIGIN):
                    apply(state, event)
            state.reindex()
            self.world.trace.count("snapshot loaded")
            if canonical(state) != canonical(full):
                raise Violation(f"the snapshot at {stored.seq} and the records after it give a different state than the whole log")
        follower = standby or Follower(self.disk, self.world.scenario.settings, origin=ORIGIN)
        self.world.trace.count(
            "standby leads" if standby is not None else "leads from a snapshot" if snapshots else "leads from the log"
        )
        follower.follow()
        follower.settle()
        if canonical(follower.state) != canonical(full):
            raise Violation("the follower has a different state than the whole log gives")
        if _awaited_timers(follower.state) != _awaited_timers(full):
            raise Violation("the follower has different timers than the whole log gives")
        return follower

    def _replay_all(self) -> State:
        """Return the state after a replay of all records.

        Reports to the oracle which unsynced events survived the crash. Raises Violation if the
        state differs from the state that the master had in memory.
        """
        full = State(self.world.scenario.settings)
        known = self._unsynced[0][0] if self._unsynced else None
        seq = 0
        for record in self.disk.tail():
            events = events_of(record, ORIGIN)
            for event in events:
                apply(full, event)
            if known is not None and record.last_seq >= known:
                self.world.oracle.on_durable(events_of(record, ORIGIN))
            seq = record.last_seq
        self._unsynced.clear()
        full.reindex()
        self.world.oracle.judge_recovered(full)
        expected = self._states.get(seq)
        if expected is not None and canonical(full) != expected:
            raise Violation(f"the replay up to {seq} gives a different state than the master had in memory")
        self._states = {seq: canonical(full)}
        return full

    def _judge_state(self, state: State) -> None:
        """Raise Violation if the state in memory differs from the state that the whole log, with
        its unsynced part, gives."""
        expected = self._states.get(self.disk.next_seq - 1)
        if expected is not None and canonical(state) != expected:
            raise Violation("the state changed without an event in the log")

    # -- the network's side ------------------------------------------------------------------------
    def on_opened(self, link: Connection) -> None:
        self.peers[link.number] = Peer(link)

    def on_received(self, link: Connection, data: bytes) -> None:
        peer = self.peers.get(link.number)
        if peer is None:
            return
        for received in peer.decoder.receive_data(data):
            if isinstance(received, Misfit):
                raise Violation(f"the master cannot decode a message of {link.host}: {received.error}")
            self._on_message(peer, received.message)

    def on_closed(self, link: Connection) -> None:
        peer = self.peers.pop(link.number, None)
        if peer is not None:
            self.world.network.close(link, link.down)
            if peer.worker:
                self._receive(inputs.WorkerDisconnected(peer.worker, link.number))
            for run in peer.opening.values():
                self._receive(inputs.SubmitterGone(run))

    def _on_message(self, peer: Peer, message: pm.Message) -> None:
        world, state, origin = self.world, self.state, peer.link.number
        world.trace.note("master", f"#{origin} receives from {peer.link.host}: {describe(message)}")
        if isinstance(message, pm.Hello):
            try:
                welcome = answer(message, software=SOFTWARE, cluster=state.cluster, term=state.term)
            except PeerError as e:
                raise Violation(f"a Hello was refused: {e}") from e
            peer.actor = message.user
            peer.role = message.role
            self._send(peer, encode(welcome))
            return
        if not peer.role:  # the peer's Hello was lost, and the real master closes such a connection too
            self._closing(origin)()
            return
        run = ""
        if isinstance(message, (pm.Submit, pm.OpenRun, pm.RunSchedule)):
            self._runs += 1
            run = run_id(int(world.clock.now * 1000), self._runs)
        if isinstance(message, pm.OpenRun):
            if message.request in peer.opening:
                return  # a duplicate
            peer.opening[message.request] = run
        elif isinstance(message, pm.AddJobs):
            run = peer.opening.get(message.request, "")
        if isinstance(message, (pm.Cancel, pm.StopService)) and message.run not in state.runs and message.run in self._history:
            answer_type = pm.Cancelled if isinstance(message, pm.Cancel) else pm.ServicesStopped
            ended = encode(answer_type(message.request, 0))
            self.sequencer.hold([lambda: self._send(peer, ended)])
            self._release()
            return
        if isinstance(message, pm.Decide) and message.run in self._history and message.run not in state.runs:
            archived = encode(pm.Error(message.request, "not_found", "the run is in the history"))
            self.sequencer.hold([lambda: self._send(peer, archived)])
            self._release()
            return
        if isinstance(message, (pm.RetryDead, pm.PurgeDead)):
            self._receive(self._dead_letter_input(peer, message))
            return
        life = self._life
        if peer.worker and self._files.answer(
            message, lambda reply: self._send(peer, encode(reply)) if self.up and self._life == life else None
        ):
            return
        received = self._input_of(peer, message, run, world.rng.random())
        if received is not None:
            self._receive(received)
        if isinstance(message, pm.Heartbeat) and peer.worker:
            self._send(peer, encode(pm.Heard(0)))
        elif isinstance(message, pm.Leaving):
            self._send(peer, encode(pm.Pong(message.request)))

    def _input_of(self, peer: Peer, message: pm.Message, run: str, jitter: float) -> inputs.Input | None:
        origin = peer.link.number
        if isinstance(message, pm.Register):
            return registration(message, origin=origin, host="sim", cluster=self.state.cluster)
        if isinstance(message, pm.Grow):
            return growth_input(message, origin=origin, worker=peer.worker, actor=peer.actor)
        if peer.worker:
            return worker_input(message, peer.worker, jitter=jitter)
        return client_input(message, origin=origin, actor=peer.actor, run=run)

    def _dead_letter_input(self, peer: Peer, message: pm.RetryDead | pm.PurgeDead) -> inputs.Input:
        chunks = [] if message.run in self.state.runs else self._history.get(message.run, [])
        if isinstance(message, pm.RetryDead):
            return retry_input(message, origin=peer.link.number, actor=peer.actor, chunks=chunks)
        return purge_input(message, origin=peer.link.number, actor=peer.actor, chunks=chunks)

    def _send(self, peer: Peer, data: bytes) -> None:
        self.world.network.send(peer.link, peer.link.down, data)

    def write_store(self, written: inputs.StoreWritten, acknowledge: Callable[[], None]) -> None:
        """Journal changes that a user has executed in the store of `state`.

        The master calls `acknowledge` when the changes are durable.
        """
        self._receive(written)
        self._store_acks.append(acknowledge)

    # -- turns -------------------------------------------------------------------------------------
    def _receive(self, received: inputs.Input) -> None:
        self.sequencer.see(received)
        if self._turn is None:
            self._turn = self.world.clock.after(self.world.pause(), self._take_turn)

    def _take_turn(self) -> None:
        now, world = self.world.clock.now, self.world
        self._turn = None
        batch = self.sequencer.take(self.state, now)
        if batch and isinstance(batch[-1], inputs.TimePassed):
            passed = batch.pop()
            # The last place is best, because then the core handles all received messages before it
            # checks timeouts. But the core must work with any place.
            first = 1 if batch and isinstance(batch[0], inputs.MasterBooted) else 0
            place = len(batch) if world.scenario.calm else world.rng.randint(first, len(batch))
            batch.insert(place, passed)
        decision = step(self.state, now, batch)
        check(self.state)
        world.oracle.report_oracle.judge_turn(self.state)
        judge_broken_jobs(self.state, decision.events)
        if self.state.pool.holds:
            world.trace.count("room held")
        seq = self._append(decision.events)
        self._hold_effects(decision.effects)
        self.sequencer.hold(self._store_acks)
        self._store_acks = []
        for event in decision.events:
            ends = isinstance(event, ev.RunFinished) and world.chance(world.faults.archive)
            if isinstance(event, (ev.RunFinished, ev.RunRestored)) and (ends or isinstance(event, ev.RunRestored)):
                self.sequencer.hold([self._archiving(event.run)])
            elif isinstance(event, ev.TokenIssued):
                self.sequencer.hold([self._posting(*self._tokens.pop(event.digest))])
        if world.chance(world.faults.snapshot):
            self._snapshot = seq, self.state.term, list(snapshot.dump(self.state))
        self._release()
        self._set_alarm()

    def _archiving(self, run: str) -> Callable[[], None]:
        """Return a call that moves a run to the history some time later. The sequencer makes the
        call when the end of the run is durable."""

        def archive() -> None:
            entry = self.state.runs.get(run)
            if self.up and entry is not None and entry.state is not RunState.RUNNING:
                chunks, changes = list(snapshot.dump_run(self.state, entry, 7)), entry.changes
                self.world.clock.after(self.world.rng.choice((0.0, 1.0, 20.0)), lambda: kept(chunks, changes))

        def kept(chunks: list[bytes], changes: int) -> None:
            if self.up and run in self.state.runs:
                self._history[run] = chunks
                self._receive(inputs.HistoryKept([run], [changes]))

        def later() -> None:
            self.world.clock.after(self.world.rng.uniform(0.0, 20.0), archive)

        return later

    # -- webhooks ----------------------------------------------------------------------------------
    def _announcing(self, number: int) -> Callable[[], None]:
        """Return a call that generates a token for a gate with a webhook. The sequencer makes the
        call when the opening of the gate is durable."""

        def perform() -> None:
            token = f"token-{number}-{self._life}-{self.world.rng.getrandbits(32):08x}"
            digest = sha256(token.encode()).digest()
            self._tokens[digest] = (number, token)
            self._receive(inputs.TokenDrawn(number, digest))

        return perform

    def _posting(self, number: int, token: str) -> Callable[[], None]:
        """Return a call that sends a durable token to the webhook until the webhook answers."""
        life, world = self._life, self.world

        def post() -> None:
            job = self.state.jobs.get(number)
            if self._life != life or not self.up or job is None or job.state is not JobState.PAUSED:
                return
            if world.chance(world.faults.webhook):
                world.trace.count("webhook failed")
                world.clock.after(world.rng.uniform(0.1, 5.0), post)
                return
            world.oracle.on_webhook(number, token)
            world.clock.after(world.rng.uniform(0.0, 2.0), answered)

        def answered() -> None:
            if self._life == life and self.up:
                self._receive(inputs.WebhookAnswered(number, "delivered"))

        return post

    def _set_alarm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        due = next_due(self.state)
        self._alarm = None if due is None else self.world.clock.at(max(due, self.world.clock.now), self._on_alarm)

    def _on_alarm(self) -> None:
        if self._turn is None:
            self._turn = self.world.clock.after(self.world.pause(), self._take_turn)

    def _append(self, events: list[ev.Event]) -> int:
        payload, count = ev.encode(events)
        if not count or self.log is None:
            return self.disk.next_seq - 1
        self._unsynced.append((self.log.next_seq + count - 1, ev.decode(payload)))
        self._states[self.log.next_seq + count - 1] = canonical(self.state)
        seq = self.log.append(payload, count, synced=not ev.SYNCED.isdisjoint(map(type, events)))
        self.sequencer.wrote(seq)
        return seq

    def _sync(self, done: Callable[[], None]) -> None:
        world = self.world
        takes = 0.0002 + world.rng.random() * 0.002
        if world.chance(world.faults.slow_sync):
            takes += world.rng.random() * world.faults.slow_sync_s
        world.clock.after(takes, done)

    def _on_durable(self, seq: int) -> None:
        self.sequencer.synced(seq)
        while self._unsynced and self._unsynced[0][0] <= seq:
            _, events = self._unsynced.popleft()
            self.world.oracle.on_durable(events)
        self._states = {at: state for at, state in self._states.items() if at >= seq}
        if self._snapshot is not None and self._snapshot[0] <= seq:
            at, term, chunks = self._snapshot
            self.disk.put_snapshot(seq=at, term=term, chunks=chunks)
            self.disk.prune()
            self._snapshot = None
        if self._standby is not None:
            self._standby.follow()
        self._release()

    def _on_log_failed(self, error: JournalFailed) -> None:
        raise Violation(f"the log failed: {error}")

    # -- effects -----------------------------------------------------------------------------------
    def _hold_effects(self, effects: list[fx.Effect]) -> None:
        calls: list[Callable[[], None]] = []
        for effect in effects:
            calls += [self._sending(effect, origin, message) for origin, message in messages_of(self.state, effect)]
            if isinstance(effect, fx.StartBurst):
                calls.append(partial(self.provider.start, effect))
            elif isinstance(effect, fx.StopBurst):
                calls.append(partial(self.provider.stop, effect.name))
            elif isinstance(effect, fx.Disconnect):
                calls.append(self._closing(effect.origin))
            elif isinstance(effect, fx.AnnounceGate):
                calls.append(self._announcing(effect.job))
        self.sequencer.hold(calls)

    def _sending(self, effect: fx.Effect, origin: int, message: pm.Message) -> Callable[[], None]:
        data = encode(message)

        def perform() -> None:
            peer = self.peers.get(origin)
            if isinstance(effect, fx.AcceptWorker):
                self._accept(effect)
            if peer is not None:
                self.world.trace.note("master", f"#{origin} sends to {peer.link.host}: {describe(message)}")
                self._send(peer, data)

        return perform

    def _accept(self, effect: fx.AcceptWorker) -> None:
        for origin, peer in list(self.peers.items()):
            if peer.worker == effect.worker and origin != effect.origin:
                peer.worker = 0
                self._closing(origin)()
        if effect.origin in self.peers:
            self.peers[effect.origin].worker = effect.worker
        else:  # the connection broke before the registration was durable
            self._receive(inputs.WorkerDisconnected(effect.worker, effect.origin))

    def _on_burst_gone(self, name: str, reason: str) -> None:
        if self.up:
            self._receive(inputs.BurstGone(name, reason))

    def ask_worker_to_leave(self, name: str, *, now: bool) -> None:
        """Order a worker to leave, on behalf of a user who does not wait for the answer."""
        if self.up:
            self.world.oracle.log_oracle.asked_to_leave[name] = None
            self._receive(inputs.WorkerToldToLeave(0, 0, name, now, ACTOR))

    def _closing(self, origin: int) -> Callable[[], None]:
        def perform() -> None:
            peer = self.peers.pop(origin, None)
            if peer is not None:
                self.world.network.close(peer.link, peer.link.down)

        return perform

    def _release(self) -> None:
        """Execute, in order, all calls whose events are synced."""
        for call in self.sequencer.release():
            call()

    # -- the end -----------------------------------------------------------------------------------
    def judge_end(self) -> None:
        """Raise Violation unless a replay of the whole log, which is synced, gives the state in
        memory."""
        self._judge_state(self.state)
        before = canonical(self.state)
        if canonical(self._recover().state) != before:
            raise Violation("a replay of the whole log gives a different state than the final state in memory")

    def open_work(self) -> list[str]:
        """Describe unfinished work, one text for each item. The list must be empty at the end of a
        simulation."""
        state, work = self.state, []
        if not self.up or not self.sequencer.is_idle or self._unsynced:
            work.append("the master is busy")
        work += [
            f"run {run.id} has {run.open} jobs open" for run in state.runs.values() if run.open or run.state is RunState.OPENING
        ]
        for rule, (least, _) in state.settings.scale.items():
            bursts = [burst.name for burst in state.bursts.values() if burst.rule == rule]
            if len(bursts) != least:
                work.append(f"{len(bursts)} burst workers of {rule} instead of {least}: {' '.join(bursts)}")
        for worker in state.workers.values():
            if worker.used:
                work.append(
                    f"{worker.name} holds {shorts(list(worker.held))}, must end {shorts([*worker.ending, *worker.retiring])}"
                )
            if worker.state is WorkerState.SUSPECT:
                work.append(f"{worker.name} is SUSPECT")
        return work


def canonical(state: State) -> bytes:
    """Return the durable part of a state, encoded in a canonical order."""
    first, *rest = snapshot.dump(state)
    head = _head_decoder.decode(first)
    for worker in head.workers:
        worker.connection, worker.heard_at, worker.deadline, worker.watched = 0, 0.0, 0.0, False
        worker.recalled.clear()
        if worker.state is WorkerState.ALIVE:
            worker.state = WorkerState.SUSPECT
    return b"".join([msgspec.msgpack.encode(head), *rest])


def _awaited_timers(state: State) -> set[tuple[TimerKind, int]]:
    """Return kind and number of each timer that is not void. The result has no times, because
    deadlines of workers are not durable."""
    return {(kind, number) for due, kind, number in state.timers if state.is_awaited(due, kind, number)}
