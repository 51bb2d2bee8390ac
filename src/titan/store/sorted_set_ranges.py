"""Commands that read, count, remove or store a range of a sorted set, by rank, score or member.

Each range is converted to two ranks, `start` and `stop`, counted from the lowest score. `stop` is
not part of the range.
"""

from __future__ import annotations

from typing import NamedTuple

from titan.store.context import Context
from titan.store.lists import clipped
from titan.store.parsing import bound, integer
from titan.store.replies import SYNTAX, Error, Pairs, Refusal, Reply
from titan.store.sets import store_or_delete
from titan.store.values import SortedSet

_NO_FLOAT = Error(b"ERR min or max is not a float")
_NO_MEMBER = Error(b"ERR min or max not valid string range item")
RANK, SCORE, LEX = b"rank", b"score", b"lex"


class _Range(NamedTuple):
    """Range of a sorted set. `kind` (RANK, SCORE or LEX) is the type of `low` and `high`."""

    kind: bytes
    low: bytes
    high: bytes
    reverse: bool = False
    offset: int = 0
    limit: int = -1
    scores: bool = False


class _Bounds(NamedTuple):
    """Parsed ends of a range. For LEX, None means no bound. `above` excludes `low`, `below`
    excludes `high`. `nothing` is True for a range that is always empty, such as from + to -."""

    low: int | float | bytes | None
    high: int | float | bytes | None
    above: bool
    below: bool
    nothing: bool = False


def _bounds(wanted: _Range) -> _Bounds:
    """Parse the ends of a range. Raises Refusal for invalid ends."""
    if wanted.kind == RANK:
        return _Bounds(integer(wanted.low), integer(wanted.high), False, False)
    if wanted.kind == SCORE:
        above, below = wanted.low.startswith(b"("), wanted.high.startswith(b"(")
        return _Bounds(bound(wanted.low[above:], _NO_FLOAT), bound(wanted.high[below:], _NO_FLOAT), above, below)
    low, high = _member_end(wanted.low), _member_end(wanted.high)
    return _Bounds(
        low[1:] or (None if low in (b"-", b"+") else b""),
        high[1:] or (None if high in (b"-", b"+") else b""),
        low.startswith(b"("),
        high.startswith(b"("),
        low == b"+" or high == b"-",
    )


def _member_end(text: bytes) -> bytes:
    if text in (b"-", b"+") or text.startswith((b"(", b"[")):
        return text
    raise Refusal(_NO_MEMBER)


def _ranks(value: SortedSet, wanted: _Range, bounds: _Bounds) -> tuple[int, int]:
    """Return the ranks `start, stop` of a range. The ranks respect the offset of the range, but not
    its limit."""
    low, high, offset = bounds.low, bounds.high, wanted.offset
    if wanted.kind == RANK:
        assert isinstance(low, int)
        assert isinstance(high, int)
        start, stop = clipped(low, high, len(value))
        return (len(value) - stop, len(value) - start - offset) if wanted.reverse else (start + offset, stop)
    if wanted.kind == SCORE:
        assert isinstance(low, float)
        assert isinstance(high, float)
        if low > high or (low == high and (bounds.above or bounds.below)):
            return 0, 0
        start, stop = value.ranks_of_scores(low, high, above=bounds.above, below=bounds.below)
        return (start, stop - offset) if wanted.reverse else (start + offset, stop)
    if bounds.nothing:
        return 0, 0
    assert not isinstance(low, int | float)
    assert not isinstance(high, int | float)
    if low is not None and high is not None and (low > high or (low == high and (bounds.above or bounds.below))):
        return 0, 0
    reverse = wanted.reverse
    return value.ranks_of_members(low, high, above=bounds.above, below=bounds.below, reverse=reverse, skip=offset)


def _pairs(value: SortedSet, wanted: _Range, bounds: _Bounds) -> list[tuple[float, bytes]]:
    if wanted.offset < 0:
        return []
    start, stop = _ranks(value, wanted, bounds)
    if start >= stop:
        return []
    limit = wanted.limit if wanted.limit >= 0 else stop - start
    if wanted.reverse:
        return value.between(max(start, stop - limit), stop, reverse=True)
    return value.between(start, min(stop, start + limit))


