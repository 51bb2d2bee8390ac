"""Commands of hashes: fields with values, in the order in which the fields were added."""

from __future__ import annotations

from itertools import islice

from titan.store.context import Context
from titan.store.parsing import INT_MAX, INT_MIN, bounded, extended, integer
from titan.store.replies import OK, OUT_OF_RANGE, OVERFLOW, SYNTAX, Error, Pairs, Refusal, Reply, bounded_reply
from titan.store.strings import added

REPEATS = 1_000_000
"""Maximum number of random elements with repetitions, which clients request by a negative count."""
_NOT_INTEGER = Error(b"ERR hash value is not an integer")
_NOT_FLOAT = Error(b"ERR hash value is not a float")


def hset(ctx: Context, args: list[bytes]) -> Reply:
    if len(args) % 2:
        raise Refusal(b"ERR wrong number of arguments for 'hset' command")
    return _put(ctx, args)


def hmset(ctx: Context, args: list[bytes]) -> Reply:
    if len(args) % 2:
        raise Refusal(b"ERR wrong number of arguments for 'hmset' command")
    _put(ctx, args)
    return OK


def _put(ctx: Context, args: list[bytes]) -> int:
    """Set fields, and return the number of new ones."""
    key = args[1]
    value = ctx.typed(key, dict)
    if value is None:
        value = {}
        ctx.db.data[key] = value
    before = len(value)
    if len(args) == 4:
        value[args[2]] = args[3]
    else:
        value.update(zip(args[2::2], args[3::2], strict=True))
    ctx.changed(key, args)
    return len(value) - before


def hsetnx(ctx: Context, args: list[bytes]) -> Reply:
    value = ctx.typed(args[1], dict)
    if value is not None and args[2] in value:
        return 0
    return _put(ctx, [b"HSET", *args[1:]])


def hget(ctx: Context, args: list[bytes]) -> Reply:
    value = ctx.typed(args[1], dict)
    return None if value is None else value.get(args[2])


def hmget(ctx: Context, args: list[bytes]) -> Reply:
    value = ctx.typed(args[1], dict) or {}
    return bounded_reply([value.get(field) for field in args[2:]])


def hdel(ctx: Context, args: list[bytes]) -> Reply:
    key = args[1]
    value = ctx.typed(key, dict)
    if value is None:
        return 0
    before = len(value)
    for field in args[2:]:
        value.pop(field, None)
    removed = before - len(value)
    if removed:
        ctx.drop_if_empty(key, value)
        ctx.changed(key, args)
    return removed


def hlen(ctx: Context, args: list[bytes]) -> Reply:
    return len(ctx.typed(args[1], dict) or ())


def hexists(ctx: Context, args: list[bytes]) -> Reply:
    return int(args[2] in (ctx.typed(args[1], dict) or ()))


def hstrlen(ctx: Context, args: list[bytes]) -> Reply:
    return len((ctx.typed(args[1], dict) or {}).get(args[2], b""))


def hkeys(ctx: Context, args: list[bytes]) -> Reply:
    return list(ctx.typed(args[1], dict) or ())


def hvals(ctx: Context, args: list[bytes]) -> Reply:
    return list((ctx.typed(args[1], dict) or {}).values())


def hgetall(ctx: Context, args: list[bytes]) -> Reply:
    return ctx.typed(args[1], dict) or {}


def hincrby(ctx: Context, args: list[bytes]) -> Reply:
    by = integer(args[3])
    key, field = args[1], args[2]
    value = ctx.typed(key, dict)
    before = None if value is None else value.get(field)
    number = by if before is None else integer(before, _NOT_INTEGER) + by
    if not INT_MIN <= number <= INT_MAX:
        raise Refusal(OVERFLOW)
    if value is None:
        value = ctx.db.data[key] = {}
    value[field] = b"%d" % number
    ctx.changed(key, args)
    return number


def hincrbyfloat(ctx: Context, args: list[bytes]) -> Reply:
    if extended(args[3]) is None:
        raise Refusal(b"ERR value is NaN or Infinity")
    value = ctx.typed(args[1], dict)
    text = added(None if value is None else value.get(args[2]), args[3], _NOT_FLOAT)
    _put(ctx, [b"HSET", args[1], args[2], text])
    return text


def hrandfield(ctx: Context, args: list[bytes]) -> Reply:
    if len(args) == 2:
        value = ctx.typed(args[1], dict)
        return None if value is None else next(islice(value, ctx.dice.below(len(value)), None))
    count, both = pick_options(args, b"WITHVALUES")
    value = ctx.typed(args[1], dict) or {}
    fields = picked(ctx, value, count)
    if both:
        bounded_reply([value[field] for field in fields])
    return Pairs((field, value[field]) for field in fields) if both else fields


def pick_options(args: list[bytes], word: bytes) -> tuple[int, bool]:
    """Parse the arguments of HRANDFIELD or ZRANDMEMBER. Return the count, and whether the option
    `word` is present."""
    count = bounded(args[2], -INT_MAX, INT_MAX)
    if len(args) > 4 or (len(args) == 4 and args[3].upper() != word):
        raise Refusal(SYNTAX)
    both = len(args) == 4
    if both and not -(INT_MAX // 2) <= count <= INT_MAX // 2:
        raise Refusal(OUT_OF_RANGE)
    return count, both


def picked(ctx: Context, members: dict[bytes, bytes] | dict[bytes, float], count: int) -> list[bytes]:
    """Return up to `count` different random members. If `count` is negative, return exactly
    `-count` members, which may repeat. Raises Refusal if they are more than REPEATS."""
    if count < -REPEATS:
        raise Refusal(OUT_OF_RANGE)
    if not members or not count:
        return []
    ctx.strain(len(members) + min(abs(count), REPEATS))
    names = list(members)
    if count < 0:
        return bounded_reply([names[ctx.dice.below(len(names))] for _ in range(-count)])
    if count >= len(names):
        return names
    return [names[i] for i in ctx.dice.sample(len(names), count)]
