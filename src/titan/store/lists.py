"""Commands of lists, which are double-ended queues."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from itertools import islice

from titan.store import blocking
from titan.store.context import Context
from titan.store.parsing import INT_MAX, INT_MIN, bounded, integer, positive
from titan.store.replies import (
    BLOCKED,
    INDEX_RANGE,
    NO_SUCH_KEY,
    NULL_ARRAY,
    OK,
    SYNTAX,
    WRONG_TYPE,
    Error,
    Refusal,
    Reply,
)

_POP = {b"LEFT": b"LPOP", b"RIGHT": b"RPOP"}
COUNT_ABOVE_ZERO = Error(b"ERR count should be greater than 0")
KEYS_ABOVE_ZERO = Error(b"ERR numkeys should be greater than 0")


def lpush(ctx: Context, args: list[bytes]) -> Reply:
    key = args[1]
    value = ctx.typed(key, deque)
    if value is None:
        value = ctx.db.data[key] = deque()
    if len(args) == 3:
        value.appendleft(args[2])
    else:
        value.extendleft(args[2:])
    ctx.changed(key, args)
    return len(value)


def rpush(ctx: Context, args: list[bytes]) -> Reply:
    key = args[1]
    value = ctx.typed(key, deque)
    if value is None:
        value = ctx.db.data[key] = deque()
    value.extend(args[2:])
    ctx.changed(key, args)
    return len(value)


def lpushx(ctx: Context, args: list[bytes]) -> Reply:
    return lpush(ctx, args) if ctx.typed(args[1], deque) is not None else 0


def rpushx(ctx: Context, args: list[bytes]) -> Reply:
    return rpush(ctx, args) if ctx.typed(args[1], deque) is not None else 0


def lpop(ctx: Context, args: list[bytes]) -> Reply:
    return _pop_command(ctx, args, b"LEFT")


def rpop(ctx: Context, args: list[bytes]) -> Reply:
    return _pop_command(ctx, args, b"RIGHT")


def _pop_command(ctx: Context, args: list[bytes], side: bytes) -> Reply:
    if len(args) > 3:
        raise Refusal(b"ERR wrong number of arguments for '%b' command" % args[0].lower())
    count = positive(args[2]) if len(args) == 3 else None
    key = args[1]
    value = ctx.typed(key, deque)
    if value is None:
        return None if count is None else NULL_ARRAY
    if count is None:
        return _pop(ctx, key, value, side)
    return _pop_many(ctx, key, value, side, count) if count else []


def _pop(ctx: Context, key: bytes, value: deque[bytes], side: bytes) -> bytes:
    element = value.popleft() if side == b"LEFT" else value.pop()
    if not value:
        ctx.db.remove(key)
    ctx.changed(key, [_POP[side], key])
    return element


def _pop_many(ctx: Context, key: bytes, value: deque[bytes], side: bytes, count: int) -> list[bytes]:
    take = value.popleft if side == b"LEFT" else value.pop
    elements = [take() for _ in range(min(count, len(value)))]
    if not value:
        ctx.db.remove(key)
    ctx.changed(key, [_POP[side], key, b"%d" % len(elements)])
    return elements


def llen(ctx: Context, args: list[bytes]) -> Reply:
    return len(ctx.typed(args[1], deque) or ())


def lindex(ctx: Context, args: list[bytes]) -> Reply:
    value = ctx.typed(args[1], deque)
    if value is None:
        return None
    at = integer(args[2])
    return value[at] if -len(value) <= at < len(value) else None


def lrange(ctx: Context, args: list[bytes]) -> Reply:
    start, stop = integer(args[2]), integer(args[3])
    value = ctx.typed(args[1], deque)
    if value is None:
        return []
    start, stop = clipped(start, stop, len(value))
    if start > len(value) // 2:
        found = list(islice(reversed(value), len(value) - stop, len(value) - start))
        found.reverse()
        return found
    return list(islice(value, start, stop))


def clipped(start: int, stop: int, size: int) -> tuple[int, int]:
    """Convert an inclusive range over `size` elements to a slice. Negative ends count from the end
    of the list.

    >>> clipped(-3, -1, 5)
    (2, 5)
    """
    start = max(start + size, 0) if start < 0 else start
    stop = stop + size if stop < 0 else min(stop, size - 1)
    return (0, 0) if start > stop else (start, stop + 1)


def ltrim(ctx: Context, args: list[bytes]) -> Reply:
    start, stop = integer(args[2]), integer(args[3])
    key = args[1]
    value = ctx.typed(key, deque)
    if value is None:
        return OK
    start, stop = clipped(start, stop, len(value))
    after = len(value) - stop
    if start >= stop:
        ctx.db.remove(key)
    else:
        for _ in range(start):
            value.popleft()
        for _ in range(after):
            value.pop()
    ctx.changed(key, args)
    return OK


def lset(ctx: Context, args: list[bytes]) -> Reply:
    value = ctx.typed(args[1], deque)
    if value is None:
        raise Refusal(NO_SUCH_KEY)
    at = integer(args[2])
    if not -len(value) <= at < len(value):
        raise Refusal(INDEX_RANGE)
    value[at] = args[3]
    ctx.changed(args[1], args)
    return OK


def lrem(ctx: Context, args: list[bytes]) -> Reply:
    count = integer(args[2])
    key, element = args[1], args[3]
    value = ctx.typed(key, deque)
    if value is None:
        return 0
    ctx.strain(len(value))
    at = [i for i, present in enumerate(value) if present == element]
    if count:
        at = at[:count] if count > 0 else at[count:]
    if not at:
        return 0
    gone = dict.fromkeys(at)
    kept = [present for i, present in enumerate(value) if i not in gone]
    value.clear()
    value.extend(kept)
    ctx.drop_if_empty(key, value)
    ctx.changed(key, args)
    return len(at)


def linsert(ctx: Context, args: list[bytes]) -> Reply:
    where = args[2].upper()
    if where not in (b"BEFORE", b"AFTER"):
        raise Refusal(SYNTAX)
    value = ctx.typed(args[1], deque)
    if value is None:
        return 0
    ctx.strain(len(value) // 4)
    try:
        at = value.index(args[3])
    except ValueError:
        return -1
    value.insert(at + (where == b"AFTER"), args[4])
    ctx.changed(args[1], args)
    return len(value)


def lpos(ctx: Context, args: list[bytes]) -> Reply:
    rank, count, most = 1, None, 0
    at = 3
    while at < len(args):
        option = args[at].upper()
        if at + 1 == len(args):
            raise Refusal(SYNTAX)
        if option == b"RANK":
            rank = integer(args[at + 1])
            if not rank:
                raise Refusal(
                    b"ERR RANK can't be zero: use 1 to start from the first match, 2 from the second ... "
                    b"or use negative to start from the end of the list"
                )
        elif option == b"COUNT":
            count = bounded(args[at + 1], 0, INT_MAX, Error(b"ERR COUNT can't be negative"))
        elif option == b"MAXLEN":
            most = bounded(args[at + 1], 0, INT_MAX, Error(b"ERR MAXLEN can't be negative"))
        else:
            raise Refusal(SYNTAX)
        at += 2
    value = ctx.typed(args[1], deque)
    if value is None:
        return None if count is None else []
    ctx.strain(min(most, len(value)) if most else len(value))
    found = _positions(value, args[2], rank, 1 if count is None else count, most)
    if count is None:
        return found[0] if found else None
    return found


def _positions(value: deque[bytes], element: bytes, rank: int, count: int, most: int) -> list[int]:
    """Return the positions of `element`, beginning with the match number `rank`. If `rank` is
    negative, search and count from the end of the list.

    `count` is the maximum number of positions, and `most` is the maximum number of compared
    elements. For both, 0 means no limit.
    """
    skipped = 0 if rank == INT_MIN else abs(rank) - 1  # in Redis 7.0 this rank wraps around
    found: list[int] = []
    for i, present in enumerate(value if rank > 0 else reversed(value)):
        if most and i >= most:
            break
        if present == element:
            if skipped:
                skipped -= 1
                continue
            found.append(i if rank > 0 else len(value) - 1 - i)
            if len(found) == count:
                break
    return found


def _side(word: bytes) -> bytes:
    if word.upper() not in _POP:
        raise Refusal(SYNTAX)
    return word.upper()


def lmove(ctx: Context, args: list[bytes]) -> Reply:
    return _move(ctx, args[1], args[2], _side(args[3]), _side(args[4]))


def rpoplpush(ctx: Context, args: list[bytes]) -> Reply:
    return _move(ctx, args[1], args[2], b"RIGHT", b"LEFT")


def _move(ctx: Context, source: bytes, target: bytes, from_side: bytes, to_side: bytes) -> bytes | None:
    """Move an element and return it; None if the source does not exist."""
    value = ctx.typed(source, deque)
    if value is None:
        return None
    into = value if source == target else ctx.typed(target, deque)
    element: bytes = value.popleft() if from_side == b"LEFT" else value.pop()
    if into is None:
        into = ctx.db.data[target] = deque()
    if to_side == b"LEFT":
        into.appendleft(element)
    else:
        into.append(element)
    ctx.drop_if_empty(source, value)
    ctx.touch(target)
    ctx.changed(source, [b"LMOVE", source, target, from_side, to_side])
    return element


def blpop(ctx: Context, args: list[bytes]) -> Reply:
    return _blocking_pop(ctx, args, b"LEFT")


def brpop(ctx: Context, args: list[bytes]) -> Reply:
    return _blocking_pop(ctx, args, b"RIGHT")


def _blocking_pop(ctx: Context, args: list[bytes], side: bytes) -> Reply:
    keys = args[1:-1]
    until = blocking.deadline(ctx, args[-1])
    for key in keys:
        value = ctx.typed(key, deque)
        if value is not None:
            return [key, _pop(ctx, key, value, side)]

    def serve(ctx: Context, key: bytes) -> Reply:
        value = ctx.db.find(key)
        return [key, _pop(ctx, key, value, side)] if isinstance(value, deque) else BLOCKED

    return blocking.wait(ctx, keys, until, serve, NULL_ARRAY)


def blmove(ctx: Context, args: list[bytes]) -> Reply:
    from_side, to_side = _side(args[3]), _side(args[4])
    return _blocking_move(ctx, args, from_side, to_side)


def brpoplpush(ctx: Context, args: list[bytes]) -> Reply:
    return _blocking_move(ctx, args, b"RIGHT", b"LEFT")


def _blocking_move(ctx: Context, args: list[bytes], from_side: bytes, to_side: bytes) -> Reply:
    source, target = args[1], args[2]
    until = blocking.deadline(ctx, args[-1])
    element = _move(ctx, source, target, from_side, to_side)
    if element is not None:
        return element

    def serve(ctx: Context, key: bytes) -> Reply:
        if not isinstance(ctx.db.find(key), deque):
            return BLOCKED
        if not isinstance(ctx.db.find(target), deque | None):
            return WRONG_TYPE
        return _move(ctx, key, target, from_side, to_side)

    return None if ctx.executing else blocking.wait(ctx, [source], until, serve, NULL_ARRAY)


def lmpop(ctx: Context, args: list[bytes]) -> Reply:
    keys, side, count = pop_options(args, 1, _side)
    return _pop_first(ctx, keys, side, count) or NULL_ARRAY


def blmpop(ctx: Context, args: list[bytes]) -> Reply:
    keys, side, count = pop_options(args, 2, _side)
    until = blocking.deadline(ctx, args[1])
    found = _pop_first(ctx, keys, side, count)
    if found is not None:
        return found

    def serve(ctx: Context, key: bytes) -> Reply:
        value = ctx.db.find(key)
        return [key, _pop_many(ctx, key, value, side, count)] if isinstance(value, deque) else BLOCKED

    return blocking.wait(ctx, keys, until, serve, NULL_ARRAY)


def _pop_first(ctx: Context, keys: list[bytes], side: bytes, count: int) -> list[object] | None:
    """Pop from the first list that exists. Return None if none of the lists exists."""
    for key in keys:
        value = ctx.typed(key, deque)
        if value is not None:
            return [key, _pop_many(ctx, key, value, side, count)]
    return None


def pop_options(args: list[bytes], at: int, side: Callable[[bytes], bytes]) -> tuple[list[bytes], bytes, int]:
    """Parse the arguments of LMPOP, ZMPOP or their blocking forms. `args[at]` is the number of
    keys. Return the keys, the end to pop from, and the count."""
    number = bounded(args[at], 1, INT_MAX, KEYS_ABOVE_ZERO)
    if at + number + 1 >= len(args):
        raise Refusal(SYNTAX)
    keys = args[at + 1 : at + 1 + number]
    end = side(args[at + 1 + number])
    rest = args[at + 2 + number :]
    if not rest:
        return keys, end, 1
    if len(rest) < 2 or rest[0].upper() != b"COUNT":
        raise Refusal(SYNTAX)
    count = bounded(rest[1], 1, INT_MAX, COUNT_ABOVE_ZERO)
    if len(rest) > 2:
        raise Refusal(SYNTAX)
    return keys, end, count
