"""Commands of strings. A string can also be a counter."""

from __future__ import annotations

from fractions import Fraction

from titan.store import expiry
from titan.store.context import Context
from titan.store.parsing import INT_MAX, INT_MIN, extended, extended_sum, extended_text, integer
from titan.store.replies import (
    MOST_REPLY,
    NAN_OR_INFINITY,
    NOT_FLOAT,
    OK,
    OVERFLOW,
    SYNTAX,
    TOO_MUCH,
    WRONG_TYPE,
    Error,
    Refusal,
    Reply,
)

_TOO_LONG = Error(b"ERR string exceeds maximum allowed size (proto-max-bulk-len)")

LCS_CELLS = 64_000_000
"""Maximum product of both lengths for LCS, which needs one bit of memory for each pair of bytes."""


def text_of(ctx: Context, key: bytes) -> bytes | bytearray | None:
    """Return the string at a key; None if the key does not exist. Raises Refusal(WRONG_TYPE)."""
    value = ctx.db.find(key)
    if value is None or isinstance(value, bytes | bytearray):
        return value
    raise Refusal(WRONG_TYPE)


def _bytes_of(ctx: Context, key: bytes) -> bytes | None:
    value = ctx.db.find(key)
    if value is None or value.__class__ is bytes:
        return value
    if value.__class__ is bytearray:
        return bytes(value)
    raise Refusal(WRONG_TYPE)


def get(ctx: Context, args: list[bytes]) -> Reply:
    return _bytes_of(ctx, args[1])


def set_(ctx: Context, args: list[bytes]) -> Reply:
    if len(args) > 3:
        return _set_with_options(ctx, args)
    key = args[1]
    db = ctx.db
    db.data[key] = args[2]
    if db.expires:
        db.expires.pop(key, None)
    ctx.changed(key, args)
    return OK


def _set_with_options(ctx: Context, args: list[bytes]) -> Reply:
    options, unit, amount = expiry.options(args, 3, b"NX XX GET KEEPTTL")
    if (b"NX" in options and b"XX" in options) or (unit and b"KEEPTTL" in options):
        raise Refusal(SYNTAX)
    at = expiry.moment(ctx.now, unit, amount, b"set") if unit else None
    key = args[1]
    before = _bytes_of(ctx, key) if b"GET" in options else None
    there = ctx.db.find(key) is not None
    if (b"NX" in options and there) or (b"XX" in options and not there):
        return before
    _store(ctx, key, args[2], at, keep=b"KEEPTTL" in options)
    return before if b"GET" in options else OK


def _store(ctx: Context, key: bytes, value: bytes, at: int | None, *, keep: bool = False) -> None:
    db = ctx.db
    if keep and key in db.expires:
        db.data[key] = value
        ctx.changed(key, [b"SET", key, value, b"KEEPTTL"])
        return
    db.put(key, value)
    if at is None:
        ctx.changed(key, [b"SET", key, value])
    else:
        db.expire_at(key, at)
        ctx.changed(key, [b"SET", key, value, b"PXAT", b"%d" % at])


def setnx(ctx: Context, args: list[bytes]) -> Reply:
    if ctx.db.find(args[1]) is not None:
        return 0
    _store(ctx, args[1], args[2], None)
    return 1


def cas(ctx: Context, args: list[bytes]) -> Reply:
    """Compare and swap: `CAS key old new [PX ms]` sets a string to `new` if it is `old`.

    The reply is 1, or 0 if the string differs or does not exist.
    """
    _, unit, amount = expiry.options(args, 4, b"")
    if unit not in (b"", b"PX"):
        raise Refusal(SYNTAX)
    at = expiry.moment(ctx.now, unit, amount, b"cas") if unit else None
    key = args[1]
    if text_of(ctx, key) != args[2]:
        return 0
    _store(ctx, key, args[3], at, keep=at is None)
    return 1


def setex(ctx: Context, args: list[bytes]) -> Reply:
    _store(ctx, args[1], args[3], expiry.moment(ctx.now, b"EX", args[2], b"setex"))
    return OK


def psetex(ctx: Context, args: list[bytes]) -> Reply:
    _store(ctx, args[1], args[3], expiry.moment(ctx.now, b"PX", args[2], b"psetex"))
    return OK


def getset(ctx: Context, args: list[bytes]) -> Reply:
    before = _bytes_of(ctx, args[1])
    _store(ctx, args[1], args[2], None)
    return before


def getdel(ctx: Context, args: list[bytes]) -> Reply:
    before = _bytes_of(ctx, args[1])
    if before is not None:
        ctx.db.remove(args[1])
        ctx.changed(args[1], [b"DEL", args[1]])
    return before


