"""One database: keys, their values and their expiry."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from heapq import heapify, heappop, heappush
from typing import Protocol

from titan.store.values import Value


class Mount(Protocol):
    """Read-only keys with a common prefix. The mount derives their values from other data at each
    read.

    The mount owns some names below its prefix; the other names there are ordinary keys. All read
    commands see derived keys, including KEYS, SCAN, TYPE and EXISTS. DBSIZE does not count them,
    and they never expire. The store refuses a write command that names a derived key, even as a
    source, because a replay could not repeat the result.
    """

    def owns(self, key: bytes) -> bool:
        """Return whether the name `key` is reserved for a derived key, whether or not that key
        exists now. The name begins with the mount's prefix."""

    def find(self, key: bytes) -> Value | None:
        """Return the current value of `key`, or None. The store must not change the value, and uses
        it for one command only. Only a string may be empty."""

    def keys(self) -> Iterable[bytes]:
        """Return all current keys."""


class Usage(Protocol):
    """Recorder of the use of keys."""

    def use(self, db: Database, key: bytes) -> None:
        """Record that a key was looked up."""


class Owner(Protocol):
    """The part of `Context` that a database uses."""

    @property
    def now(self) -> int:
        """Milliseconds since the epoch. 0 during a replay, when nothing expires."""

    @property
    def meter(self) -> Usage | None: ...

    def expire(self, db: Database, key: bytes) -> None:
        """Delete a key that has expired."""


class Database:
    """Keys of one database. Fast commands read `data` and `expires` directly. Only the methods
    here, SET and INCR change them."""

    __slots__ = ("_due", "_owner", "data", "expires", "has_slow_lookup", "index", "mounts")

    def __init__(self, index: int, owner: Owner) -> None:
        self.index = index
        self._owner = owner
        self.data: dict[bytes, Value] = {}
        self.expires: dict[bytes, int] = {}
        """Key -> time of its expiry, in ms since the epoch."""
        self._due: list[tuple[int, bytes]] = []
        """Heap of (time of expiry, key). An entry that differs from `expires` is void."""
        self.mounts: dict[bytes, Mount] = {}
        """Mounts by prefix."""
        self.has_slow_lookup = False
        """True if a lookup needs more than `data`: there are mounts, or the use of keys is
        recorded."""

    def find(self, key: bytes) -> Value | None:
        """Return the value of a key; None if it does not exist. Delete the key first if it has
        expired."""
        if self.expires:
            at = self.expires.get(key)
            if at is not None and at <= self._owner.now:
                self._owner.expire(self, key)
                return None
        value = self.data.get(key)
        if self.has_slow_lookup:
            if value is None:
                return self._mounted(key)
            if self._owner.meter is not None:
                self._owner.meter.use(self, key)
        return value

    def remove(self, key: bytes) -> Value | None:
        """Remove a key and its expiry, and return its value. Does not notify observers."""
        value = self.data.pop(key, None)
        if value is not None and self.expires:
            self.expires.pop(key, None)
        return value

    def put(self, key: bytes, value: Value) -> None:
        """Set a new value, without expiry."""
        self.data[key] = value
        if self.expires:
            self.expires.pop(key, None)

    def expire_at(self, key: bytes, at_ms: int) -> None:
        """Set the expiry of a key, which must exist."""
        self.expires[key] = at_ms
        heappush(self._due, (at_ms, key))
        if len(self._due) > 64 + 2 * len(self.expires):
            self._due = [(at, key) for key, at in self.expires.items()]
            heapify(self._due)

    def first_due(self) -> int | None:
        """Return the time of the next expiry; None if there is none."""
        due, expires = self._due, self.expires
        while due and expires.get(due[0][1]) != due[0][0]:
            heappop(due)
        return due[0][0] if due else None

    def take_due(self, now_ms: int) -> bytes | None:
        """Return a key that has expired, which the caller deletes; None if there is none."""
        at = self.first_due()
        return self._due[0][1] if at is not None and at <= now_ms else None

    def has_expired(self, key: bytes) -> bool:
        """Return whether a key has expired but is not deleted yet."""
        return self.expires.get(key, self._owner.now + 1) <= self._owner.now

    def wipe(self) -> None:
        self.data = {}
        self.expires = {}
        self._due = []

    def swap(self, other: Database) -> None:
        """Exchange the keys of two databases."""
        self.data, other.data = other.data, self.data
        self.expires, other.expires = other.expires, self.expires
        self._due, other._due = other._due, self._due

    def mount_of(self, key: bytes) -> Mount | None:
        for prefix, mount in self.mounts.items():
            if key.startswith(prefix) and mount.owns(key):
                return mount
        return None

    def mounted_keys(self) -> Iterator[bytes]:
        for mount in self.mounts.values():
            yield from mount.keys()

    def _mounted(self, key: bytes) -> Value | None:
        mount = self.mount_of(key)
        return mount.find(key) if mount is not None else None
