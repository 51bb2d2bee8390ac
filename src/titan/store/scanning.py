"""SCAN, HSCAN, SSCAN and ZSCAN: `scan`, `hscan`, `sscan`, `zscan`.

A scan returns each element that exists all the time exactly once (see `scan_positions`). It does
not return elements that were deleted meanwhile.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from titan.store.context import Context
from titan.store.keyspace import Database
from titan.store.parsing import INT_MAX, integer, score_text
from titan.store.patterns import matcher
from titan.store.replies import SYNTAX, Refusal, Reply
from titan.store.values import TYPE_NAMES, SetValue, SortedSet

_CURSOR = re.compile(rb"([+-]?)([0-9]+)")
_LARGEST = (1 << 64) - 1
_COUNT = 10
_INTEGERS = 1 << 62


class _Options(NamedTuple):
    limit: int
    matches: Callable[[bytes], object] | None
    kind: bytes | None


def scan(ctx: Context, args: list[bytes]) -> Reply:
    cursor = _cursor(args[1])
    options = _options(args, 2, types=True)
    db = ctx.db
    following, found = ctx.scans.advance(cursor, options.limit, (db.index, None), lambda: _all_keys(ctx, db))
    if options.matches is not None:
        found = [key for key in found if options.matches(key)]
    return [b"%d" % following, [key for key in found if _is_there(db, key, options.kind)]]


def _all_keys(ctx: Context, db: Database) -> list[bytes]:
    ctx.strain(len(db.data) // 10)
    return [*db.data, *db.mounted_keys()]


def _is_there(db: Database, key: bytes, kind: bytes | None) -> bool:
    """Return whether a key exists and has the type `kind`; None means any type. Unlike
    `Database.find`, this does not count as use of the key."""
    value = None if db.has_expired(key) else db.data.get(key)
    if value is None:
        mount = db.mount_of(key)
        value = mount.find(key) if mount is not None else None
    return value is not None and (kind is None or TYPE_NAMES[value.__class__] == kind)


def hscan(ctx: Context, args: list[bytes]) -> Reply:
    cursor = _cursor(args[2])
    value = ctx.typed(args[1], dict)
    if value is None:
        return [b"0", []]
    following, fields = _page(ctx, args, cursor, value)
    return [b"%d" % following, [half for field in fields for half in (field, value[field])]]


def sscan(ctx: Context, args: list[bytes]) -> Reply:
    cursor = _cursor(args[2])
    value = ctx.typed(args[1], SetValue)
    if value is None:
        return [b"0", []]
    following, members = _page(ctx, args, cursor, value.members)
    return [b"%d" % following, members]


def zscan(ctx: Context, args: list[bytes]) -> Reply:
    cursor = _cursor(args[2])
    value = ctx.typed(args[1], SortedSet)
    if value is None:
        return [b"0", []]
    following, members = _page(ctx, args, cursor, value.scores)
    return [b"%d" % following, [half for member in members for half in (member, _score(value.scores[member]))]]


def _score(score: float) -> bytes:
    """Return the text of a score. As in Redis, a whole number below `_INTEGERS` has no exponent."""
    return b"%d" % score if score.is_integer() and abs(score) < _INTEGERS else score_text(score)


def _page(
    ctx: Context, args: list[bytes], cursor: int, elements: dict[bytes, bytes] | dict[bytes, int] | dict[bytes, float]
) -> tuple[int, list[bytes]]:
    options = _options(args, 3, types=False)
    following, found = ctx.scans.advance(cursor, options.limit, (ctx.db.index, args[1]), lambda: list(elements))
    return following, [name for name in found if name in elements and (options.matches is None or options.matches(name))]


def _cursor(text: bytes) -> int:
    """Parse a cursor like strtoul of C: ignore everything after a zero byte, and let negative
    numbers wrap around."""
    shown = text.partition(b"\0")[0]
    if not shown:
        return 0
    found = _CURSOR.fullmatch(shown)
    if found is None or len(shown) > 4096 or int(found[2]) > _LARGEST:
        raise Refusal(b"ERR invalid cursor")
    return (-int(found[2]) if found[1] == b"-" else int(found[2])) & _LARGEST


def _options(args: list[bytes], at: int, *, types: bool) -> _Options:
    count, matches, kind = _COUNT, None, None
    while at < len(args):
        option = args[at].upper()
        if at + 1 == len(args):
            raise Refusal(SYNTAX)
        value = args[at + 1]
        if option == b"COUNT":
            count = integer(value)
            if count < 1:
                raise Refusal(SYNTAX)
        elif option == b"MATCH":
            matches = None if value == b"*" else matcher(value)
        elif option == b"TYPE" and types:
            kind = value.lower()
        else:
            raise Refusal(SYNTAX)
        at += 2
    return _Options(min(count, INT_MAX >> 32), matches, kind)
