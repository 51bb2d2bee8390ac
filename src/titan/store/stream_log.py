"""Data of a stream: entries by id, consumer groups, and pending entries (delivered but not
acknowledged).

An id is one integer, milliseconds << 64 | sequence, so that ids compare in the right order.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator
from typing import Generic, TypeVar

V = TypeVar("V")
SEQUENCE_BITS = 64
MAX_HALF = (1 << SEQUENCE_BITS) - 1
MAX_ID = (1 << 128) - 1
UNKNOWN = -1
"""Value of `Group.read` and of `Stream.position` when the number of entries cannot be counted."""
MOST_COUNTED = (1 << 63) - 1
"""Maximum value of counters, because no command accepts a higher number."""


def id_text(entry: int) -> bytes:
    """Return an id as clients see it.

    >>> id_text(5 << 64 | 1)
    b'5-1'
    """
    return b"%d-%d" % (entry >> SEQUENCE_BITS, entry & MAX_HALF)


class IdMap(dict[int, V], Generic[V]):
    """Dict by id that can also iterate over its ids in order.

    Ids nearly always arrive in order, so they are in a list that grows at its end. Removed ids stay
    in the list until they outnumber the ids of the dict by more than 64. The ids at `_start` and at
    the end of the list always exist in the dict, unless the dict is empty. Only `put`, `drop` and
    `wipe` may change an IdMap.
    """

    __slots__ = ("_ids", "_start")

    def __init__(self) -> None:
        super().__init__()
        self._ids: list[int] = []
        self._start = 0

    def put(self, entry: int, value: V) -> None:
        ids = self._ids
        if entry not in self:
            if not ids or entry > ids[-1]:
                ids.append(entry)
            else:
                at = bisect_left(ids, entry, self._start)
                if ids[at] != entry:
                    insort(ids, entry, self._start)
        self[entry] = value

    def drop(self, entry: int) -> V | None:
        """Remove an id and return its value; None if it did not exist."""
        value = self.pop(entry, None)
        if value is None:
            return None
        ids, at = self._ids, self._start
        if ids[at] == entry:
            end = len(ids)
            while at < end and ids[at] not in self:
                at += 1
            if at == end:  # the map is empty, and the next id may be lower than all removed ids
                self._ids, at = [], 0
            self._start = at
        elif ids[-1] == entry:
            while ids[-1] not in self:
                ids.pop()
        if len(self._ids) > 64 + 2 * len(self):
            self._ids = [kept for kept in ids[at:] if kept in self]
            self._start = 0
        return value

    def wipe(self) -> None:
        self.clear()
        self._ids = []
        self._start = 0

    def first(self) -> int:
        """Return the lowest id of a map that is not empty."""
        return self._ids[self._start]

    def last(self) -> int:
        """Return the highest id of a map that is not empty."""
        return self._ids[-1]

    def span(self, low: int, high: int) -> Iterator[int]:
        """Iterate over the ids from `low` to `high`, both included, in order. The map must not
        change meanwhile."""
        ids = self._ids
        for i in range(bisect_left(ids, low, self._start), bisect_right(ids, high, self._start)):
            if ids[i] in self:
                yield ids[i]

    def span_back(self, high: int, low: int) -> Iterator[int]:
        """Iterate over the ids from `high` down to `low`, both included. The map must not change
        meanwhile."""
        ids = self._ids
        for i in range(bisect_right(ids, high, self._start) - 1, bisect_left(ids, low, self._start) - 1, -1):
            if ids[i] in self:
                yield ids[i]


class Pending:
    """Entry that was delivered to a consumer and is not acknowledged."""

    __slots__ = ("consumer", "count", "delivered_ms")

    def __init__(self, consumer: Consumer, delivered_ms: int, count: int) -> None:
        self.consumer = consumer
        self.delivered_ms = delivered_ms
        self.count = count


class Consumer:
    __slots__ = ("name", "pending", "seen_ms")

    def __init__(self, name: bytes, seen_ms: int) -> None:
        self.name = name
        self.seen_ms = seen_ms
        """Time of the consumer's last command, in ms since the epoch. Not journaled."""
        self.pending: IdMap[Pending] = IdMap()


