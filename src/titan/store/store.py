"""TitanStore: the types and commands of Redis, in memory.

The store is pure code: time and commands come in, changes and messages come out.

    store = Store()
    session = store.open_session(1, now_ms=0)
    reply = store.execute(now_ms, session, [b"SET", b"k", b"v"])
    encode(reply, session.resp, out)
    store.take_changes()         # must be durable before a client sees `out`
    store.take_deliveries()      # messages to other sessions

A change is a deterministic command, without randomness or time, that repeats the effect of a
client's command. `replay` executes changes. No key expires during a replay, because the expiry of a
key is a change itself.
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

_ALLOWED_WHILE_SUBSCRIBED = (b"subscribe", b"psubscribe", b"unsubscribe", b"punsubscribe", b"ping", b"quit", b"reset")
_HTTP_WORDS = (b"post", b"host:")
"""First words of HTTP requests. A web page can make a browser send any bytes to a local port, but
only after a line that begins with one of these words."""
_NOT_QUEUED = Error(b"ERR Command not allowed inside a transaction")
_NO_AUTH = Error(b"NOAUTH Authentication required.")


class Store:
    """In-memory store. `settings`: initial values, as for CONFIG SET. `seed`: the seed of random
    commands such as SPOP."""

    def __init__(
        self, *, databases: int = 16, settings: Mapping[str, str] | None = None, seed: int = 0, hooks: Hooks | None = None
    ) -> None:
        values = {"databases": str(databases), **(settings or {})}
        self._ctx = Context(databases, seed, Settings(values), hooks or Hooks())
        self._replayer = Session(0, self._ctx.databases[0], address="", local_address="", now_ms=0)
        self._ctx.review()

    @property
    def settings(self) -> Settings:
        """Settings of the store. Call `review` after a change."""
        return self._ctx.settings

    def review(self) -> None:
        """Apply settings that were changed without CONFIG SET."""
        self._ctx.review()

    def attach(self, hooks: Hooks, seed: int) -> None:
        """Use these hooks of the shell and this random seed from now on."""
        self._ctx.hooks = hooks
        self._ctx.dice = type(self._ctx.dice)(seed)

    def mount(self, prefix: bytes, mount: Mount, *, database: int = 0) -> None:
        """Serve keys read-only from `mount`: the keys that begin with `prefix` and that the mount
        owns."""
        self._ctx.databases[database].mounts[prefix] = mount
        self._ctx.review()

    # -- sessions ----------------------------------------------------------------------------------
    def open_session(self, number: int, *, address: str = "", local_address: str = "", now_ms: int = 0) -> Session:
        """Open a session. `number` identifies the connection and is unique among open sessions. The
        addresses, HOST:PORT, are for CLIENT LIST."""
        ctx = self._ctx
        session = Session(number, ctx.databases[0], address=address, local_address=local_address, now_ms=now_ms)
        session.authenticated = not ctx.settings.password
        session.review()
        ctx.sessions[number] = session
        ctx.counters.sessions += 1
        return session

    def close_session(self, session: Session) -> None:
        """Close a session after its connection has closed. May be called twice."""
        ctx = self._ctx
        if ctx.sessions.pop(session.id, None) is None:
            return
        blocking.release(ctx, session)
        transactions.end(ctx, session)
        pubsub.leave_everything(ctx, session)
        session.closed = session.halted = True

    def choose(self, session: Session, database: int) -> None:
        """Select a database for a session, like SELECT. Unlike SELECT, accept the database of a
        run."""
        session.db = session.home = self._ctx.databases[database]

    def bind_job(self, session: Session, database: int) -> None:
        """Bind the session to a job: it stays in `database` and may not administer the store."""
        self.choose(session, database)
        session.job = session.authenticated = True
        session.review()

    def spaces(self) -> list[int]:
        """Return the numbers of all databases of runs that contain keys."""
        return [index for index, db in self._ctx.databases.items() if index >= SPACES and db.data]

    def wipe_space(self, now_ms: int, database: int) -> None:
        """Delete all keys in the database of a run, after the run was removed."""
        self.choose(self._replayer, database)
        self.execute(now_ms, self._replayer, [b"FLUSHDB"])

    # -- commands ----------------------------------------------------------------------------------
    def execute(self, now_ms: int, session: Session, args: list[bytes]) -> Reply:
        """Execute a command and return its reply. An empty command is an error.

        BLOCKED means that `take_deliveries` returns the reply later. Until then the caller must not
        execute another command of this session. The store keeps `args`, so the caller must not
        change the list.
        """
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
        """Execute a command on the slow path, which handles names in mixed case, subcommands, AUTH,
        MULTI, channels and CLIENT REPLY."""
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
        """Check a command, and execute it or add it to the transaction. Raises Refusal."""
        ctx = self._ctx
        resolved = self._resolve(command, args)
        if isinstance(resolved, Error):
            return self._refuse(session, resolved)
        session.last_command = resolved.name
        if not resolved.takes(len(args)):
            return self._refuse(session, _wrong_arity(resolved), resolved)
        if not session.authenticated and not resolved.without_auth:
            return self._refuse(session, _NO_AUTH, resolved)
        if session.resp == 2 and (session.channels or session.patterns) and resolved.name not in _ALLOWED_WHILE_SUBSCRIBED:
            return self._refuse(
                session,
                Error(
                    b"ERR Can't execute '%b': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET "
                    b"are allowed in this context" % resolved.name
                ),
                resolved,
            )
        if session.queue is not None and resolved.not_in_transaction:
            return self._refuse(session, _NOT_QUEUED)
        try:
            if session.job:
                guarding.check_job(ctx, resolved)
            if ctx.guarded:
                guarding.check(ctx, resolved, args)
        except Refusal as refusal:
            return self._refuse(session, refusal.reply)
        if session.queue is not None and not resolved.never_queued:
            return transactions.put(session, resolved, args)
        assert resolved.run is not None, resolved.name
        try:
            return resolved.run(ctx, args)
        except Refusal:
            raise
        except Exception as error:
            return breaking.reply_to(ctx, resolved, args, error)

    def _resolve(self, command: Command | None, args: list[bytes]) -> Command | Error:
        if command is None:
            command = COMMANDS.get(args[0].lower()) if args else None
            if command is None:
                if args and args[0].lower() in _HTTP_WORDS:
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
        """Return the error of a command that is neither queued nor executed. The session's
        transaction will fail because of the error. If the command is EXEC, end the transaction
        now."""
        if command is not None and command.name == b"exec":
            transactions.end(self._ctx, session)
            return Error(b"EXECABORT Transaction discarded because of: " + error.partition(b" ")[2])
        if session.queue is not None:
            session.queue_failed = True
        return error

    def notice(self, now_ms: int, key: bytes) -> bool:
        """Handle a change of a mounted key in database 0, and serve the sessions that wait for the
        key. Return whether any session waited for the key or watches it."""
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
        """Reset the count of work at the beginning of a turn. See `Context.strain`."""
        self._ctx.work_done = 0

    @property
    def strained(self) -> bool:
        """True if the work limit of this turn is exceeded."""
        return self._ctx.work_done > TURN_WORK

    # -- output ------------------------------------------------------------------------------------
    def take_changes(self) -> list[Change]:
        """Return and clear the changes since the last call: (database, command). [MULTI] and [EXEC]
        enclose the changes of a transaction."""
        changes, self._ctx.changes = self._ctx.changes, []
        return changes

    def take_deliveries(self) -> list[tuple[Session, Reply]]:
        """Return and clear, in order, the messages to sessions that are not direct replies:
        messages of channels, and replies to commands that waited."""
        deliveries, self._ctx.deliveries = self._ctx.deliveries, []
        return deliveries

    def take_closing(self) -> list[Session]:
        """Return and clear the sessions whose connections the shell must close after it has written
        their replies."""
        closing, self._ctx.closing = self._ctx.closing, []
        return closing

    # -- time --------------------------------------------------------------------------------------
    def next_due(self) -> int | None:
        """Return the time at which `expire_due` or `time_out_blocked` has work next, in ms since
        the epoch; None if neither will have work."""
        ctx = self._ctx
        due = blocking.next_timeout(ctx) if ctx.timeouts else None
        for db in ctx.databases.values():
            if db.expires:
                first = db.first_due()
                if first is not None and (due is None or first < due):
                    due = first
        return due

    def expire_due(self, now_ms: int, limit: int) -> int:
        """Delete at most `limit` expired keys, and return their number."""
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
        """Answer the waiting sessions whose timeout has ended."""
        self._ctx.now = now_ms
        blocking.time_out(self._ctx, now_ms)

    # -- recovery ----------------------------------------------------------------------------------
    def replay(self, database: int, args: list[bytes]) -> None:
        """Execute a change from the journal or a snapshot, without recording it again. No session
        should be open yet, because a replay serves no waiting session.

        Raises JournalCorrupt for a change that this version cannot execute, such as one of a later
        version.
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
        except Exception as error:  # changes of this version never raise, so another version wrote the journal
            command_text = b" ".join(shown(arg) for arg in args[:3]).decode("latin-1")
            reason = error.reply.decode("latin-1") if isinstance(error, Refusal) else f"{type(error).__name__}: {error}"
            raise JournalCorrupt(
                f"the store cannot repeat {command_text!r} in database {database} ({reason}):"
                " start the version of Titan that wrote the journal"
            ) from error
        if ctx.changes:
            ctx.changes.clear()

    def rewrite(self) -> Iterator[Change]:
        """Yield changes that rebuild the whole content in an empty store. The caller must not
        execute commands before the iterator is exhausted."""
        for db in self._ctx.databases.values():
            yield from rewriting.changes_of(db)

    def digest(self) -> str:
        """Return a digest that is equal for stores with equal keys, values, expiry and consumer
        groups."""
        found = sha256()
        for db in sorted(self._ctx.databases.values(), key=lambda db: db.index):
            for key in sorted(db.data):
                found.update(repr((db.index, key, rewriting.described(db.data[key]), db.expires.get(key))).encode())
        return found.hexdigest()

    def size(self) -> int:
        """Return the number of keys in all databases, including expired keys that are not deleted
        yet."""
        return sum(len(db.data) for db in self._ctx.databases.values())


def _wrong_arity(command: Command) -> Error:
    return Error(b"ERR wrong number of arguments for '%b' command" % command.name)


def _unknown(args: list[bytes]) -> Error:
    if not args:
        return Error(b"ERR unknown command '', with args beginning with: ")
    beginning = b""
    for arg in args[1:]:
        if len(beginning) >= SHOWN_BYTES:
            break
        beginning += b"'%b' " % shown(arg, SHOWN_BYTES - len(beginning))
    return Error(b"ERR unknown command '%b', with args beginning with: %b" % (shown(args[0]), beginning))
