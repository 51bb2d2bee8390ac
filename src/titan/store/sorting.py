"""SORT and SORT_RO: `sort`, `sort_ro`. Elements that compare equal keep their order."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable
from math import inf
from sys import float_info
from typing import NamedTuple

from titan.store.context import Context
from titan.store.parsing import bound, integer
from titan.store.replies import SYNTAX, WRONG_TYPE, Error, Refusal, Reply, bounded_reply, shown
from titan.store.values import SetValue, SortedSet

_NO_NUMBERS = Error(b"ERR One or more scores can't be converted into double")
_MANTISSA = re.compile(rb"[ \t\n\v\f\r]*[+-]?(?:[0.]*[1-9]|0[xX][0.]*[1-9a-fA-F])")
"""Beginning of the text of a number that is not zero."""


class _Request(NamedTuple):
    by: bytes | None
    """Pattern with a star; None: sort by the elements themselves."""
    native: bool
    """True if the pattern of BY has no star: the elements keep their order."""
    gets: list[bytes]
    start: int
    limit: int
    descending: bool
    alpha: bool
    store: bytes | None


def sort(ctx: Context, args: list[bytes]) -> Reply:
    return _sort(ctx, args, _request(args, storing=True))


def sort_ro(ctx: Context, args: list[bytes]) -> Reply:
    return _sort(ctx, args, _request(args, storing=False))


def _request(args: list[bytes], *, storing: bool) -> _Request:
    by = store = None
    native = descending = alpha = False
    gets: list[bytes] = []
    start, count = 0, -1
    at = 2
    while at < len(args):
        option, more = args[at].upper(), len(args) - at - 1
        if option in (b"ASC", b"DESC"):
            descending = option == b"DESC"
        elif option == b"ALPHA":
            alpha = True
        elif option == b"LIMIT" and more >= 2:
            start, count = integer(args[at + 1]), integer(args[at + 2])
            at += 2
        elif option == b"STORE" and more and storing:
            store = args[at + 1]
            at += 1
        elif option == b"BY" and more:
            by = args[at + 1]
            native = native or b"*" not in by.partition(b"\0")[0]
            at += 1
        elif option == b"GET" and more:
            gets.append(args[at + 1])
            at += 1
        else:
            raise Refusal(SYNTAX)
        at += 1
    return _Request(by, native, gets, start, count, descending, alpha, store)


def _sort(ctx: Context, args: list[bytes], request: _Request) -> Reply:
    value = ctx.db.find(args[1])
    if value is not None and not isinstance(value, deque | SetValue | SortedSet):
        raise Refusal(WRONG_TYPE)
    if request.native and request.store is not None and isinstance(value, SetValue):
        # The stored result must not depend on the order of insertion.
        request = request._replace(native=False, alpha=True, by=None)
    elements = _ordered(ctx, value, request)
    start = min(max(request.start, 0), len(elements))
    stop = len(elements) if request.limit < 0 else min(start + request.limit, len(elements))
    elements = elements[start:stop]
    found: list[bytes | None] = []
    if request.gets:
        found.extend(_found_by(ctx, pattern, element, request) for element in elements for pattern in request.gets)
        bounded_reply(found)
    else:
        found.extend(elements)
    return found if request.store is None else _keep(ctx, args, request.store, found)


def _ordered(ctx: Context, value: deque[bytes] | SetValue | SortedSet | None, request: _Request) -> list[bytes]:
    if value is None:
        return []
    ctx.strain(len(value) * (2 + len(request.gets)))
    elements = [member for _, member in value.pairs()] if isinstance(value, SortedSet) else list(value)
    if request.native:
        if request.descending and not isinstance(value, SetValue):
            elements.reverse()
        return elements
    weights = elements if request.by is None else [_found_by(ctx, request.by, element, request) for element in elements]
    order: Callable[[int], object]
    if not request.alpha:
        numbers = [_number(weight) for weight in weights]

        def order(at: int) -> tuple[float, bytes]:
            return numbers[at], elements[at]
    else:
        exact = request.store is not None
        texts = [b"" if weight is None else b"=" + (weight if exact else weight.partition(b"\0")[0]) for weight in weights]

        def order(at: int) -> bytes:
            return texts[at]

    return [elements[at] for at in sorted(range(len(elements)), key=order, reverse=request.descending)]


def _number(weight: bytes | None) -> float:
    """Parse a weight; None counts as 0. Raises Refusal."""
    if weight is None:
        return 0.0
    number = bound(weight, _NO_NUMBERS)
    if number in (inf, -inf):
        if b"n" not in weight.lower():
            raise Refusal(_NO_NUMBERS)
    elif abs(number) < float_info.min and _MANTISSA.match(weight):
        raise Refusal(_NO_NUMBERS)  # too small for a normal double
    return number


def _found_by(ctx: Context, pattern: bytes, element: bytes, request: _Request) -> bytes | None:
    """Return the value that a pattern of BY or GET finds for an element.

    The pattern ``#`` finds the element itself. In other patterns, the element replaces the star,
    which gives the name of a key. The value is the string at this key or, with ``->``, a field of
    the hash there.
    """
    if pattern == b"#":
        return element
    before, star, after = pattern.partition(b"*")
    if not star:
        return None
    rest, _, field = after.partition(b"->")
    key = before + element + (rest if field else after)
    if request.store is not None and ctx.db.mounts and ctx.db.mount_of(key) is not None:
        raise Refusal(b"ERR '%b' belongs to the cluster and can only be read" % shown(key))
    value = ctx.db.find(key)
    if field:
        return value.get(field) if isinstance(value, dict) else None
    return bytes(value) if isinstance(value, bytes | bytearray) else None


def _keep(ctx: Context, args: list[bytes], target: bytes, found: list[bytes | None]) -> int:
    if found:
        over = ctx.db.find(target) is not None
        ctx.db.put(target, deque(element or b"" for element in found))
        ctx.stored(target, args, over=over)
    elif ctx.db.find(target) is not None:
        ctx.db.remove(target)
        ctx.changed(target, [b"DEL", target])
    return len(found)
