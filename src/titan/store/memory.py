"""Estimate of the memory of keys, updated at each change, and the choice of keys to evict.

The store estimates sizes only if `maxmemory` is set. The size of a key is computed from its name
and from a few of its elements, so a change costs the same for small and large values. The order of
last use is exact; Redis approximates it by samples.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from itertools import islice
from typing import Any

from titan.store.keyspace import Database
from titan.store.stream_log import Stream
from titan.store.values import SetValue, SortedSet, Value

SAMPLES = 5
"""Default number of elements to measure for the size of a value."""
_KEY = 110  # a slot of the dict of keys, with its share of free slots
_OBJECT = 33  # a bytes object without its bytes
_SLOT = 100  # an element of a dict
_EXPIRY = 180


def size_of_key(key: bytes, value: Value, *, expires: bool = False, samples: int = SAMPLES) -> int:
    """Return an estimate of the bytes of a key. `samples`: number of elements of the value to
    measure; 0: all."""
    size = _KEY + _OBJECT + len(key) + (_EXPIRY if expires else 0)
    if isinstance(value, bytes | bytearray):
        return size + _OBJECT + len(value)
    if isinstance(value, dict):
        return size + 64 + _average((len(k) + len(v) for k, v in _some(value.items(), samples)), len(value), _SLOT + 2 * _OBJECT)
    if isinstance(value, SetValue):
        return size + 120 + _average((len(m) for m in _some(value, samples)), len(value), _SLOT + _OBJECT)
    if isinstance(value, SortedSet):
        return size + 160 + _average((len(m) for m in _some(value.scores, samples)), len(value), _SLOT + _OBJECT + 100)
    if isinstance(value, Stream):
        lengths = (sum(len(f) + _OBJECT for f in fields) for fields in _some(value.entries.values(), samples))
        pending = sum(len(group.pending) for group in value.groups.values())
        return size + 400 + _average(lengths, len(value), _SLOT + 100) + 250 * pending + 600 * len(value.groups)
    return size + 620 + _average((len(e) for e in _some(value, samples)), len(value), _OBJECT + 9)


def _some(values: Iterable[Any], samples: int) -> Iterable[Any]:
    return islice(values, samples) if samples else values


def _average(lengths: Iterable[int], count: int, each: int) -> int:
    found = list(lengths)
    return count * each + (sum(found) * count // len(found) if found else 0)


class Meter:
    """Sizes of keys, in the order of their last use."""

    __slots__ = ("_sizes", "total")

    def __init__(self) -> None:
        self._sizes: OrderedDict[tuple[int, bytes], int] = OrderedDict()
        self.total = 0
        """Estimated bytes of all keys."""

    def measure(self, databases: list[Database]) -> None:
        """Measure all keys again."""
        self._sizes.clear()
        self.total = 0
        for db in databases:
            for key in db.data:
                self.weigh(db, key)

    def weigh(self, db: Database, key: bytes) -> None:
        """Update the size of a changed key."""
        at = (db.index, key)
        value = db.data.get(key)
        if value is None:
            self.total -= self._sizes.pop(at, 0)
            return
        size = size_of_key(key, value, expires=key in db.expires)
        self.total += size - self._sizes.get(at, 0)
        self._sizes[at] = size
        self._sizes.move_to_end(at)

    def use(self, db: Database, key: bytes) -> None:
        """Record that a key was looked up."""
        at = (db.index, key)
        if at in self._sizes:
            self._sizes.move_to_end(at)

    def idlest(self) -> tuple[int, bytes] | None:
        """Return the database and name of the least recently used key; None without keys."""
        return next(iter(self._sizes), None)