def _parsed(args: list[bytes], at: int, kind: bytes, *, auto: bool, reverse: bool, storing: bool = False) -> _Range:
    """Parse a range from `args[at]` on, which is its first end. With `auto`, options set the kind
    and the direction."""
    offset, limit = 0, -1
    scores = False
    first, second = args[at], args[at + 1]
    at += 2
    while at < len(args):
        option = args[at].upper()
        at += 1
        if option == b"WITHSCORES" and not storing:
            scores = True
        elif option == b"LIMIT" and at + 1 < len(args):
            offset, limit = integer(args[at]), integer(args[at + 1])
            at += 2
        elif auto and option == b"REV" and not reverse:
            reverse = True
        elif auto and option in (b"BYLEX", b"BYSCORE") and kind == RANK:
            kind = LEX if option == b"BYLEX" else SCORE
        else:
            raise Refusal(SYNTAX)
    if limit != -1 and kind == RANK:
        raise Refusal(b"ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX")
    if scores and kind == LEX:
        raise Refusal(b"ERR syntax error, WITHSCORES not supported in combination with BYLEX")
    low, high = (second, first) if reverse and kind != RANK else (first, second)
    return _Range(kind, low, high, reverse, offset, limit, scores)


def _read(ctx: Context, key: bytes, wanted: _Range) -> Reply:
    bounds = _bounds(wanted)
    value = ctx.typed(key, SortedSet)
    if value is None:
        return []
    pairs = _pairs(value, wanted, bounds)
    if wanted.scores:
        return Pairs((member, score) for score, member in pairs)
    return [member for _, member in pairs]


def zrange(ctx: Context, args: list[bytes]) -> Reply:
    return _read(ctx, args[1], _parsed(args, 2, RANK, auto=True, reverse=False))


def zrevrange(ctx: Context, args: list[bytes]) -> Reply:
    return _read(ctx, args[1], _parsed(args, 2, RANK, auto=False, reverse=True))


def zrangebyscore(ctx: Context, args: list[bytes]) -> Reply:
    return _read(ctx, args[1], _parsed(args, 2, SCORE, auto=False, reverse=False))


def zrevrangebyscore(ctx: Context, args: list[bytes]) -> Reply:
    return _read(ctx, args[1], _parsed(args, 2, SCORE, auto=False, reverse=True))


def zrangebylex(ctx: Context, args: list[bytes]) -> Reply:
    return _read(ctx, args[1], _parsed(args, 2, LEX, auto=False, reverse=False))


def zrevrangebylex(ctx: Context, args: list[bytes]) -> Reply:
    return _read(ctx, args[1], _parsed(args, 2, LEX, auto=False, reverse=True))


def zrangestore(ctx: Context, args: list[bytes]) -> Reply:
    wanted = _parsed(args, 3, RANK, auto=True, reverse=False, storing=True)
    bounds = _bounds(wanted)
    value = ctx.typed(args[2], SortedSet)
    pairs = [] if value is None else _pairs(value, wanted, bounds)
    result = SortedSet({member: score for score, member in pairs}) if pairs else None
    return store_or_delete(ctx, args, args[1], result)


def zcount(ctx: Context, args: list[bytes]) -> Reply:
    return _count(ctx, args, SCORE)


def zlexcount(ctx: Context, args: list[bytes]) -> Reply:
    return _count(ctx, args, LEX)


def _count(ctx: Context, args: list[bytes], kind: bytes) -> int:
    wanted = _Range(kind, args[2], args[3])
    bounds = _bounds(wanted)
    value = ctx.typed(args[1], SortedSet)
    if value is None:
        return 0
    start, stop = _ranks(value, wanted, bounds)
    return stop - start


def zremrangebyrank(ctx: Context, args: list[bytes]) -> Reply:
    return _remove(ctx, args, RANK)


def zremrangebyscore(ctx: Context, args: list[bytes]) -> Reply:
    return _remove(ctx, args, SCORE)


def zremrangebylex(ctx: Context, args: list[bytes]) -> Reply:
    return _remove(ctx, args, LEX)


def _remove(ctx: Context, args: list[bytes], kind: bytes) -> int:
    key = args[1]
    wanted = _Range(kind, args[2], args[3])
    bounds = _bounds(wanted)
    value = ctx.typed(key, SortedSet)
    if value is None:
        return 0
    pairs = _pairs(value, wanted, bounds)
    for _, member in pairs:
        value.discard(member)
    if pairs:
        ctx.drop_if_empty(key, value)
        ctx.changed(key, args)
    return len(pairs)
