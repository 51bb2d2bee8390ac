"""Positions of scans.

The first call of a scan stores a list of the current elements. The cursor is the number of this
list and a position in the list. So a scan returns each element that exists all the time exactly
once, whatever else changes. It does not return elements that are added later.

`ScanPositions` keeps at most `MOST` lists with `MOST_ELEMENTS` elements in total, and drops the
least recently used list first. A scan whose list was dropped begins again: it returns some elements
twice, but misses none.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

MOST = 256
MOST_ELEMENTS = 10_000_000
_POSITION_BITS = 32


class ScanPositions:
    __slots__ = ("_elements", "_lists", "_next")

    def __init__(self) -> None:
        self._lists: OrderedDict[int, tuple[tuple[int, bytes | None], list[bytes]]] = OrderedDict()
        self._elements = 0
        self._next = 1

    def advance(
        self, cursor: int, count: int, scope: tuple[int, bytes | None], elements: Callable[[], list[bytes]]
    ) -> tuple[int, list[bytes]]:
        """Return the next cursor (0: the scan is over) and the next `count` elements.

        `scope` is the number of the database, and the scanned key or None for a scan of all keys.
        When the scan begins, `elements` is called and returns the current elements.
        """
        number, at = cursor >> _POSITION_BITS, cursor & ((1 << _POSITION_BITS) - 1)
        found = self._lists.get(number) if cursor else None
        if found is None or found[0] != scope:
            members = elements()
            number, at = 0, 0
        else:
            members = found[1]
        part = members[at : at + count]
        at += count
        if at >= len(members):
            self._forget(number)
            return 0, part
        if not number:
            number = self._keep(scope, members)
        self._lists.move_to_end(number)
        return number << _POSITION_BITS | at, part

    def _keep(self, scope: tuple[int, bytes | None], members: list[bytes]) -> int:
        number, self._next = self._next, self._next % 0x3FFFFFFF + 1
        self._forget(number)
        self._lists[number] = (scope, members)
        self._elements += len(members)
        while len(self._lists) > 1 and (len(self._lists) > MOST or self._elements > MOST_ELEMENTS):
            self._forget(next(iter(self._lists)))
        return number

    def _forget(self, number: int) -> None:
        found = self._lists.pop(number, None)
        if found is not None:
            self._elements -= len(found[1])
