"""Context of commands: the databases, and the session, database and time of the current command.

A command is a function of the context and its arguments. It reports each key that it changed
(`changed`, `touch`). It reports each change in a form that can be repeated (`changed`, `log`):
without randomness, relative times or conditions on expired keys.
"""

from __future__ import annotations

from typing import TypeVar

from titan.store.dice import Dice
from titan.store.hooks import Hooks
from titan.store.keyspace import Database
from titan.store.memory import Meter
from titan.store.observers import Observed
from titan.store.replies import WRONG_TYPE, Push, Refusal, Reply
from titan.store.scan_positions import ScanPositions
from titan.store.session import Session
from titan.store.settings import Settings

T = TypeVar("T")
Change = tuple[int, list[bytes]]
"""Number of a database, and a command that repeats a change in it. The commands [MULTI] and [EXEC]
enclose the changes of a transaction."""


MOST_WORK = 10_000_000
"""Elements that one command may visit, which takes some seconds. A longer command is refused."""
TURN_WORK = 20_000
"""Elements that commands may visit in one turn, which takes some milliseconds. A session whose
command exceeds this number runs its next command in the next turn."""
SPACES = 1 << 32
"""Lowest number of a run's database. The store creates such a database on first use. SELECT cannot
choose it."""


class Databases(dict[int, Database]):
    """Databases by number."""

    def __init__(self, count: int, context: Context) -> None:
        super().__init__((i, Database(i, context)) for i in range(count))
        self._context = context

    def __missing__(self, index: int) -> Database:
        if index < SPACES:
            raise KeyError(index)
        made = self[index] = Database(index, self._context)
        made.has_slow_lookup = self._context.meter is not None
        return made


class Counters:
    """Counters of INFO since the start of this store."""

    __slots__ = ("commands", "evicted", "expired", "hits", "misses", "sessions")

    def __init__(self) -> None:
        self.commands = self.expired = self.evicted = self.hits = self.misses = self.sessions = 0


