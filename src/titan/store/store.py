"""TitanStore: Redis's types and commands in memory. Pure: time comes in, what changed and what is
to be said comes out.

    store = Store()
    session = store.open_session(1, now_ms=0)
    reply = store.execute(now_ms, session, [b"SET", b"k", b"v"])
    encode(reply, session.resp, out)
    store.take_changes()         # to be made durable before anybody sees `out`
    store.take_deliveries()      # what other sessions are told

A change is a command that repeats what was done, without chance or time; `replay` takes it. Nothing
expires in a replay: that a key expired is a change of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from hashlib import sha256

from titan.errors import JournalCorrupt
from titan.store import blocking, breaking, connection, guarding, pubsub, rewriting, server_info, transactions
from titan.store.command import Command
from titan.store.context import SPACES, TURN_WORK, Change, Context
from titan.store.hooks import Hooks
from titan.store.keyspace import Mount
from titan.store.replies import BLOCKED, NO_REPLY, SHOWN_BYTES, Error, Refusal, Reply, shown
from titan.store.session import Session
from titan.store.settings import Settings
from titan.store.table import COMMANDS, SPELLED

_WHILE_LISTENING = (b"subscribe", b"psubscribe", b"unsubscribe", b"punsubscribe", b"ping", b"quit", b"reset")
_OF_A_BROWSER = (b"post", b"host:")
"""A web page can make its reader's browser send anything to a port of his machine, but only behind
a line that begins so."""
_NOT_QUEUED = Error(b"ERR Command not allowed inside a transaction")
_NO_AUTH = Error(b"NOAUTH Authentication required.")


class Store:
    """`settings`: what CONFIG SET would set. `seed` decides chance (SPOP and the like)."""

    def __init__(
        self, *, databases: int = 16, settings: Mapping[str, str] | None = None, seed: int = 0, hooks: Hooks | None = None
    ) -> None:
        given = {"databases": str(databases), **(settings or {})}
        self._ctx = Context(databases, seed, Settings(given), hooks or Hooks())
        self._replayer = Session(0, self._ctx.databases[0], address="", local_address="", now_ms=0)
        self._ctx.review()

    @property
    def settings(self) -> Settings:
        """After a change call `review`."""
        return self._ctx.settings

    def review(self) -> None:
        """Settings were changed other than by CONFIG SET."""
        self._ctx.review()

    def attach(self, hooks: Hooks, seed: int) -> None:
        """What the shell offers from now on, and chance of its own."""
        self._ctx.hooks = hooks
        self._ctx.dice = type(self._ctx.dice)(seed)

    def mount(self, prefix: bytes, mount: Mount, *, database: int = 0) -> None:
        """Keys that begin with `prefix` come from `mount`, for reading only."""
        self._ctx.databases[database].mounts[prefix] = mount
        self._ctx.review()

    # -- sessions ----------------------------------------------------------------------------------
    def open_session(self, number: int, *, address: str = "", local_address: str = "", now_ms: int = 0) -> Session:
        """`number` is the connection's, which no other open one has. Addresses are HOST:PORT, for
        CLIENT LIST."""
        ctx = self._ctx
        session = Session(number, ctx.databases[0], address=address, local_address=local_address, now_ms=now_ms)
        session.authenticated = not ctx.settings.password
        session.review()
        ctx.sessions[number] = session
        ctx.counters.sessions += 1
        return session

    def close_session(self, session: Session) -> None:
        """The connection is gone. May be called twice."""
        ctx = self._ctx
        if ctx.sessions.pop(session.id, None) is None:
            return
        blocking.release(ctx, session)
        transactions.end(ctx, session)
        pubsub.leave_everything(ctx, session)
        session.closed = session.halted = True

    def choose(self, session: Session, database: int) -> None:
        """Like SELECT, and also for the spaces of runs, whose numbers are beyond those of SELECT."""
        session.db = session.home = self._ctx.databases[database]

    def bind_job(self, session: Session, database: int) -> None:
        """The session is a job's: it stays in `database`, and nothing that administers the store is
        carried out in it."""
        self.choose(session, database)
        session.job = session.authenticated = True
        session.review()

    def spaces(self) -> list[int]:
        """The databases of runs that hold something."""
        return [index for index, db in self._ctx.databases.items() if index >= SPACES and db.data]

    def wipe_space(self, now_ms: int, database: int) -> None:
        """The run is gone, and its keys with it."""
        self.choose(self._replayer, database)
        self.execute(now_ms, self._replayer, [b"FLUSHDB"])

    # -- commands ----------------------------------------------------------------------------------
    def execute(self, now_ms: int, session: Session, args: list[bytes]) -> Reply:
        """Carries a command out. BLOCKED: its reply comes later, from `take_deliveries`, and no
        other of this session may be executed before. `args` is kept: do not change it. A command of
        no arguments at all is an error."""
        ctx = self._ctx
        ctx.now = now_ms
        ctx.session = session
        ctx.db = session.db
        ctx.counters.commands += 1
        session.last_ms = now_ms
        command: Command | None = SPELLED.get(args[0]) if args else None
        if session.special or command is None or command.sub:
            return self._execute_specially(session, command, args)
        session.last_command = command.name
        count, arity = len(args), command.arity
        if count != arity and (arity >= 0 or count < -arity):
            return self._refuse(session, _wrong_arity(command), command)
        try:
            if ctx.guarded:
                guarding.check(ctx, command, args)
            reply = command.run(ctx, args)  # type: ignore[misc]
        except Refusal as refusal:
            reply = refusal.reply
        except Exception as error:
            reply = breaking.reply_to(ctx, command, args, error)
        if ctx.ready:
            blocking.serve_ready(ctx)
        return reply

    def _execute_specially(self, session: Session, command: Command | None, args: list[bytes]) -> Reply:
        """With everything that may be in the way: names in mixed case, subcommands, AUTH, MULTI,
        channels, CLIENT REPLY."""
        ctx = self._ctx
        if session.skip_next:
            session.skip_next -= 1
            session.review()
        silent = session.muted or session.skip_next > 0
        try:
            reply = self._carry_out(session, command, args)
        except Refusal as refusal:
            reply = refusal.reply
        if ctx.ready:
            blocking.serve_ready(ctx)
        if silent and (session.muted or session.skip_next) and reply is not BLOCKED:
            return NO_REPLY
        return reply

    def _carry_out(self, session: Session, command: Command | None, args: list[bytes]) -> Reply:
        """Raises Refusal."""
        ctx = self._ctx
        found = self._find(command, args)
        if isinstance(found, Error):
            return self._refuse(session, found)
        session.last_command = found.name
        if not found.takes(len(args)):
            return self._refuse(session, _wrong_arity(found), found)
        if not session.authenticated and not found.unguarded:
            return self._refuse(session, _NO_AUTH, found)
        if session.resp == 2 and (session.channels or session.patterns) and found.name not in _WHILE_LISTENING:
            return self._refuse(
                session,
                Error(
                    b"ERR Can't execute '%b': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET "
                    b"are allowed in this context" % found.name
                ),
                found,
            )
        if session.queue is not None and found.alone:
            return self._refuse(session, _NOT_QUEUED)
        try:
            if session.job:
                guarding.check_job(ctx, found)
            if ctx.guarded:
                guarding.check(ctx, found, args)
        except Refusal as refusal:
            return self._refuse(session, refusal.reply)
        if session.queue is not None and not found.at_once:
            return transactions.put(session, found, args)
        assert found.run is not None, found.name
        try:
            return found.run(ctx, args)
        except Refusal:
            raise
        except Exception as error:
            return breaking.reply_to(ctx, found, args, error)

    def _find(self, command: Command | None, args: list[bytes]) -> Command | Error:
        if command is None:
            command = COMMANDS.get(args[0].lower()) if args else None
            if command is None:
                if args and args[0].lower() in _OF_A_BROWSER:
                    self._close_browser(args[0])
                return _unknown(args)
        if command.sub and len(args) > 1:
            sub = command.sub.get(args[1].lower())
            return sub if sub is not None else server_info.unknown_subcommand(args)
        if command.run is None:
            return _wrong_arity(command)
        return command

    def _close_browser(self, word: bytes) -> None:
        ctx = self._ctx
        ctx.hooks.suspicious(ctx.session.address, shown(word, 8).decode("latin-1"))
        connection.close(ctx, ctx.session)

    def _refuse(self, session: Session, error: Error, command: Command | None = None) -> Error:
        """An error before a command was queued or carried out: it spoils a transaction. EXEC itself
        ends it."""
        if command is not None and command.name == b"exec":
            transactions.end(self._ctx, session)
            return Error(b"EXECABORT Transaction discarded because of: " + error.partition(b" ")[2])
        if session.queue is not None:
            session.queue_failed = True
        return error

    def notice(self, now_ms: int, key: bytes) -> bool:
        """A mounted key of database 0 has changed: whoever waits for it is served. Whether somebody
        looks at it."""
        ctx = self._ctx
        db = ctx.databases[0]
        if (0, key) not in ctx.observed:
            return False
        ctx.now = now_ms
        ctx.touch(key, db)
        if ctx.ready:
            blocking.serve_ready(ctx)
        return True

    def begin_turn(self) -> None:
        """Each turn has work of its own, see `Context.strain`."""
        self._ctx.effort = 0

    @property
    def strained(self) -> bool:
        """Enough was done in this turn."""
        return self._ctx.effort > TURN_WORK

    # -- what came of it ---------------------------------------------------------------------------
    def take_changes(self) -> list[Change]:
        """What was changed since the last time: (database, command). Those of one transaction stand
        between [MULTI] and [EXEC]."""
        changes, self._ctx.changes = self._ctx.changes, []
        return changes

    def take_deliveries(self) -> list[tuple[Session, Reply]]:
        """What sessions are to be told beyond their own replies, in order: messages of channels,
        and the end of a wait."""
        deliveries, self._ctx.deliveries = self._ctx.deliveries, []
        return deliveries

    def take_closing(self) -> list[Session]:
        """Sessions whose connections are to be closed once what they were told is written."""
        closing, self._ctx.closing = self._ctx.closing, []
        return closing

    # -- time --------------------------------------------------------------------------------------
    def next_due(self) -> int | None:
        """When `expire_due` or `time_out_blocked` has something to do, in ms since the epoch."""
        ctx = self._ctx
        due = blocking.next_timeout(ctx) if ctx.timeouts else None
        for db in ctx.databases.values():
            if db.expires:
                first = db.first_due()
                if first is not None and (due is None or first < due):
                    due = first
        return due

    def expire_due(self, now_ms: int, limit: int) -> int:
        """Deletes keys that have expired, at most `limit`; how many."""
        ctx = self._ctx
        ctx.now = now_ms
        done = 0
        for db in list(ctx.databases.values()):
            while db.expires and done < limit and (key := db.take_due(now_ms)) is not None:
                ctx.expire(db, key)
                done += 1
        if ctx.ready:
            blocking.serve_ready(ctx)
        return done

    def time_out_blocked(self, now_ms: int) -> None:
        """Answers the sessions that have waited for long enough."""
        self._ctx.now = now_ms
        blocking.time_out(self._ctx, now_ms)

    # -- recovery ----------------------------------------------------------------------------------
    def replay(self, database: int, args: list[bytes]) -> None:
        """Repeats a change. Leaves no change and wakes nobody; there should be no session yet.

        Raises JournalCorrupt for what cannot be repeated, as when a later Titan wrote it.
        """
        ctx = self._ctx
        try:
            command = SPELLED.get(args[0]) or COMMANDS[args[0].lower()]
            if command.run is None:
                command = command.sub[args[1].lower()]
            count, arity = len(args), command.arity
            if count != arity and (arity >= 0 or count < -arity):
                raise Refusal(_wrong_arity(command))
            ctx.now = 0
            ctx.session = self._replayer
            ctx.db = self._replayer.db = ctx.databases[database]
            command.run(ctx, args)  # type: ignore[misc]
        except MemoryError:
            raise
        except Exception as error:  # nothing that was done raises when it is repeated: the journal is not of this Titan
            told = b" ".join(shown(arg) for arg in args[:3])
            reason = error.reply.decode("latin-1") if isinstance(error, Refusal) else f"{type(error).__name__}: {error}"
            raise JournalCorrupt(
                f"the store cannot repeat {told.decode('latin-1')!r} in database {database} ({reason}): use the Titan that wrote it"
            ) from error
        if ctx.changes:
            ctx.changes.clear()

    def rewrite(self) -> Iterator[Change]:
        """Changes that make, from nothing, all that is there. Do not execute anything until the
        last was taken."""
        for db in self._ctx.databases.values():
            yield from rewriting.changes_of(db)

    def digest(self) -> str:
        """Equal for stores with equal keys, values, expiry and consumer groups."""
        found = sha256()
        for db in sorted(self._ctx.databases.values(), key=lambda db: db.index):
            for key in sorted(db.data):
                found.update(repr((db.index, key, rewriting.described(db.data[key]), db.expires.get(key))).encode())
        return found.hexdigest()

    def size(self) -> int:
        """Keys in all databases, those that have expired and are not deleted yet included."""
        return sum(len(db.data) for db in self._ctx.databases.values())


def _wrong_arity(command: Command) -> Error:
    return Error(b"ERR wrong number of arguments for '%b' command" % command.name)


def _unknown(args: list[bytes]) -> Error:
    if not args:
        return Error(b"ERR unknown command '', with args beginning with: ")
    told = b""
    for arg in args[1:]:
        if len(told) >= SHOWN_BYTES:
            break
        told += b"'%b' " % shown(arg, SHOWN_BYTES - len(told))
    return Error(b"ERR unknown command '%b', with args beginning with: %b" % (shown(args[0]), told))
