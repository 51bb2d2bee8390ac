"""Commands of sorted sets: members with scores. Ranges are in `sorted_set_ranges`, unions and
intersections in `sorted_set_algebra`."""

from __future__ import annotations

from math import isnan

from titan.store import blocking
from titan.store.context import Context
from titan.store.hashes import pick_options, picked
from titan.store.lists import pop_options
from titan.store.parsing import floating, positive
from titan.store.replies import BLOCKED, NULL_ARRAY, SYNTAX, Pairs, Refusal, Reply
from titan.store.values import SortedSet

_ADD_OPTIONS = (b"NX", b"XX", b"GT", b"LT", b"CH", b"INCR")
_ENDS = (b"MIN", b"MAX")


def zadd(ctx: Context, args: list[bytes]) -> Reply:
    at = 2
    options: dict[bytes, None] = {}
    while at < len(args) and (option := args[at].upper()) in _ADD_OPTIONS:
        options[option] = None
        at += 1
    if at == len(args) or (len(args) - at) % 2:
        raise Refusal(SYNTAX)
    if options:
        return _zadd_with_options(ctx, args, options, at)
    scores = [floating(text) for text in args[2::2]]
    key = args[1]
    value = ctx.typed(key, SortedSet)
    if value is None:
        value = ctx.db.data[key] = SortedSet()
    before = len(value.scores)
    moved = False
    for score, member in zip(scores, args[3::2], strict=True):
        if value.scores.get(member) != score:
            value.put(member, score)
            moved = True
    if moved:
        ctx.changed(key, args)
    return len(value.scores) - before


def _zadd_with_options(ctx: Context, args: list[bytes], options: dict[bytes, None], at: int) -> Reply:
    if b"NX" in options and b"XX" in options:
        raise Refusal(b"ERR XX and NX options at the same time are not compatible")
    if (b"GT" in options and b"LT" in options) or (b"NX" in options and (b"GT" in options or b"LT" in options)):
        raise Refusal(b"ERR GT, LT, and/or NX options at the same time are not compatible")
    if b"INCR" in options and len(args) - at > 2:
        raise Refusal(b"ERR INCR option supports a single increment-element pair")
    scores = [floating(text) for text in args[at::2]]
    key = args[1]
    value = ctx.typed(key, SortedSet)
    if value is None:
        if b"XX" in options:
            return None if b"INCR" in options else 0
        value = SortedSet()
    added = updated = 0
    result: float | None = None
    for new_score, member in zip(scores, args[at + 1 :: 2], strict=True):
        before, score = value.scores.get(member), new_score
        if b"XX" in options if before is None else b"NX" in options:
            continue
        if before is not None and b"INCR" in options:
            score += before
            if isnan(score):
                raise Refusal(b"ERR resulting score is not a number (NaN)")
        if before is not None and ((b"GT" in options and score <= before) or (b"LT" in options and score >= before)):
            continue
        result = score
        if before is None:
            added += 1
        elif before != score:
            updated += 1
        else:
            continue
        value.put(member, score)
    if value.scores:
        ctx.db.data[key] = value
    if added or updated:
        ctx.changed(key, args)
    if b"INCR" in options:
        return result
    return added + updated if b"CH" in options else added


def zincrby(ctx: Context, args: list[bytes]) -> Reply:
    by = floating(args[2])
    key, member = args[1], args[3]
    value = ctx.typed(key, SortedSet)
    before = None if value is None else value.scores.get(member)
    score = by if before is None else before + by
    if isnan(score):
        raise Refusal(b"ERR resulting score is not a number (NaN)")
    if value is None:
        value = ctx.db.data[key] = SortedSet()
    if score != before:
        value.put(member, score)
        ctx.changed(key, args)
    return score


def zrem(ctx: Context, args: list[bytes]) -> Reply:
    key = args[1]
    value = ctx.typed(key, SortedSet)
    if value is None:
        return 0
    gone = sum(value.discard(member) for member in args[2:])
    if gone:
        ctx.drop_if_empty(key, value)
        ctx.changed(key, args)
    return gone


def zcard(ctx: Context, args: list[bytes]) -> Reply:
    return len(ctx.typed(args[1], SortedSet) or ())


def zscore(ctx: Context, args: list[bytes]) -> Reply:
    value = ctx.typed(args[1], SortedSet)
    return None if value is None else value.scores.get(args[2])


def zmscore(ctx: Context, args: list[bytes]) -> Reply:
    value = ctx.typed(args[1], SortedSet)
    return [None if value is None else value.scores.get(member) for member in args[2:]]