def getex(ctx: Context, args: list[bytes]) -> Reply:
    options, unit, amount = expiry.options(args, 2, b"PERSIST")
    if unit and options:
        raise Refusal(SYNTAX)
    key = args[1]
    value = _bytes_of(ctx, key)
    if value is None:
        return None
    if unit:
        at = expiry.moment(ctx.now, unit, amount, b"getex")
        expiry.expire_or_delete(ctx, key, at)
    elif options and ctx.db.expires.pop(key, None) is not None:
        ctx.changed(key, [b"PERSIST", key])
    return value


def mget(ctx: Context, args: list[bytes]) -> Reply:
    found: list[bytes | None] = []
    room = MOST_REPLY
    for key in args[1:]:
        value = ctx.db.find(key)
        text = bytes(value) if isinstance(value, bytes | bytearray) else None
        if text is not None and (room := room - len(text)) < 0:
            raise Refusal(TOO_MUCH)
        found.append(text)
    return found


def mset(ctx: Context, args: list[bytes]) -> Reply:
    if not len(args) % 2:
        raise Refusal(b"ERR wrong number of arguments for 'mset' command")
    _set_all(ctx, args)
    return OK


def msetnx(ctx: Context, args: list[bytes]) -> Reply:
    if not len(args) % 2:
        raise Refusal(b"ERR wrong number of arguments for 'msetnx' command")
    if any(ctx.db.find(key) is not None for key in args[1::2]):
        return 0
    _set_all(ctx, args)
    return 1


def _set_all(ctx: Context, args: list[bytes]) -> None:
    for key, value in zip(args[1::2], args[2::2], strict=True):
        ctx.db.put(key, value)
        ctx.touch(key)
    ctx.log([b"MSET", *args[1:]])


def append(ctx: Context, args: list[bytes]) -> Reply:
    key, more = args[1], args[2]
    value = text_of(ctx, key)
    if value is None:
        ctx.db.put(key, more)
        ctx.changed(key, args)
        return len(more)
    _check_length(ctx, len(value) + len(more))
    changed = value if isinstance(value, bytearray) else bytearray(value)
    changed += more
    ctx.db.data[key] = changed
    ctx.changed(key, args)
    return len(changed)


def strlen(ctx: Context, args: list[bytes]) -> Reply:
    return len(text_of(ctx, args[1]) or b"")


def setrange(ctx: Context, args: list[bytes]) -> Reply:
    key, part = args[1], args[3]
    offset = integer(args[2])
    if offset < 0:
        raise Refusal(b"ERR offset is out of range")
    value = text_of(ctx, key)
    if not part:
        return len(value or b"")
    _check_length(ctx, offset + len(part))
    changed = value if isinstance(value, bytearray) else bytearray(value or b"")
    if len(changed) < offset:
        changed += bytes(offset - len(changed))
    changed[offset : offset + len(part)] = part
    ctx.db.data[key] = changed
    ctx.changed(key, args)
    return len(changed)


def getrange(ctx: Context, args: list[bytes]) -> Reply:
    start, end = integer(args[2]), integer(args[3])
    value = text_of(ctx, args[1]) or b""
    size = len(value)
    if start < 0 and end < 0 and start > end:
        return b""
    start = max(start + size, 0) if start < 0 else start
    end = max(end + size, 0) if end < 0 else end
    return bytes(value[start : end + 1]) if size else b""


substr = getrange


def _check_length(ctx: Context, length: int) -> None:
    if length > ctx.settings.max_bulk and not ctx.repeating:
        raise Refusal(_TOO_LONG)


def incr(ctx: Context, args: list[bytes]) -> Reply:
    key, db = args[1], ctx.db
    value = db.find(key)
    if value.__class__ is bytes and value.isdigit() and len(value) < 18 and value[0] != 48:
        number = int(value) + 1
        db.data[key] = b"%d" % number
        ctx.changed(key, args)
        return number
    return _increment(ctx, args, 1)


def decr(ctx: Context, args: list[bytes]) -> Reply:
    return _increment(ctx, args, -1)


def incrby(ctx: Context, args: list[bytes]) -> Reply:
    return _increment(ctx, args, integer(args[2]))


def decrby(ctx: Context, args: list[bytes]) -> Reply:
    by = integer(args[2])
    if by == INT_MIN:
        raise Refusal(b"ERR decrement would overflow")
    return _increment(ctx, args, -by)


