"""Values of keys.

A string is bytes, or a bytearray after a change in place. A hash is a dict, a list is a deque.
Sets, sorted sets and streams have classes, here and in `stream_log`. Strings, hashes and lists are
not wrapped in objects, to save memory.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from math import inf, nextafter
from typing import Any

from sortedcontainers import SortedList

from titan.store.dice import Dice
from titan.store.stream_log import Stream

_SMALL = 128
"""Maximum size of a sorted set in which a range by members visits the members one by one. Redis
does the same in small sorted sets. Visiting and bisection give different results only in a set
whose scores differ."""


class SetValue:
    """Set in the order of insertion. The first random pick builds a list of the members, so that
    later picks cost O(1)."""

    __slots__ = ("_order", "members")

    def __init__(self, members: Iterable[bytes] = ()) -> None:
        self.members: dict[bytes, int] = dict.fromkeys(members, 0)
        """Member -> its position in `_order`; 0 while `_order` is None."""
        self._order: list[bytes] | None = None

    def __len__(self) -> int:
        return len(self.members)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.members)

    def __contains__(self, member: object) -> bool:
        return member in self.members

    def add(self, member: bytes) -> bool:
        """Add a member. Return whether it is new."""
        members = self.members
        if member in members:
            return False
        if self._order is None:
            members[member] = 0
        else:
            members[member] = len(self._order)
            self._order.append(member)
        return True

    def discard(self, member: bytes) -> bool:
        """Remove a member. Return whether it existed."""
        at = self.members.pop(member, None)
        if at is None:
            return False
        if self._order is not None:
            last = self._order.pop()
            if last is not member and last != member:
                self._order[at] = last
                self.members[last] = at
        return True

    def pick(self, dice: Dice) -> bytes:
        """Return a random member of a set that is not empty. O(1) after the first call."""
        return self.by_place()[dice.below(len(self.members))]

    def by_place(self) -> list[bytes]:
        """Return the members as a list, which the caller must not change."""
        if self._order is None:
            self._order = list(self.members)
            self.members = {member: i for i, member in enumerate(self._order)}
        return self._order


class SortedSet:
    """Sorted set: a dict of scores by member, and a sorted list of (score, member) that is built on
    demand.

    A write changes the dict and adds the member to `_late`. The next read in order moves the
    members of `_late` in the list. If there are many of them, it sorts all members again. So a
    write costs O(1), and a read in order costs O(log n) for each write since the previous read in
    order.
    """

    __slots__ = ("_late", "_order", "scores")

    def __init__(self, scores: dict[bytes, float] | None = None) -> None:
        self.scores: dict[bytes, float] = {} if scores is None else scores
        self._order: SortedList[Any] | None = None
        self._late: dict[bytes, float | None] = {}
        """Member written since the last read in order -> its score in `_order`; None if it is not
        in `_order`."""

    def __len__(self) -> int:
        return len(self.scores)

    def put(self, member: bytes, score: float) -> None:
        if self._order is not None:
            self._note(member)
        self.scores[member] = score + 0.0  # turns -0 into 0

    def discard(self, member: bytes) -> bool:
        """Remove a member. Return whether it existed."""
        if member not in self.scores:
            return False
        if self._order is not None:
            self._note(member)
        del self.scores[member]
        return True

    def rank(self, member: bytes) -> int:
        """Return the number of members before this member, which must exist."""
        return int(self._ordered().index((self.scores[member], member)))

    def between(self, start: int, stop: int, *, reverse: bool = False) -> list[tuple[float, bytes]]:
        """Return the (score, member) pairs of the ranks `start..stop-1`, counted from the lowest
        score. `reverse` reverses the result."""
        return list(self._ordered().islice(start, stop, reverse))

    def at(self, rank: int) -> tuple[float, bytes]:
        """Return the pair at a rank; -1 is the highest."""
        pair: tuple[float, bytes] = self._ordered()[rank]
        return pair

    def ranks_of_scores(self, low: float, high: float, *, above: bool, below: bool) -> tuple[int, int]:
        """Return the ranks `start, stop` of the scores from `low` to `high`. `above` excludes
        `low`, `below` excludes `high`."""
        order = self._ordered()
        start = self._after(low) if above else order.bisect_left((low,))
        stop = order.bisect_left((high,)) if below else self._after(high)
        return int(start), max(int(start), int(stop))

    def ranks_of_members(
        self, low: bytes | None, high: bytes | None, *, above: bool, below: bool, reverse: bool = False, skip: int = 0
    ) -> tuple[int, int]:
        """Return the ranks `start, stop` of the members from `low` to `high`; None: no bound.

        `skip` leaves out the first members of the range; with `reverse`, the last members. The
        commands define the result only for equal scores. For sets of up to _SMALL members with
        different scores, the result is still that of Redis: both visit the members one by one, from
        the lowest score, or with `reverse` from the highest.
        """
        order = self._ordered()
        size = len(order)
        if size <= _SMALL:
            return self._ranks_one_by_one(low, high, above=above, below=below, reverse=reverse, skip=skip)
        score = order[0][0]
        start = 0 if low is None else order.bisect_left((score, low + b"\0" if above else low))
        stop = size if high is None else order.bisect_left((score, high if below else high + b"\0"))
        if reverse:
            return int(start), max(int(start), int(stop) - skip)
        return int(start) + skip, max(int(start) + skip, int(stop))

    def pairs(self) -> Iterator[tuple[float, bytes]]:
        """Iterate over all pairs in order."""
        return iter(self._ordered())

    def _ranks_one_by_one(
        self, low: bytes | None, high: bytes | None, *, above: bool, below: bool, reverse: bool, skip: int
    ) -> tuple[int, int]:
        def enough(member: bytes) -> bool:
            return low is None or (member > low if above else member >= low)

        def within(member: bytes) -> bool:
            return high is None or (member < high if below else member <= high)

        members = [member for _, member in self._ordered()]
        if not members or not enough(members[-1]) or not within(members[0]):
            return 0, 0
        if reverse:
            last = next(i for i in range(len(members), 0, -1) if within(members[i - 1]))
            if not enough(members[last - 1]):
                return 0, 0
            stop = max(0, last - skip)
            start = next((i for i in range(stop, 0, -1) if not enough(members[i - 1])), 0)
            return start, stop
        first = next(i for i, member in enumerate(members) if enough(member))
        if not within(members[first]):
            return 0, 0
        start = min(len(members), first + skip)
        stop = next((i for i, member in enumerate(members) if i >= start and not within(member)), len(members))
        return start, max(start, stop)

    def _after(self, score: float) -> int:
        order = self._ordered()
        return len(order) if score == inf else int(order.bisect_left((nextafter(score, inf),)))

    def _note(self, member: bytes) -> None:
        late = self._late
        if member not in late:
            late[member] = self.scores.get(member)
            if len(late) > 64 + len(self.scores) // 8:
                self._order = None
                self._late = {}

    def _ordered(self) -> Any:
        if self._order is None:
            self._order = SortedList(zip(self.scores.values(), self.scores.keys(), strict=True))
        elif self._late:
            order, scores = self._order, self.scores
            for member, old in self._late.items():
                score = scores.get(member)
                if old is not None and (score is None or score != old):
                    order.remove((old, member))
                if score is not None and (old is None or score != old):
                    order.add((score, member))
            self._late = {}
        return self._order


Value = bytes | bytearray | dict[bytes, bytes] | deque[bytes] | SetValue | SortedSet | Stream
"""Value of a key."""

TYPE_NAMES: dict[type, bytes] = {
    bytes: b"string",
    bytearray: b"string",
    dict: b"hash",
    deque: b"list",
    SetValue: b"set",
    SortedSet: b"zset",
    Stream: b"stream",
}


def copy_of(value: Value) -> Value:
    """Return an independent copy of a value."""
    if isinstance(value, bytes):
        return value
    if isinstance(value, SetValue):
        return SetValue(value)
    if isinstance(value, SortedSet):
        return SortedSet(dict(value.scores))
    return value.copy()


def size_of(value: Value) -> int:
    """Return the number of elements; 1 for a string."""
    return 1 if isinstance(value, bytes | bytearray) else len(value)
