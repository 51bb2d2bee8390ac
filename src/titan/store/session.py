"""State of one connection in the engine."""

from __future__ import annotations

from collections.abc import Callable

from titan.store.command import Command
from titan.store.keyspace import Database
from titan.store.replies import Reply


class Wait:
    """Wait of a session for a change of one of several keys."""

    __slots__ = ("empty", "index", "keys", "number", "serve", "until_ms")

    def __init__(
        self, index: int, keys: list[bytes], until_ms: int, serve: Callable[[bytes], Reply], empty: Reply, number: int
    ) -> None:
        self.index = index
        """Number of the database."""
        self.keys = keys
        self.until_ms = until_ms
        """End of the timeout, in ms since the epoch; 0: no timeout."""
        self.serve = serve
        """Function that tries to complete the command with a changed key. Returns BLOCKED if the
        session must continue to wait. Raises Refusal."""
        self.empty = empty
        """Reply after the timeout."""
        self.number = number


class Session:
    """Session of a connection. `Store.open_session` creates it.

    The shell reads `resp` to encode replies, and closes the connection when `Store.take_closing`
    returns the session.
    """

    __slots__ = (
        "address",
        "authenticated",
        "blocked",
        "channels",
        "closed",
        "created_ms",
        "db",
        "flags",
        "halted",
        "home",
        "id",
        "job",
        "last_command",
        "last_ms",
        "library",
        "library_version",
        "local_address",
        "muted",
        "name",
        "patterns",
        "queue",
        "queue_failed",
        "queued_bytes",
        "resp",
        "skip_next",
        "special",
        "stale",
        "watched",
    )

    def __init__(self, number: int, db: Database, *, address: str, local_address: str, now_ms: int) -> None:
        self.id = number
        self.db = db
        self.home = db
        """Database that RESET selects."""
        self.job = False
        """True for the session of a job, which stays in its home database and may not administer
        the store. `Store.bind_job` sets the field."""
        self.address = address
        self.local_address = local_address
        self.created_ms = now_ms
        self.last_ms = now_ms
        self.last_command = b"NULL"
        self.name = b""
        self.library = b""
        self.library_version = b""
        self.resp = 2
        self.authenticated = True
        self.queue: list[tuple[Command, list[bytes]]] | None = None
        """Commands since MULTI; None outside of a transaction."""
        self.queued_bytes = 0
        self.queue_failed = False
        """True if a command was refused instead of queued."""
        self.watched: dict[tuple[int, bytes], bool] = {}
        """(database, key) -> whether the key had already expired at WATCH."""
        self.stale = False
        """True if a watched key has changed."""
        self.channels: dict[bytes, None] = {}
        self.patterns: dict[bytes, None] = {}
        self.blocked: Wait | None = None
        self.muted = False
        """True after CLIENT REPLY OFF: the client gets no replies."""
        self.skip_next = 0
        """State of CLIENT REPLY SKIP: 2 after that command, 1 during the command after it, which
        gets no reply, else 0."""
        self.flags: dict[str, None] = {}
        """Flags of the client: no-evict, no-touch."""
        self.special = False
        """True if commands take the slow path of `Store.execute`. `review` updates the field."""
        self.closed = False
        self.halted = False
        """True if the session runs no more commands in this turn: it was closed, emptied a
        database, or exceeded the work limit."""

    def review(self) -> None:
        """Update `special` after a change of a field on which it depends."""
        self.special = bool(
            not self.authenticated
            or self.queue is not None
            or self.muted
            or self.skip_next
            or (self.resp == 2 and (self.channels or self.patterns))
        )