def _increment(ctx: Context, args: list[bytes], by: int) -> int:
    key = args[1]
    value = _bytes_of(ctx, key)
    number = by if value is None else integer(value) + by
    if not INT_MIN <= number <= INT_MAX:
        raise Refusal(OVERFLOW)
    ctx.db.data[key] = b"%d" % number
    ctx.changed(key, args)
    return number


def incrbyfloat(ctx: Context, args: list[bytes]) -> Reply:
    key = args[1]
    text = added(_bytes_of(ctx, key), args[2])
    ctx.db.data[key] = text
    ctx.changed(key, [b"SET", key, text, b"KEEPTTL"])
    return text


def added(value: bytes | None, by: bytes, value_error: Error = NOT_FLOAT) -> bytes:
    """Return the sum of a value (None: zero) and `by`, as long doubles. Raises Refusal."""
    before = Fraction(0) if value is None else extended(value, value_error)
    step = extended(by)
    total = None if before is None or step is None else extended_sum(before, step)
    if total is None:
        raise Refusal(NAN_OR_INFINITY)
    return extended_text(total)


def lcs(ctx: Context, args: list[bytes]) -> Reply:
    first, second = ctx.db.find(args[1]), ctx.db.find(args[2])
    if any(value is not None and not isinstance(value, bytes | bytearray) for value in (first, second)):
        raise Refusal(b"ERR The specified keys must contain string values")
    only_length = matches = with_length = False
    shortest = 0
    at = 3
    while at < len(args):
        option = args[at].upper()
        at += 1
        if option == b"IDX":
            matches = True
        elif option == b"LEN":
            only_length = True
        elif option == b"WITHMATCHLEN":
            with_length = True
        elif option == b"MINMATCHLEN" and at < len(args):
            shortest = max(0, integer(args[at]))
            at += 1
        else:
            raise Refusal(SYNTAX)
    if matches and only_length:
        raise Refusal(b"ERR If you want both the length and indexes, please just use IDX.")
    left, right = bytes(first or b""), bytes(second or b"")  # type: ignore[arg-type]
    if len(left) * len(right) > LCS_CELLS:
        raise Refusal(b"ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len")
    ctx.strain(len(left) * (4 + len(right) // 1024))
    rows = _lcs_rows(left, right)
    length = len(right) - rows[-1].bit_count()
    if only_length:
        return length
    common, ranges = _lcs_walk(rows, left, right)
    if not matches:
        return common
    shown = [r for r in ranges if r[2] >= shortest]
    return {
        b"matches": [[[a, a + n - 1], [b, b + n - 1], n] if with_length else [[a, a + n - 1], [b, b + n - 1]] for a, b, n in shown],
        b"len": length,
    }


def _lcs_rows(left: bytes, right: bytes) -> list[int]:
    """Return the rows of the table of LCS (longest common subsequence) as integers, with a bit for
    each byte of `right`.

    Let L(i, j) be the length of the LCS of the first i bytes of `left` and the first j bytes of
    `right`. Bit j of row i is 0 if L(i, j + 1) is greater than L(i, j), else 1. A few integer
    operations compute a row from the previous row (Hyyro, 2004).
    """
    all_ones = (1 << len(right)) - 1
    where = {byte: int(right[::-1].translate(_only(byte)), 2) for byte in dict.fromkeys(right)}
    rows = [all_ones]
    for byte in left:
        row = rows[-1]
        both = row & where.get(byte, 0)
        rows.append(((row + both) | (row - both)) & all_ones)
    return rows


def _only(byte: int) -> bytes:
    return bytes(49 if other == byte else 48 for other in range(256))


def _lcs_walk(rows: list[int], left: bytes, right: bytes) -> tuple[bytes, list[tuple[int, int, int]]]:
    """Return one longest common subsequence, and its contiguous parts from the last to the first:
    (position in `left`, position in `right`, length)."""
    i, j = len(left), len(right)
    size = len(right) + 7 >> 3
    row = rows[i].to_bytes(size, "little")
    taken = bytearray()
    runs: list[tuple[int, int, int]] = []
    while i and j:
        longer = not row[j - 1 >> 3] >> (j - 1 & 7) & 1
        if left[i - 1] == right[j - 1]:
            i, j = i - 1, j - 1
            taken.append(left[i])
            if runs and runs[-1][:2] == (i + 1, j + 1):
                runs[-1] = (i, j, runs[-1][2] + 1)
            else:
                runs.append((i, j, 1))
        elif longer:
            i -= 1
        else:
            j -= 1
            continue
        row = rows[i].to_bytes(size, "little")
    return bytes(reversed(taken)), runs