class Context:
    """State of a store and of its current command. `now`, `session` and `db` are set for each
    command."""

    def __init__(self, databases: int, seed: int, settings: Settings, hooks: Hooks) -> None:
        self.now = 0
        """Milliseconds since the epoch. 0 during a replay, when nothing expires."""
        self.databases = Databases(databases, self)
        self.db = self.databases[0]
        self.session = Session(0, self.db, address="", local_address="", now_ms=0)
        self.settings = settings
        self.hooks = hooks
        self.dice = Dice(seed)
        self.changes: list[Change] = []
        self.deliveries: list[tuple[Session, Reply]] = []
        self.closing: list[Session] = []
        self.sessions: dict[int, Session] = {}
        self.channels: dict[bytes, dict[Session, None]] = {}
        self.patterns: dict[bytes, dict[Session, None]] = {}
        self.observed = Observed()
        self.ready: dict[tuple[int, bytes], None] = {}
        """Changed keys for which a session waits."""
        self.timeouts: list[tuple[int, int, Session]] = []
        """Heap of (end of the timeout, number of the wait, session). An entry is void if the
        session's current wait has another number."""
        self.waits = 0
        self.scans = ScanPositions()
        self.meter: Meter | None = None
        """Meter of the memory of keys; None without a limit."""
        self.guarded = False
        """True if `guarding` checks commands before they run, because there are mounts or a memory
        limit."""
        self.prefixes: tuple[bytes, ...] = ()
        """Prefixes of all mounts."""
        self.work_done = 0
        """Elements that commands have visited in this turn. The shell resets it when a turn begins.
        """
        self.executing = False
        """True within EXEC, where commands do not wait."""
        self.counters = Counters()

    def strain(self, work: int) -> None:
        """Count the elements that a command is about to visit.

        If commands have visited more than TURN_WORK elements in this turn, the session runs no
        further command in it. Raises Refusal if `work` exceeds MOST_WORK. A command that visits
        only a few thousand elements need not call this method.
        """
        if work > MOST_WORK and not self.repeating:
            raise Refusal(
                b"ERR this command would block all clients: it visits %d elements, and the limit is %d" % (work, MOST_WORK)
            )
        self.work_done += work
        if self.work_done > TURN_WORK:
            self.session.halted = True

    @property
    def repeating(self) -> bool:
        """True during a replay of the journal or of a snapshot. Limits do not apply then, because
        the store has accepted the command before."""
        return not self.now

    def review(self) -> None:
        """Apply changed settings or mounts."""
        limited = self.settings.max_memory > 0
        if not limited:
            self.meter = None
        elif self.meter is None:
            self.meter = Meter()
            self.meter.measure(list(self.databases.values()))
        for db in self.databases.values():
            db.has_slow_lookup = bool(db.mounts) or limited
        self.prefixes = tuple(prefix for db in self.databases.values() for prefix in db.mounts)
        self.guarded = limited or bool(self.prefixes)

    def is_derived(self, key: bytes) -> bool:
        """Return whether a name is reserved for a derived key, in any database."""
        return any(db.mount_of(key) is not None for db in self.databases.values() if db.mounts)

    def typed(self, key: bytes, kind: type[T]) -> T | None:
        """Return the value of a key, of class `kind`; None if the key does not exist. Raises
        Refusal(WRONG_TYPE)."""
        value = self.db.find(key)
        if value is None or value.__class__ is kind:
            return value
        raise Refusal(WRONG_TYPE)

    def changed(self, key: bytes, args: list[bytes]) -> None:
        """Record that `key` changed. `args` is a command that repeats the change in this
        database."""
        db = self.db
        self.changes.append((db.index, args))
        if self.observed and (db.index, key) in self.observed:
            self._notice(db, key)
        if self.meter is not None:
            self.meter.weigh(db, key)

    def stored(self, key: bytes, args: list[bytes], *, over: bool) -> None:
        """Record a change like `changed`, for a key that stores the result of a command.

        `over` is True if the result replaces another value. As in Redis 7.0, such a replacement
        does not serve the sessions that wait for the key. The sessions wait until the key is
        deleted and created again.
        """
        observers = self.observed.get((self.db.index, key))
        if over and observers is not None and (self.db.index, key) not in self.ready:
            observers.suppressed = True
        self.changed(key, args)

    def regrouped(self, key: bytes, args: list[bytes]) -> None:
        """Record a change of a stream's groups or last id. Unlike `changed`, do not notify sessions
        that watch the stream or wait for it."""
        db = self.db
        self.changes.append((db.index, args))
        if self.meter is not None:
            self.meter.weigh(db, key)

    def wake(self, key: bytes) -> None:
        """Let the sessions that wait for `key` try again, although the key has not changed."""
        observers = self.observed.get((self.db.index, key))
        if observers is not None and observers.waiters:
            self.ready[self.db.index, key] = None

    def log(self, args: list[bytes]) -> None:
        """Record a change of this database. `args` is a command that repeats the change."""
        self.changes.append((self.db.index, args))

    def touch(self, key: bytes, db: Database | None = None) -> None:
        """Tell observers and the meter that `key` changed."""
        db = db or self.db
        if self.observed and (db.index, key) in self.observed:
            self._notice(db, key)
        if self.meter is not None:
            self.meter.weigh(db, key)

    def expire(self, db: Database, key: bytes) -> None:
        """Delete a key that has expired."""
        db.remove(key)
        self.counters.expired += 1
        self.changes.append((db.index, [b"DEL", key]))
        self.touch(key, db)

    def drop_if_empty(self, key: bytes, value: dict[bytes, bytes] | object) -> None:
        """Delete the key if its value is an empty hash, list, set or sorted set."""
        if not value:
            self.db.remove(key)

    def deliver(self, session: Session, message: Push) -> None:
        self.deliveries.append((session, message))

    def _notice(self, db: Database, key: bytes) -> None:
        observers = self.observed[db.index, key]
        for session in observers.watchers:
            if not session.watched[db.index, key] or key in db.data:
                session.stale = True
        if observers.suppressed and key not in db.data:
            observers.suppressed = False
        if observers.waiters and not observers.suppressed:
            self.ready[db.index, key] = None