class Group:
    __slots__ = ("consumers", "last", "pending", "read")

    def __init__(self, last: int, read: int) -> None:
        self.last = last
        """Id of the entry that was delivered last."""
        self.read = read
        """Number of the stream's entries that the group has received; UNKNOWN if they cannot be
        counted."""
        self.consumers: dict[bytes, Consumer] = {}
        self.pending: IdMap[Pending] = IdMap()

    def assign(self, entry: int, pending: Pending, consumer: Consumer) -> None:
        """Make `consumer` the owner of an entry that is pending or becomes pending."""
        if pending.consumer is not consumer:
            pending.consumer.pending.drop(entry)
            pending.consumer = consumer
        consumer.pending.put(entry, pending)
        self.pending.put(entry, pending)

    def acknowledge(self, entry: int) -> bool:
        """Acknowledge an entry. Return whether it was pending."""
        pending = self.pending.drop(entry)
        if pending is None:
            return False
        pending.consumer.pending.drop(entry)
        return True


class Stream:
    __slots__ = ("added", "entries", "groups", "last", "max_deleted")

    def __init__(self) -> None:
        self.entries: IdMap[tuple[bytes, ...]] = IdMap()
        """Id -> alternating fields and values."""
        self.last = 0
        """Highest id that the stream ever had."""
        self.added = 0
        """Number of entries that were ever added."""
        self.max_deleted = 0
        """Highest id that XDEL has deleted."""
        self.groups: dict[bytes, Group] = {}

    def __len__(self) -> int:
        return len(self.entries)

    def append(self, entry: int, fields: tuple[bytes, ...]) -> None:
        """Append an entry. Its id must be above `last`."""
        self.entries.put(entry, fields)
        self.last = entry
        self.added = min(self.added + 1, MOST_COUNTED)

    def delete(self, entry: int) -> bool:
        """Delete an entry. Return whether it existed."""
        if self.entries.drop(entry) is None:
            return False
        self.max_deleted = max(self.max_deleted, entry)
        return True

    def copy(self) -> Stream:
        """Return a copy, including groups, consumers and pending entries."""
        other = Stream()
        for entry in self.entries.span(0, MAX_ID):
            other.entries.put(entry, self.entries[entry])
        other.last, other.added, other.max_deleted = self.last, self.added, self.max_deleted
        for name, group in self.groups.items():
            made = other.groups[name] = Group(group.last, group.read)
            for consumer in group.consumers.values():
                made.consumers[consumer.name] = Consumer(consumer.name, consumer.seen_ms)
            for entry in group.pending.span(0, MAX_ID):
                pending = group.pending[entry]
                owner = made.consumers[pending.consumer.name]
                made.assign(entry, Pending(owner, pending.delivered_ms, pending.count), owner)
        return other

    def first(self) -> int:
        """Return the lowest id; 0 if there are no entries."""
        return self.entries.first() if self.entries else 0

    def excess(self, max_length: int | None, min_id: int | None, limit: int | None) -> list[int]:
        """Return the ids to trim, so that at most `max_length` entries remain, or no entry below
        `min_id`. `limit` is the maximum number of ids to return."""
        entries = self.entries
        count = len(entries) - max_length if max_length is not None else len(entries)
        if limit is not None:
            count = min(count, limit)
        excess: list[int] = []
        if count <= 0:
            return excess
        for entry in entries.span(0, MAX_ID):
            if len(excess) == count or (min_id is not None and entry >= min_id):
                break
            excess.append(entry)
        return excess

    def gaps_after(self, entry: int) -> bool:
        """Return whether XDEL has deleted `entry` or a later entry, so that positions cannot be
        counted."""
        return bool(self.entries) and bool(self.max_deleted) and entry <= self.max_deleted

    def position(self, entry: int) -> int:
        """Return the number of entries up to `entry` that were ever added; UNKNOWN if they cannot
        be counted."""
        if not self.added:
            return 0
        if entry == self.last or (not self.entries and entry < self.last):
            return self.added
        if entry > self.last:
            return UNKNOWN
        first = self.first()
        if not self.max_deleted or self.max_deleted < first:
            if entry < first:
                return self.added - len(self.entries)
            if entry == first:
                return self.added - len(self.entries) + 1
        return UNKNOWN
