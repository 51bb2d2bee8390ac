"""Strings as arrays of bits and of small integers: `setbit`, `getbit`, `bitcount`, `bitpos`,
`bitop`, `bitfield`, `bitfield_ro`.

Bit 0 is the most significant bit of the first byte.
"""

from __future__ import annotations

from functools import reduce
from operator import and_, or_, xor
from typing import NamedTuple

from titan.store.context import Context
from titan.store.parsing import INT_MAX, INT_MIN, integer
from titan.store.replies import NOT_INTEGER, SYNTAX, Error, Refusal, Reply
from titan.store.strings import text_of

_NO_OFFSET = Error(b"ERR bit offset is not an integer or out of range")
_NO_BIT = Error(b"ERR bit is not an integer or out of range")
_NO_TYPE = Error(b"ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not supported but i64 is.")
_OPERATIONS = {b"AND": and_, b"OR": or_, b"XOR": xor}
_UNITS = (b"BYTE", b"BIT")
_WORDS = {b"GET": 2, b"SET": 3, b"INCRBY": 3}


def _offset(ctx: Context, text: bytes, *, width: int = 0) -> int:
    """Parse the offset of a bit. With `width`, ``#3`` means the integer at index 3 of an array of
    integers of that width. Raises Refusal."""
    counted = bool(width) and text.startswith(b"#")
    offset = integer(text[counted:], _NO_OFFSET) * (width if counted else 1)
    if offset < 0 or (offset >> 3 >= ctx.settings.max_bulk and not ctx.repeating):
        raise Refusal(_NO_OFFSET)
    return offset


def _grown(value: bytes | bytearray | None, size: int) -> bytearray:
    """Return the value as a bytearray of at least `size` bytes, padded with zeros."""
    changed = value if isinstance(value, bytearray) else bytearray(value or b"")
    if len(changed) < size:
        changed += bytes(size - len(changed))
    return changed


def setbit(ctx: Context, args: list[bytes]) -> Reply:
    key, offset = args[1], _offset(ctx, args[2])
    bit = integer(args[3], _NO_BIT)
    if bit not in (0, 1):
        raise Refusal(_NO_BIT)
    value = text_of(ctx, key)
    place, mask = offset >> 3, 0x80 >> (offset & 7)
    before = value is not None and place < len(value) and bool(value[place] & mask)
    if value is None or place >= len(value) or before != bool(bit):
        changed = ctx.db.data[key] = _grown(value, place + 1)
        changed[place] = changed[place] | mask if bit else changed[place] & ~mask
        ctx.changed(key, args)
    return int(before)


def getbit(ctx: Context, args: list[bytes]) -> Reply:
    offset = _offset(ctx, args[2])
    value = text_of(ctx, args[1])
    if value is None or offset >> 3 >= len(value):
        return 0
    return value[offset >> 3] >> (7 - (offset & 7)) & 1


def bitcount(ctx: Context, args: list[bytes]) -> Reply:
    value = text_of(ctx, args[1])
    if value is None:
        return 0
    if len(args) == 2:
        return _ones(ctx, value)
    if len(args) not in (4, 5):
        raise Refusal(SYNTAX)
    start, end = integer(args[2]), integer(args[3])
    if start < 0 and end < 0 and start > end:
        return 0
    by_bit = len(args) == 5 and _by_bit(args[4])
    start, end = _clamped(start, end, len(value) << 3 if by_bit else len(value))
    if start > end:
        return 0
    return _ones(ctx, _part(value, start, end, outside=0) if by_bit else value[start : end + 1])


