"""What commands work on: the databases, and for whom, where and when the present command runs.

A command is a function of the context and its arguments. It tells each key that it changed
(`changed`, `touch`), and each change in the form in which it is to be repeated (`changed`, `log`):
without chance, without time that is relative, without conditions on what has expired.
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
"""A database and a command that repeats what was done there. What a transaction did stands between
[MULTI] and [EXEC]."""


MOST_WORK = 10_000_000
"""Elements that one command may look at, some seconds; then it is refused."""
TURN_WORK = 20_000
"""Elements that are looked at in one turn, some milliseconds; then the session waits for the next.
"""
SPACES = 1 << 32
"""Databases from this number on are spaces of runs: made when they are first named, and beyond the
reach of SELECT."""


class Databases(dict[int, Database]):
    """By number."""

    def __init__(self, count: int, context: Context) -> None:
        super().__init__((i, Database(i, context)) for i in range(count))
        self._context = context

    def __missing__(self, index: int) -> Database:
        if index < SPACES:
            raise KeyError(index)
        made = self[index] = Database(index, self._context)
        made.lively = self._context.meter is not None
        return made


class Counters:
    """What INFO tells of this life of the store."""

    __slots__ = ("commands", "evicted", "expired", "hits", "misses", "sessions")

    def __init__(self) -> None:
        self.commands = self.expired = self.evicted = self.hits = self.misses = self.sessions = 0


class Context:
    """Long-lived; `now`, `session` and `db` are set for each command."""

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
        """Keys that changed and that somebody waits for."""
        self.timeouts: list[tuple[int, int, Session]] = []
        """A heap of (when, a number, session) of those that wait so long; out of date if the number
        is not of their wait."""
        self.waits = 0
        self.scans = ScanPositions()
        self.meter: Meter | None = None
        """Measures keys if there is a limit on memory."""
        self.guarded = False
        """Writing commands are to be looked at before they run: there are mounts, or a limit on
        memory."""
        self.prefixes: tuple[bytes, ...] = ()
        """Of all mounts."""
        self.effort = 0
        """Elements that commands have looked at in this turn. The shell sets it to 0 when a turn
        begins."""
        self.executing = False
        """Within EXEC, where nobody waits."""
        self.counters = Counters()

    def strain(self, work: int) -> None:
        """A command is about to look at so many elements: if that is much, it is the last of its
        session in this turn. Raises Refusal if it is too much. What stays below some thousands need
        not be told."""
        if work > MOST_WORK and not self.repeating:
            raise Refusal(b"ERR this would hold up everybody: it looks at %d elements, and %d are the most" % (work, MOST_WORK))
        self.effort += work
        if self.effort > TURN_WORK:
            self.session.halted = True

    @property
    def repeating(self) -> bool:
        """A change of the journal or of a snapshot is repeated. Limits are for admission: what was
        done once is done again."""
        return not self.now

    def review(self) -> None:
        """After a change of the settings or the mounts."""
        limited = self.settings.max_memory > 0
        if not limited:
            self.meter = None
        elif self.meter is None:
            self.meter = Meter()
            self.meter.measure(list(self.databases.values()))
        for db in self.databases.values():
            db.lively = bool(db.mounts) or limited
        self.prefixes = tuple(prefix for db in self.databases.values() for prefix in db.mounts)
        self.guarded = limited or bool(self.prefixes)

    def typed(self, key: bytes, kind: type[T]) -> T | None:
        """What a key holds, which is of class `kind`; None if it is not there. Raises
        Refusal(WRONG_TYPE)."""
        value = self.db.find(key)
        if value is None or value.__class__ is kind:
            return value
        raise Refusal(WRONG_TYPE)

    def changed(self, key: bytes, args: list[bytes]) -> None:
        """`key` changed, and `args` does the same again in this database."""
        db = self.db
        self.changes.append((db.index, args))
        if self.observed and (db.index, key) in self.observed:
            self._notice(db, key)
        if self.meter is not None:
            self.meter.weigh(db, key)

    def stored(self, key: bytes, args: list[bytes], *, over: bool) -> None:
        """Like `changed`, for the result of a command. `over`: the key was there, with something
        else. As in Redis 7.0, who waits for it is not served then, and goes on waiting until the
        key is made anew."""
        observers = self.observed.get((self.db.index, key))
        if over and observers is not None and (self.db.index, key) not in self.ready:
            observers.passed_over = True
        self.changed(key, args)

    def regrouped(self, key: bytes, args: list[bytes]) -> None:
        """Like `changed`, for what those who watch a stream or wait for it take no notice of: its
        groups and its last id."""
        db = self.db
        self.changes.append((db.index, args))
        if self.meter is not None:
            self.meter.weigh(db, key)

    def wake(self, key: bytes) -> None:
        """Whoever waits for `key` is to look again, though it has not changed."""
        observers = self.observed.get((self.db.index, key))
        if observers is not None and observers.waiters:
            self.ready[self.db.index, key] = None

    def log(self, args: list[bytes]) -> None:
        """`args` does the same again in this database."""
        self.changes.append((self.db.index, args))

    def touch(self, key: bytes, db: Database | None = None) -> None:
        """`key` changed."""
        db = db or self.db
        if self.observed and (db.index, key) in self.observed:
            self._notice(db, key)
        if self.meter is not None:
            self.meter.weigh(db, key)

    def expire(self, db: Database, key: bytes) -> None:
        """Deletes a key that has expired."""
        db.remove(key)
        self.counters.expired += 1
        self.changes.append((db.index, [b"DEL", key]))
        self.touch(key, db)

    def drop_if_empty(self, key: bytes, value: dict[bytes, bytes] | object) -> None:
        """A key holds no empty hash, list, set or sorted set."""
        if not value:
            self.db.remove(key)

    def deliver(self, session: Session, message: Push) -> None:
        self.deliveries.append((session, message))

    def _notice(self, db: Database, key: bytes) -> None:
        observers = self.observed[db.index, key]
        for session in observers.watchers:
            if not session.watched[db.index, key] or key in db.data:
                session.stale = True
        if observers.passed_over and key not in db.data:
            observers.passed_over = False
        if observers.waiters and not observers.passed_over:
            self.ready[db.index, key] = None
