"""One database: keys with their values and expiry."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from heapq import heapify, heappop, heappush
from typing import Protocol

from titan.store.values import Value


class Mount(Protocol):
    """Keys below a prefix that are derived from something else whenever they are read.

    They are seen by every command that reads, and by KEYS, SCAN, TYPE and EXISTS; they do not count
    in DBSIZE and never expire. A command that writes is refused if it names one, also as a source:
    what it stores could not be replayed.
    """

    def find(self, key: bytes) -> Value | None:
        """What `key` holds now, or None. The engine only reads it, and holds it for one command. No
        empty values but strings."""

    def keys(self) -> Iterable[bytes]:
        """All keys there are now."""


class Usage(Protocol):
    """What records the use of keys."""

    def use(self, db: Database, key: bytes) -> None:
        """A key was looked up."""


class Owner(Protocol):
    """What a database asks of the context that has it."""

    @property
    def now(self) -> int:
        """Milliseconds since the epoch. 0 during a replay, when nothing expires."""

    @property
    def meter(self) -> Usage | None: ...

    def expire(self, db: Database, key: bytes) -> None:
        """Deletes a key that has expired."""


class Database:
    """`data` and `expires` are read directly where speed counts; they are changed by the methods,
    and by SET and INCR."""

    __slots__ = ("_due", "_owner", "data", "expires", "index", "lively", "mounts")

    def __init__(self, index: int, owner: Owner) -> None:
        self.index = index
        self._owner = owner
        self.data: dict[bytes, Value] = {}
        self.expires: dict[bytes, int] = {}
        """Key to when it expires, in ms since the epoch."""
        self._due: list[tuple[int, bytes]] = []
        """A heap of (when, key). What does not agree with `expires` is out of date."""
        self.mounts: dict[bytes, Mount] = {}
        """By prefix."""
        self.lively = False
        """Finding a key may need more than `data`: there are mounts, or the use of keys is
        recorded."""

    def find(self, key: bytes) -> Value | None:
        """What a key holds; None if there is no such key or it has expired, in which case it is
        deleted."""
        if self.expires:
            at = self.expires.get(key)
            if at is not None and at <= self._owner.now:
                self._owner.expire(self, key)
                return None
        value = self.data.get(key)
        if self.lively:
            if value is None:
                return self._mounted(key)
            if self._owner.meter is not None:
                self._owner.meter.use(self, key)
        return value

    def remove(self, key: bytes) -> Value | None:
        """Takes a key out, with its expiry; what it held. Says nobody."""
        value = self.data.pop(key, None)
        if value is not None and self.expires:
            self.expires.pop(key, None)
        return value

    def put(self, key: bytes, value: Value) -> None:
        """A new value, without expiry."""
        self.data[key] = value
        if self.expires:
            self.expires.pop(key, None)

    def expire_at(self, key: bytes, at_ms: int) -> None:
        """`key` has to be there."""
        self.expires[key] = at_ms
        heappush(self._due, (at_ms, key))
        if len(self._due) > 64 + 2 * len(self.expires):
            self._due = [(at, key) for key, at in self.expires.items()]
            heapify(self._due)

    def first_due(self) -> int | None:
        """When the next key expires."""
        due, expires = self._due, self.expires
        while due and expires.get(due[0][1]) != due[0][0]:
            heappop(due)
        return due[0][0] if due else None

    def take_due(self, now_ms: int) -> bytes | None:
        """A key that has expired; the caller deletes it."""
        at = self.first_due()
        return self._due[0][1] if at is not None and at <= now_ms else None

    def has_expired(self, key: bytes) -> bool:
        """Whether a key is there no more but for its deletion."""
        return self.expires.get(key, self._owner.now + 1) <= self._owner.now

    def wipe(self) -> None:
        self.data = {}
        self.expires = {}
        self._due = []

    def swap(self, other: Database) -> None:
        """Exchanges the keys of two databases."""
        self.data, other.data = other.data, self.data
        self.expires, other.expires = other.expires, self.expires
        self._due, other._due = other._due, self._due

    def mount_of(self, key: bytes) -> Mount | None:
        for prefix, mount in self.mounts.items():
            if key.startswith(prefix):
                return mount
        return None

    def mounted_keys(self) -> Iterator[bytes]:
        for mount in self.mounts.values():
            yield from mount.keys()

    def _mounted(self, key: bytes) -> Value | None:
        mount = self.mount_of(key)
        return mount.find(key) if mount is not None else None