def _ones(ctx: Context, value: bytes | bytearray) -> int:
    ctx.strain(len(value) // 256)
    return int.from_bytes(value, "big").bit_count()


def _by_bit(word: bytes) -> bool:
    if word.upper() not in _UNITS:
        raise Refusal(SYNTAX)
    return word.upper() == b"BIT"


def _clamped(start: int, end: int, size: int) -> tuple[int, int]:
    """Convert both ends of an inclusive range to offsets from the beginning of a value. A negative
    end counts from the end of the value."""
    start = max(start + size, 0) if start < 0 else start
    end = max(end + size, 0) if end < 0 else end
    return start, min(end, size - 1)


def _part(value: bytes | bytearray, start: int, end: int, *, outside: int) -> bytearray:
    """Return the bytes that contain the bits from `start` to `end`. Set all other bits of these
    bytes to `outside`."""
    part = bytearray(value[start >> 3 : (end >> 3) + 1])
    for place, mask in ((0, 0xFF >> (start & 7)), (-1, 0xFF << (7 - (end & 7)) & 0xFF)):
        part[place] = part[place] | ~mask & 0xFF if outside else part[place] & mask
    return part


def bitpos(ctx: Context, args: list[bytes]) -> Reply:
    bit = integer(args[2])
    if bit not in (0, 1):
        raise Refusal(b"ERR The bit argument must be 1 or 0.")
    value = text_of(ctx, args[1])
    if value is None:
        return -1 if bit else 0
    ctx.strain(len(value) // 256)
    if len(args) > 6:
        raise Refusal(SYNTAX)
    if len(args) == 3:
        return _first(value, bit, 0, (len(value) << 3) - 1, padded=True)
    start = integer(args[3])
    by_bit = len(args) == 6 and _by_bit(args[5])
    size = len(value) << 3 if by_bit else len(value)
    start, end = _clamped(start, integer(args[4]) if len(args) > 4 else size - 1, size)
    if not by_bit:
        start, end = start << 3, (end << 3) + 7
    return _first(value, bit, start, end, padded=len(args) == 4)


def _first(value: bytes | bytearray, bit: int, start: int, end: int, *, padded: bool) -> int:
    """Return the offset of the first `bit` from `start` to `end`, or -1 if there is none. With
    `padded`, the value counts as followed by endless zeros."""
    if start > end:
        return -1
    part = _part(value, start, end, outside=1 - bit)
    rest = part.lstrip(b"\0" if bit else b"\xff")
    if not rest:
        return -1 if bit or not padded else end + 1
    byte = rest[0] if bit else ~rest[0] & 0xFF
    return ((start >> 3) + len(part) - len(rest) << 3) + 8 - byte.bit_length()


def bitop(ctx: Context, args: list[bytes]) -> Reply:
    operation, target = args[1].upper(), args[2]
    if operation != b"NOT" and operation not in _OPERATIONS:
        raise Refusal(SYNTAX)
    if operation == b"NOT" and len(args) != 4:
        raise Refusal(b"ERR BITOP NOT must be called with a single source key.")
    sources = [text_of(ctx, key) or b"" for key in args[3:]]
    size = max(map(len, sources))
    ctx.strain(sum(map(len, sources)) // 256 + size * len(sources) // 256)
    if not size:
        if ctx.db.find(target) is not None:
            ctx.db.remove(target)
            ctx.changed(target, [b"DEL", target])
        return 0
    numbers = [int.from_bytes(source, "big") << 8 * (size - len(source)) for source in sources]
    if operation == b"NOT":
        result = numbers[0] ^ ((1 << 8 * size) - 1)
    else:
        result = reduce(_OPERATIONS[operation], numbers)
    ctx.db.put(target, bytearray(result.to_bytes(size, "big")))
    ctx.changed(target, args)
    return size


# -- BITFIELD --------------------------------------------------------------------------------------
class _Step(NamedTuple):
    word: bytes
    """GET, SET or INCRBY."""
    signed: bool
    width: int
    offset: int
    amount: int
    overflow: bytes


def bitfield(ctx: Context, args: list[bytes]) -> Reply:
    key, steps = args[1], _steps(ctx, args)
    value = text_of(ctx, key)
    writing = [step for step in steps if step.word != b"GET"]
    if not writing:
        return [_read(value or b"", step) for step in steps]
    size = max(step.offset + step.width + 7 >> 3 for step in writing)
    different = value is None or size > len(value)
    changed = ctx.db.data[key] = _grown(value, size)
    replies: list[int | None] = []
    for step in steps:
        before = _read(changed, step)
        if step.word == b"GET":
            replies.append(before)
            continue
        after = _fitted(step.amount if step.word == b"SET" else before + step.amount, step)
        if after is None:
            replies.append(None)
            continue
        replies.append(before if step.word == b"SET" else after)
        if after != before:
            different = True
            _write(changed, step, after)
    if different:
        ctx.changed(key, args)
    return list(replies)


def bitfield_ro(ctx: Context, args: list[bytes]) -> Reply:
    steps = _steps(ctx, args)
    if any(step.word != b"GET" for step in steps):
        raise Refusal(b"ERR BITFIELD_RO only supports the GET subcommand")
    value = text_of(ctx, args[1]) or b""
    return [_read(value, step) for step in steps]


def _steps(ctx: Context, args: list[bytes]) -> list[_Step]:
    steps = []
    overflow = b"WRAP"
    at = 2
    while at < len(args):
        word, more = args[at].upper(), len(args) - at - 1
        if word == b"OVERFLOW" and more:
            overflow = args[at + 1].upper()
            if overflow not in (b"WRAP", b"SAT", b"FAIL"):
                raise Refusal(b"ERR Invalid OVERFLOW type specified")
            at += 2
            continue
        if more < _WORDS.get(word, len(args)):
            raise Refusal(SYNTAX)
        signed, width = _type(args[at + 1])
        offset = _offset(ctx, args[at + 2], width=width)
        amount = 0 if word == b"GET" else integer(args[at + 3], NOT_INTEGER)
        steps.append(_Step(word, signed, width, offset, amount, overflow))
        at += 1 + _WORDS[word]
    return steps


def _type(text: bytes) -> tuple[bool, int]:
    """Parse a type such as i16. Return whether the type is signed, and its number of bits. Raises
    Refusal."""
    signed = text.startswith(b"i")
    if not signed and not text.startswith(b"u"):
        raise Refusal(_NO_TYPE)
    width = integer(text[1:].partition(b"\0")[0], _NO_TYPE)
    if not 1 <= width <= (64 if signed else 63):
        raise Refusal(_NO_TYPE)
    return signed, width


def _read(value: bytes | bytearray, step: _Step) -> int:
    """Return the integer at the position of a step. Bits beyond the end of the value are zero."""
    first, end = step.offset >> 3, step.offset + step.width + 7 >> 3
    part = value[first:end]
    number = int.from_bytes(part, "big") << 8 * (end - first - len(part))
    number = number >> (8 * end - step.offset - step.width) & ((1 << step.width) - 1)
    return number - (1 << step.width) if step.signed and number >> (step.width - 1) else number


def _write(value: bytearray, step: _Step, number: int) -> None:
    first, end = step.offset >> 3, step.offset + step.width + 7 >> 3
    shift = 8 * end - step.offset - step.width
    mask = (1 << step.width) - 1
    whole = int.from_bytes(value[first:end], "big") & ~(mask << shift) | (number & mask) << shift
    value[first:end] = whole.to_bytes(end - first, "big")


def _fitted(number: int, step: _Step) -> int | None:
    """Apply the overflow rule of a step. Return the number to store, or None if the step fails."""
    if step.signed:
        low, high = -(1 << (step.width - 1)), (1 << (step.width - 1)) - 1
    else:
        low, high = 0, (1 << step.width) - 1
        if step.word == b"SET" and INT_MIN <= number < 0:
            # Redis reads a negative argument of SET as an unsigned number.
            number += 2 * (INT_MAX + 1)
    if low <= number <= high:
        return number
    if step.overflow == b"FAIL":
        return None
    if step.overflow == b"SAT":
        return low if number < low else high
    return (number - low) % (1 << step.width) + low
