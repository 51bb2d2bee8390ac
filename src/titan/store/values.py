"""What a key holds. Strings are bytes, or a bytearray once they were changed in place; hashes are
dicts, lists are deques, and the other types are the classes here and in `stream_log`. Nothing is
wrapped, so a key costs what Python asks for its value.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from itertools import islice
from math import inf, nextafter
from typing import Any

from sortedcontainers import SortedList

from titan.store.dice import Dice
from titan.store.stream_log import Stream

_SMALL = 128
"""Up to so many members are looked at one by one where scores differ and a range goes by members.
"""


class SetValue:
    """A set in the order of insertion. From the first random pick on it also knows its members by
    position."""

    __slots__ = ("_order", "members")

    def __init__(self, members: Iterable[bytes] = ()) -> None:
        self.members: dict[bytes, int] = dict.fromkeys(members, 0)
        """Member to its place in `_order`; 0 as long as there is no such order."""
        self._order: list[bytes] | None = None

    def __len__(self) -> int:
        return len(self.members)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.members)

    def __contains__(self, member: object) -> bool:
        return member in self.members

    def add(self, member: bytes) -> bool:
        """Whether it is new."""
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
        """Whether it was there."""
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
        """One member by chance; there has to be one. O(1) but for the first time."""
        return self.by_place()[dice.below(len(self.members))]

    def by_place(self) -> list[bytes]:
        """The members as a list, not to be changed."""
        if self._order is None:
            self._order = list(self.members)
            self.members = {member: i for i, member in enumerate(self._order)}
        return self._order


class SortedSet:
    """Scores by member, and on demand the pairs in order.

    Writing only notes that a member moved; the next read in order carries out what was noted, or
    sorts anew if that is much. So a write costs O(1), and a read O(log n) for each write before it.
    """

    __slots__ = ("_late", "_order", "scores")

    def __init__(self, scores: dict[bytes, float] | None = None) -> None:
        self.scores: dict[bytes, float] = {} if scores is None else scores
        self._order: SortedList[Any] | None = None
        self._late: dict[bytes, float | None] = {}
        """Members that moved, and at which score they stand in `_order`; None: they do not."""

    def __len__(self) -> int:
        return len(self.scores)

    def put(self, member: bytes, score: float) -> None:
        if self._order is not None:
            self._note(member)
        self.scores[member] = score + 0.0  # which makes 0 of -0

    def discard(self, member: bytes) -> bool:
        """Whether it was there."""
        if member not in self.scores:
            return False
        if self._order is not None:
            self._note(member)
        del self.scores[member]
        return True

    def rank(self, member: bytes) -> int:
        """How many come before a member, which has to be there."""
        return int(self._ordered().index((self.scores[member], member)))

    def between(self, start: int, stop: int, *, reverse: bool = False) -> list[tuple[float, bytes]]:
        """The pairs of the ranks `start..stop-1`, counted from the lowest; `reverse` turns the
        answer round."""
        return list(self._ordered().islice(start, stop, reverse))

    def at(self, rank: int) -> tuple[float, bytes]:
        """The pair of a rank; -1 is the highest."""
        pair: tuple[float, bytes] = self._ordered()[rank]
        return pair

    def ranks_of_scores(self, low: float, high: float, *, above: bool, below: bool) -> tuple[int, int]:
        """The ranks `start, stop` of the scores from `low` (`above`: without it) to `high`
        (`below`: without it)."""
        order = self._ordered()
        start = self._after(low) if above else order.bisect_left((low,))
        stop = order.bisect_left((high,)) if below else self._after(high)
        return int(start), max(int(start), int(stop))

    def ranks_of_members(
        self, low: bytes | None, high: bytes | None, *, above: bool, below: bool, reverse: bool = False, skip: int = 0
    ) -> tuple[int, int]:
        """Likewise by member, without the first `skip`, with `reverse` without the last; None has
        no bound. It means something if all scores are equal. Where they are not, few members are
        looked at one by one, as Redis does: from the lowest score, or with `reverse` from the
        highest, and those that are skipped not at all."""
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
        """All, in order."""
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
"""What a key can hold."""

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
    """The same, that can be changed on its own."""
    if isinstance(value, bytes):
        return value
    if isinstance(value, SetValue):
        return SetValue(value)
    if isinstance(value, SortedSet):
        return SortedSet(dict(value.scores))
    return value.copy()


def size_of(value: Value) -> int:
    """How many elements there are; 1 for a string."""
    return 1 if isinstance(value, bytes | bytearray) else len(value)


def first_of(value: Iterable[Any], count: int) -> list[Any]:
    """The first elements, at most `count`."""
    return list(islice(value, count))
