"""Where scans stand.

The first call of a scan takes a list of the elements there are; its cursor is the number of that
list and how far it was read. So what is there during the whole scan is returned, each element once,
whatever else changes; what comes later is not. At most `MOST` lists are kept, and at most
`MOST_ELEMENTS` elements in all; the one used least recently goes, and a scan whose list is gone
begins anew: it returns elements twice, and loses none.
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
        """The next cursor (0: the scan is over) and the next `count` elements of a scan over
        `scope`, a database or a key in it.

        `elements` gives those that are there now; it is called if the scan begins.
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
