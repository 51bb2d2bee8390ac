"""One connection, as far as the engine knows it."""

from __future__ import annotations

from collections.abc import Callable

from titan.store.command import Command
from titan.store.keyspace import Database
from titan.store.replies import Reply


class Wait:
    """What a session waits for: a change of one of some keys."""

    __slots__ = ("empty", "index", "keys", "number", "serve", "until_ms")

    def __init__(
        self, index: int, keys: list[bytes], until_ms: int, serve: Callable[[bytes], Reply], empty: Reply, number: int
    ) -> None:
        self.index = index
        """Of the database."""
        self.keys = keys
        self.until_ms = until_ms
        """0: for ever."""
        self.serve = serve
        """Tries to complete the command at a key that changed. BLOCKED if that is still not
        possible. Raises Refusal."""
        self.empty = empty
        """The reply when the time is over."""
        self.number = number


class Session:
    """Made by `Store.open_session`; the shell reads `resp` to encode, and closes it if
    `Store.take_closing` names it."""

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
        """Where it is again after RESET."""
        self.job = False
        """It is a job's, which administers nothing and stays in its home. Set by `Store.bind_job`.
        """
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
        """A command was refused when it was queued."""
        self.watched: dict[tuple[int, bytes], bool] = {}
        """Database and key; whether the key had expired by then."""
        self.stale = False
        """A watched key has changed."""
        self.channels: dict[bytes, None] = {}
        self.patterns: dict[bytes, None] = {}
        self.blocked: Wait | None = None
        self.muted = False
        """CLIENT REPLY OFF."""
        self.skip_next = 0
        """CLIENT REPLY SKIP: 2 until its own command is over, 1 during the next, whose reply is
        left out."""
        self.flags: dict[str, None] = {}
        """no-evict, no-touch."""
        self.special = False
        """Commands need more than the ordinary way. Kept by `review`."""
        self.closed = False
        self.halted = False
        """No more of its commands in this turn: it is closed, or has done much."""

    def review(self) -> None:
        """After a change of what makes a session special."""
        self.special = bool(
            not self.authenticated
            or self.queue is not None
            or self.muted
            or self.skip_next
            or (self.resp == 2 and (self.channels or self.patterns))
        )