def zrank(ctx: Context, args: list[bytes]) -> Reply:
    value = ctx.typed(args[1], SortedSet)
    return None if value is None or args[2] not in value.scores else value.rank(args[2])


def zrevrank(ctx: Context, args: list[bytes]) -> Reply:
    value = ctx.typed(args[1], SortedSet)
    return None if value is None or args[2] not in value.scores else len(value) - 1 - value.rank(args[2])


def zrandmember(ctx: Context, args: list[bytes]) -> Reply:
    if len(args) == 2:
        value = ctx.typed(args[1], SortedSet)
        return None if value is None else value.at(ctx.dice.below(len(value)))[1]
    count, both = pick_options(args, b"WITHSCORES")
    value = ctx.typed(args[1], SortedSet) or SortedSet()
    members = picked(ctx, value.scores, count)
    return Pairs((member, value.scores[member]) for member in members) if both else members


def zpopmin(ctx: Context, args: list[bytes]) -> Reply:
    return _pop_command(ctx, args, b"MIN")


def zpopmax(ctx: Context, args: list[bytes]) -> Reply:
    return _pop_command(ctx, args, b"MAX")


def _pop_command(ctx: Context, args: list[bytes], end: bytes) -> Reply:
    if len(args) > 3:
        raise Refusal(SYNTAX)
    count = positive(args[2]) if len(args) == 3 else 1
    value = ctx.typed(args[1], SortedSet)
    if value is None or not count:
        return []
    popped = _pop(ctx, args[1], value, end, count)
    return Pairs(popped) if len(args) == 3 else list(popped[0])


def _pop(ctx: Context, key: bytes, value: SortedSet, end: bytes, count: int) -> list[tuple[bytes, float]]:
    """Remove up to `count` members from one end, and return them with their scores."""
    size = len(value)
    count = min(count, size)
    pairs = value.between(0, count) if end == b"MIN" else value.between(size - count, size, reverse=True)
    for _, member in pairs:
        value.discard(member)
    ctx.drop_if_empty(key, value)
    ctx.changed(key, [b"ZPOP" + end, key, b"%d" % count])
    return [(member, score) for score, member in pairs]


def bzpopmin(ctx: Context, args: list[bytes]) -> Reply:
    return _blocking_pop(ctx, args, b"MIN")


def bzpopmax(ctx: Context, args: list[bytes]) -> Reply:
    return _blocking_pop(ctx, args, b"MAX")


def _blocking_pop(ctx: Context, args: list[bytes], end: bytes) -> Reply:
    keys = args[1:-1]
    until = blocking.deadline(ctx, args[-1])
    for key in keys:
        value = ctx.typed(key, SortedSet)
        if value is not None:
            return [key, *_pop(ctx, key, value, end, 1)[0]]

    def serve(ctx: Context, key: bytes) -> Reply:
        value = ctx.db.find(key)
        return [key, *_pop(ctx, key, value, end, 1)[0]] if isinstance(value, SortedSet) else BLOCKED

    return blocking.wait(ctx, keys, until, serve, NULL_ARRAY)


def _end(word: bytes) -> bytes:
    if word.upper() not in _ENDS:
        raise Refusal(SYNTAX)
    return word.upper()


def zmpop(ctx: Context, args: list[bytes]) -> Reply:
    keys, end, count = pop_options(args, 1, _end)
    return _pop_first(ctx, keys, end, count) or NULL_ARRAY


def bzmpop(ctx: Context, args: list[bytes]) -> Reply:
    keys, end, count = pop_options(args, 2, _end)
    until = blocking.deadline(ctx, args[1])
    found = _pop_first(ctx, keys, end, count)
    if found is not None:
        return found

    def serve(ctx: Context, key: bytes) -> Reply:
        value = ctx.db.find(key)
        return _many(ctx, key, value, end, count) if isinstance(value, SortedSet) else BLOCKED

    return blocking.wait(ctx, keys, until, serve, NULL_ARRAY)


def _pop_first(ctx: Context, keys: list[bytes], end: bytes, count: int) -> list[object] | None:
    for key in keys:
        value = ctx.typed(key, SortedSet)
        if value is not None:
            return _many(ctx, key, value, end, count)
    return None


def _many(ctx: Context, key: bytes, value: SortedSet, end: bytes, count: int) -> list[object]:
    return [key, [list(pair) for pair in _pop(ctx, key, value, end, count)]]
