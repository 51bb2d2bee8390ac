"""An estimate of the memory that keys take, kept up to date change by change, and what goes when it
exceeds `maxmemory`.

Only kept if there is a limit. A key's size is computed from its name and from some of its elements,
so a change costs the same for a large value as for a small one. The order in which keys were used
last is exact, which is more than Redis's samples.
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
"""Elements that are measured, unless told otherwise."""
_KEY = 110  # a slot of the dict of keys, with its share of free ones
_OBJECT = 33  # a bytes object without its bytes
_SLOT = 100  # an element of a dict
_EXPIRY = 180


def size_of_key(key: bytes, value: Value, *, expires: bool = False, samples: int = SAMPLES) -> int:
    """An estimate of the bytes that a key takes. `samples` elements of the value are measured; 0:
    all."""
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
    """Keys in the order of their last use, with their sizes."""

    __slots__ = ("_sizes", "total")

    def __init__(self) -> None:
        self._sizes: OrderedDict[tuple[int, bytes], int] = OrderedDict()
        self.total = 0
        """Bytes that all keys take, by estimate."""

    def measure(self, databases: list[Database]) -> None:
        """Anew from the keys that are there."""
        self._sizes.clear()
        self.total = 0
        for db in databases:
            for key in db.data:
                self.weigh(db, key)

    def weigh(self, db: Database, key: bytes) -> None:
        """After a change of a key."""
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
        """After a key was looked up."""
        at = (db.index, key)
        if at in self._sizes:
            self._sizes.move_to_end(at)

    def idlest(self) -> tuple[int, bytes] | None:
        """Database and key of what was not used for longest."""
        return next(iter(self._sizes), None)
