"""Commands of sets."""

from __future__ import annotations

from collections.abc import Callable

from titan.store.context import Context
from titan.store.hashes import REPEATS
from titan.store.lists import KEYS_ABOVE_ZERO
from titan.store.parsing import INT_MAX, bounded, positive
from titan.store.replies import OUT_OF_RANGE, SYNTAX, Error, Refusal, Reply, SetReply, bounded_reply
from titan.store.values import SetValue, SortedSet

_REWRITE_AT = 1_000
"""Maximum number of members in one change."""


def sadd(ctx: Context, args: list[bytes]) -> Reply:
    key = args[1]
    value = ctx.typed(key, SetValue)
    if value is None:
        value = ctx.db.data[key] = SetValue()
    before = len(value.members)
    for member in args[2:]:
        value.add(member)
    new = len(value.members) - before
    if new:
        ctx.changed(key, args)
    return new


def srem(ctx: Context, args: list[bytes]) -> Reply:
    key = args[1]
    value = ctx.typed(key, SetValue)
    if value is None:
        return 0
    before = len(value)
    for member in args[2:]:
        value.discard(member)
    gone = before - len(value)
    if gone:
        ctx.drop_if_empty(key, value)
        ctx.changed(key, args)
    return gone


def smembers(ctx: Context, args: list[bytes]) -> Reply:
    return SetReply(ctx.typed(args[1], SetValue) or ())


def scard(ctx: Context, args: list[bytes]) -> Reply:
    return len(ctx.typed(args[1], SetValue) or ())


def sismember(ctx: Context, args: list[bytes]) -> Reply:
    return int(args[2] in (ctx.typed(args[1], SetValue) or ()))


def smismember(ctx: Context, args: list[bytes]) -> Reply:
    value = ctx.typed(args[1], SetValue) or ()
    return [int(member in value) for member in args[2:]]


def smove(ctx: Context, args: list[bytes]) -> Reply:
    source, target, member = args[1:]
    value = ctx.typed(source, SetValue)
    if value is None:
        return 0
    into = ctx.typed(target, SetValue)
    if source == target:
        return int(member in value)
    if not value.discard(member):
        return 0
    if into is None:
        into = ctx.db.data[target] = SetValue()
    into.add(member)
    ctx.drop_if_empty(source, value)
    ctx.touch(target)
    ctx.changed(source, args)
    return 1


def spop(ctx: Context, args: list[bytes]) -> Reply:
    if len(args) > 3:
        raise Refusal(SYNTAX)
    key = args[1]
    count = positive(args[2]) if len(args) == 3 else None
    value = ctx.typed(key, SetValue)
    if value is None:
        return None if count is None else SetReply()
    if count is None:
        member = value.pick(ctx.dice)
        _take(ctx, key, value, [member])
        return member
    if not count:
        return SetReply()
    if count >= len(value):
        members = list(value)
        ctx.db.remove(key)
        ctx.changed(key, [b"DEL", key])
        return SetReply(members)
    order = value.by_place()
    members = [order[i] for i in ctx.dice.sample(len(order), count)]
    _take(ctx, key, value, members)
    return SetReply(members)


def _take(ctx: Context, key: bytes, value: SetValue, members: list[bytes]) -> None:
    for member in members:
        value.discard(member)
    ctx.drop_if_empty(key, value)
    for at in range(0, len(members), _REWRITE_AT):
        ctx.changed(key, [b"SREM", key, *members[at : at + _REWRITE_AT]])


def srandmember(ctx: Context, args: list[bytes]) -> Reply:
    if len(args) > 3:
        raise Refusal(SYNTAX)
    count = bounded(args[2], -INT_MAX, INT_MAX) if len(args) == 3 else None
    if count is not None and count < -REPEATS:
        raise Refusal(OUT_OF_RANGE)
    value = ctx.typed(args[1], SetValue)
    if value is None:
        return None if count is None else []
    if count is None:
        return value.pick(ctx.dice)
    if count < 0:
        ctx.strain(-count)
        return bounded_reply([value.pick(ctx.dice) for _ in range(-count)])
    if count >= len(value):
        return list(value)
    order = value.by_place()
    return [order[i] for i in ctx.dice.sample(len(order), count)]


def _sets(ctx: Context, keys: list[bytes]) -> list[dict[bytes, int]]:
    """Return the members of each key. Raises Refusal for a value that is not a set."""
    found = [ctx.typed(key, SetValue) for key in keys]
    ctx.strain(sum(len(value) for value in found if value is not None))
    return [{} if value is None else value.members for value in found]


def _intersection(sets: list[dict[bytes, int]]) -> list[bytes]:
    smallest, *others = sorted(sets, key=len)
    return [member for member in smallest if all(member in other for other in others)]


def _union(sets: list[dict[bytes, int]]) -> list[bytes]:
    found: dict[bytes, int] = {}
    for members in sets:
        found.update(members)
    return list(found)


def _difference(sets: list[dict[bytes, int]]) -> list[bytes]:
    first, *others = sets
    return [member for member in first if not any(member in other for other in others)]


def sinter(ctx: Context, args: list[bytes]) -> Reply:
    return SetReply(_intersection(_sets(ctx, args[1:])))


def sunion(ctx: Context, args: list[bytes]) -> Reply:
    return SetReply(_union(_sets(ctx, args[1:])))


def sdiff(ctx: Context, args: list[bytes]) -> Reply:
    return SetReply(_difference(_sets(ctx, args[1:])))


def sinterstore(ctx: Context, args: list[bytes]) -> Reply:
    return _keep(ctx, args, _intersection)


def sunionstore(ctx: Context, args: list[bytes]) -> Reply:
    return _keep(ctx, args, _union)


def sdiffstore(ctx: Context, args: list[bytes]) -> Reply:
    return _keep(ctx, args, _difference)


def _keep(ctx: Context, args: list[bytes], combine: Callable[[list[dict[bytes, int]]], list[bytes]]) -> int:
    members = combine(_sets(ctx, args[2:]))
    return store_or_delete(ctx, args, args[1], SetValue(members) if members else None)


def store_or_delete(ctx: Context, args: list[bytes], target: bytes, value: SetValue | SortedSet | None) -> int:
    """Store the result of a command at `target`, or delete `target` if the result is None. Return
    the number of elements."""
    if value is not None:
        over = isinstance(value, SortedSet) and ctx.db.find(target) is not None
        ctx.db.put(target, value)
        ctx.stored(target, args, over=over)
        return len(value)
    if ctx.db.find(target) is not None:
        ctx.db.remove(target)
        ctx.changed(target, [b"DEL", target])
    return 0


def sintercard(ctx: Context, args: list[bytes]) -> Reply:
    keys, limit = card_options(args)
    found = len(_intersection(_sets(ctx, keys)))
    return min(found, limit) if limit else found


def card_options(args: list[bytes]) -> tuple[list[bytes], int]:
    """Parse the arguments of SINTERCARD. Return the keys and the limit; 0 means no limit."""
    number = bounded(args[1], 1, INT_MAX, KEYS_ABOVE_ZERO)
    if number > len(args) - 2:
        raise Refusal(b"ERR Number of keys can't be greater than number of args")
    limit = 0
    at = 2 + number
    while at < len(args):
        if args[at].upper() != b"LIMIT" or at + 1 == len(args):
            raise Refusal(SYNTAX)
        limit = bounded(args[at + 1], 0, INT_MAX, Error(b"ERR LIMIT can't be negative"))
        at += 2
    return args[2 : 2 + number], limit
