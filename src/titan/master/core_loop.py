"""Turns of the master: step the inputs, journal the events, then release the effects.

The loop owns the state, the clock, the open log and the order of outputs. Effects, replies and
pushed changes wait in one queue. An output leaves the queue when the records that it depends on are
durable, so no peer learns of a decision that could still be lost.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
from collections.abc import Callable

from titan.core.effects import Effect
from titan.core.events.events import SYNCED, Event, encode
from titan.core.events.records import RECORD_BYTES, divided
from titan.core.handlers.fencing import term_floor
from titan.core.inputs import Input, MasterBooted
from titan.core.state.state import State
from titan.core.step import next_due, step
from titan.errors import Conflict, JournalFailed
from titan.gateway.follower import Follower
from titan.gateway.sequencer import Sequencer
from titan.host.clock import SteadyClock
from titan.journal.engine import OpenLog
from titan.master.child_process import run_beside
from titan.master.compaction import MODULE as COMPACTION
from titan.master.faulty_peers import PATIENCE, FaultyPeers, Raised, TrackedInputs

log = logging.getLogger("titan.master")

PENDING_LIMIT = 64 * 1024 * 1024
"""Maximum bytes of the journal that wait for the disk.

Above the limit the master stops reading from its connections. It resumes when less than half of the
limit waits.
"""


class CoreLoop:
    """Loop of turns.

    `prepare(effects)` turns effects into calls in the turn that decided them, while the state still
    matches the decision. The loop makes these calls when the events are durable, and then calls
    `on_released`. In each turn, the loop first makes the calls whose events are durable by then,
    and then calls `on_events(events)`. Peers can thus act on the replies while `on_events` runs.
    """

    def __init__(
        self,
        state: State,
        clock: SteadyClock,
        *,
        prepare: Callable[[list[Effect]], list[Callable[[], None]]],
        on_events: Callable[[list[Event]], None],
        on_pressure: Callable[[bool], None],
        on_fatal: Callable[[BaseException], None],
        on_raised: Callable[[Raised], None] | None = None,
        on_released: Callable[[], None] = lambda: None,
        faulty_peers: FaultyPeers | None = None,
    ) -> None:
        """`on_raised` is called when a turn raised an exception. The loop then decides nothing
        more.

        If `on_raised` is None, an exception of a turn is fatal.
        """
        self.state = state
        self.clock = clock
        self._prepare = prepare
        self._on_events = on_events
        self._on_released = on_released
        self._on_pressure = on_pressure
        self._on_fatal = on_fatal
        self._on_raised = on_raised
        self._faulty_peers = faulty_peers
        self.careful = False
        """True if each input gets its own turn, so that the input that raises an exception is
        known."""
        self._loop = asyncio.get_running_loop()
        self.order = Sequencer()
        self._scheduled = False
        self._turning = False
        """True while `on_events` runs. `on_events` must not start another turn."""
        self._log: OpenLog | None = None
        """Open log; None until `lead`."""
        self._timer: asyncio.TimerHandle | None = None
        self._timer_due = 0.0
        self._pressed = False
        self._dead = False
        self._broken = False
        self._location = ""
        self._since_snapshot = 0
        self.snapshot_at = 0.0
        """Time of the last snapshot by this process, in seconds since the epoch; 0 if there is
        none."""
        self._sealing: int | None = None
        self._compactor: asyncio.Task[None] | None = None

    # -- life --------------------------------------------------------------------------------------
    def lead(
        self, follower: Follower, cluster: str, bursts: tuple[str, ...] = (), *, copied: str = "", behind_s: float = 0.0
    ) -> None:
        """Open the log that `follower` has followed, and begin a new term.

        This loop must share the follower's state. `copied` is the reason why the home is known to
        be a copy, or "". `behind_s` is explained at `MasterBooted`. The caller awaits `settled` to
        be sure that the beginning of the term is durable. Raises JournalFailed.
        """
        engine = follower.engine
        self._location = engine.location
        self._log = log = engine.open(
            after_seq=follower.seq,
            above_term=term_floor(self.state, copied=bool(copied)),
            on_durable=lambda seq: self._call_in_loop(self._synced, seq),
            on_failed=lambda error: self._call_in_loop(self._fail, error),
        )
        if log.next_seq != follower.seq + 1:  # the earlier leader appended records that the follower has not read
            follower.follow()
        assert follower.state is self.state and follower.seq == log.next_seq - 1, "the follower has not read the log to its end"
        follower.settle()
        self.order.begin(follower.seq)
        self.see(MasterBooted(cluster, log.term, bursts, secrets.token_hex(8), copied, behind_s))
        self.turn()

    async def settled(self) -> None:
        """Wait until all decisions so far are durable and their calls are made."""
        done = asyncio.Event()
        self.release(done.set)
        await done.wait()

    async def close(self) -> None:
        self._dead = True
        if self._timer is not None:
            self._timer.cancel()
        if self._compactor is not None:
            self._compactor.cancel()
            await asyncio.gather(self._compactor, return_exceptions=True)
        if self._log is not None:
            await self._loop.run_in_executor(None, self._log.close)

    @property
    def low_space(self) -> bool:
        return self._log is not None and self._log.low_space

    # -- in ----------------------------------------------------------------------------------------
    def see(self, received: Input) -> None:
        """Add an input. One turn handles all inputs of an iteration of the event loop.

        Raises Conflict if the sender was set aside as a faulty peer.
        """
        peers = self._faulty_peers
        if (
            peers is not None
            and peers.any
            and hasattr(received, "request")
            and peers.is_set_aside(sender := peers.sender_of(self.state, received))
        ):
            raise Conflict(
                f"{sender} is set aside until this master is restarted: its messages made the master fail {PATIENCE} times; see "
                "the master's log for the messages and errors"
            )
        self.order.see(received)
        self._schedule()

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self.turn)

    def turn(self) -> None:
        self._scheduled = False
        if self._dead:
            return
        now = self.clock.now()
        inputs = self.order.take(self.state, now, only_oldest=self.careful)
        if not inputs:
            self._arm()
            return
        if self.order.has_inputs:
            self._schedule()
        tracked = TrackedInputs(inputs)
        try:
            events, effects = step(self.state, now, tracked)
            payload, count = encode(events)
            if count and self._log is not None:
                synced = not SYNCED.isdisjoint(map(type, events))
                written = None if synced else self._log.append_now(payload, count)
                if written is not None:
                    self.order.wrote(written, durable=True)
                else:
                    self._append(payload, count, events, synced=synced)
                self._since_snapshot += len(payload)
            calls = self._prepare(effects)
            if calls:
                self.order.hold(calls)
            self._run_released()
            self._on_released()
            if events:
                self._turning = True
                self._on_events(events)
                self._turning = False
        except BaseException as error:  # the state can no longer be trusted; the log can
            self._turning = False
            self._give_up(error, tracked.current)
            return
        self._run_released()
        self._on_released()
        if self.order.durable == self.order.seq:
            self._maybe_compact()
        self._arm()

    def _append(self, payload: bytes, count: int, events: list[Event], *, synced: bool) -> None:
        assert self._log is not None
        if len(payload) <= RECORD_BYTES:
            self.order.wrote(self._log.append(payload, count, synced=synced))
        else:
            for part in divided(events, RECORD_BYTES):
                piece, inside = encode(part)
                if inside:
                    self.order.wrote(self._log.append(piece, inside, synced=synced))
        self._watch_pressure()

    # -- out ---------------------------------------------------------------------------------------
    def release(self, call: Callable[[], None]) -> None:
        """Make a call after all decisions so far are durable.

        Pending inputs are decided first, unless `on_events` is the caller.
        """
        while self.order.has_inputs and not (self._turning or self._dead):
            self.turn()
        if self._broken:
            return
        self.order.hold([call])
        self._run_released()

    def _run_released(self) -> None:
        for call in self.order.release():
            try:
                call()
            except Exception:  # a failed answer must not prevent the other answers
                log.exception("an answer could not be sent")

    def _synced(self, seq: int) -> None:
        self.order.synced(seq)
        self._run_released()
        self._on_released()
        self._watch_pressure()
        self._maybe_compact()

    # -- limits ------------------------------------------------------------------------------------
    def _watch_pressure(self) -> None:
        assert self._log is not None
        pending = self._log.pending_bytes
        if not self._pressed and pending > PENDING_LIMIT:
            self._pressed = True
            self._on_pressure(True)
        elif self._pressed and pending < PENDING_LIMIT // 2:
            self._pressed = False
            self._on_pressure(False)

    def _give_up(self, error: BaseException, received: Input | None) -> None:
        """Handle an exception of a turn: report it with the sender of its input, or stop the
        master."""
        if self._dead or self._on_raised is None or self._faulty_peers is None or isinstance(error, JournalFailed):
            self._fail(error)
            return
        if not isinstance(error, Exception):
            self._fail(error)
            return
        self._dead = True
        self.order.drop()  # the waiting calls are based on a state that may be wrong
        self._broken = True
        sender = self._faulty_peers.sender_of(self.state, received) if received is not None else ""
        self._on_raised(Raised(error, received, sender, getattr(received, "origin", 0)))

    def _fail(self, error: BaseException) -> None:
        if self._dead:
            return
        self._dead = True
        if isinstance(error, JournalFailed):
            log.critical("%s", error)
        else:
            log.critical("the master stops: %s", error, exc_info=error)
        self._on_fatal(error)

    def _call_in_loop(self, call: Callable[..., None], *args: object) -> None:
        try:
            self._loop.call_soon_threadsafe(call, *args)
        except RuntimeError:  # the loop is closed, so the call is pointless
            pass

    def _arm(self) -> None:
        due = next_due(self.state)
        if self._timer is not None:
            if due == self._timer_due:
                return
            self._timer.cancel()
            self._timer = None
        if due is not None:
            self._timer_due = due
            self._timer = self._loop.call_later(max(0.0, due - self.clock.now()) + 0.0005, self._wake)

    def _wake(self) -> None:
        self._timer = None
        self.turn()

    def snapshot_soon(self) -> None:
        """Start a snapshot if anything was logged since the last one, however little."""
        if self._since_snapshot:
            self._since_snapshot = max(self._since_snapshot, self.state.settings.snapshot_bytes)
            self._loop.call_soon(self._maybe_compact)

    # -- snapshots ---------------------------------------------------------------------------------
    def _maybe_compact(self) -> None:
        """Seal the log if enough was logged since the last snapshot.

        When the log is sealed, start a compaction in a child process.
        """
        if self._log is None or not self._location or self._compactor is not None or self._dead:
            return
        if self._sealing is None and self._since_snapshot >= self.state.settings.snapshot_bytes:
            self._sealing = self._log.rotate()
            self._since_snapshot = 0
        if self._sealing is not None and self._log.sealed_through >= self._sealing:
            through, self._sealing = self._sealing, None
            self._compactor = self._loop.create_task(self._compact(through))

    async def _compact(self, through: int) -> None:
        more = ["--keep-segments"] if self.state.settings.keep_journal else []
        try:
            problem = await run_beside(COMPACTION, self._location, str(through), str(os.getpid()), *more)
            if problem:
                log.warning("no snapshot was made: %s", problem)
            else:
                self.snapshot_at = self.clock.now()
        except OSError as e:  # descriptors, memory or processes are used up; a later record starts the next try
            log.warning("no snapshot was made: %s", e)
        finally:
            self._compactor = None
        # the next snapshot may already be due, and perhaps no further record arrives to start it
        self._maybe_compact()
