"""Commands of streams without groups: add, trim, read ranges.

Trimming is always exact: ``~`` works like ``=``, but deletes at most LIMIT entries.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from titan.store.context import Context
from titan.store.parsing import INT_MAX, bounded, integer
from titan.store.replies import NO_SUCH_KEY, NOT_INTEGER, NULL_ARRAY, OK, SYNTAX, Error, Refusal, Reply
from titan.store.stream_log import MAX_HALF, MAX_ID, MOST_COUNTED, SEQUENCE_BITS, Stream, id_text

_INVALID_ID = Error(b"ERR Invalid stream ID specified as stream command argument")
_HALF = re.compile(rb"[+-]?[0-9]+")
APPROXIMATE_LIMIT = 10_000
"""Maximum number of entries that one trim with ``~`` deletes, unless LIMIT sets another."""


def stream_of(ctx: Context, key: bytes) -> Stream | None:
    return ctx.typed(key, Stream)


def counter(ctx: Context, text: bytes, error: Error = NOT_INTEGER) -> int:
    """Parse a number of entries or deliveries. A replay limits it to MOST_COUNTED, because old
    journals contain larger numbers. Raises Refusal(error)."""
    return min(int(text), MOST_COUNTED) if ctx.repeating and text.isdigit() else integer(text, error)


def parse_id(text: bytes, missing: int = 0) -> int:
    """Parse an id. `missing` is the sequence of an id that is written without a sequence. Raises
    Refusal."""
    if len(text) > 127:
        raise Refusal(_INVALID_ID)
    milliseconds, dash, sequence = text.partition(b"\0")[0].partition(b"-")
    return _half(milliseconds) << SEQUENCE_BITS | (_half(sequence) if dash else missing)


def parse_end(text: bytes, missing: int) -> int:
    """Parse an id like `parse_id`. ``-`` is the lowest id, ``+`` the highest."""
    return {b"-": 0, b"+": MAX_ID}[text] if text in (b"-", b"+") else parse_id(text, missing)


def parse_interval(first: bytes, last: bytes) -> tuple[int, int]:
    """Parse a range of ids, in which ``(`` excludes an end. Return its first and last id. Raises
    Refusal."""
    low, without_low = _interval_end(first, 0)
    if without_low and low == MAX_ID:
        raise Refusal(b"ERR invalid start ID for the interval")
    high, without_high = _interval_end(last, MAX_HALF)
    if without_high and high == 0:
        raise Refusal(b"ERR invalid end ID for the interval")
    return low + without_low, high - without_high


def interval_start(text: bytes) -> int:
    """Parse only the first end of a range of ids. Raises Refusal."""
    return parse_interval(text, b"+")[0]


def _interval_end(text: bytes, missing: int) -> tuple[int, bool]:
    if len(text) > 1 and text.startswith(b"("):
        return parse_id(text[1:], missing), True
    return parse_end(text, missing), False


def _half(text: bytes) -> int:
    if not _HALF.fullmatch(text) or (text.startswith(b"-") and _is_canonical(text)):
        raise Refusal(_INVALID_ID)
    number = int(text)
    if abs(number) > MAX_HALF:
        raise Refusal(_INVALID_ID)
    return number & MAX_HALF


def _is_canonical(text: bytes) -> bool:
    return b"%d" % int(text) == text and int(text) >= -(1 << 63)


def entry_reply(entry: int, fields: tuple[bytes, ...]) -> list[object]:
    return [id_text(entry), list(fields)]


class _Trim(NamedTuple):
    max_length: int | None = None
    min_id: int | None = None
    limit: int | None = None


class _Options(NamedTuple):
    trim: _Trim | None
    create: bool
    at: int
    """Index of the id in the arguments of XADD."""
    wanted: int | None
    """Id of XADD; None for ``*``."""
    any_sequence: bool
    """True if the sequence of the id is ``*``."""


def _options(args: list[bytes], *, adding: bool) -> _Options:
    """Parse the options of XADD and XTRIM. Raises Refusal."""
    length = min_id = limit = wanted = None
    approximate = any_sequence = False
    create = True
    at = 2
    while at < len(args):
        option = args[at].upper()
        more = len(args) - at - 1
        if adding and option == b"*":
            break
        if option in (b"MAXLEN", b"MINID") and more:
            if length is not None or min_id is not None:
                raise Refusal(b"ERR syntax error, MAXLEN and MINID options at the same time are not compatible")
            approximate = more >= 2 and args[at + 1] == b"~"
            at += more >= 2 and args[at + 1] in (b"~", b"=")
            if option == b"MAXLEN":
                length = integer(args[at + 1])
                if length < 0:
                    raise Refusal(b"ERR The MAXLEN argument must be >= 0.")
            else:
                min_id = parse_id(args[at + 1])
            at += 1
        elif option == b"LIMIT" and more:
            limit = integer(args[at + 1])
            if limit < 0:
                raise Refusal(b"ERR The LIMIT argument must be >= 0.")
            at += 1
        elif adding and option == b"NOMKSTREAM":
            create = False
        elif adding:
            any_sequence = option.endswith(b"-*")
            wanted = parse_id(option[:-2] if any_sequence else option)
            break
        else:
            raise Refusal(SYNTAX)
        at += 1
    if length is None and min_id is None:
        if limit:
            raise Refusal(b"ERR syntax error, LIMIT cannot be used without specifying a trimming strategy")
        if not adding:
            raise Refusal(b"ERR syntax error, XTRIM must be called with a trimming strategy")
    if limit is not None and not approximate:
        raise Refusal(b"ERR syntax error, LIMIT cannot be used without the special ~ option")
    if approximate and limit is None:
        limit = APPROXIMATE_LIMIT
    trim = None if length is None and min_id is None else _Trim(length, min_id, limit or None)
    return _Options(trim, create, at, wanted, any_sequence)


def xadd(ctx: Context, args: list[bytes]) -> Reply:
    options = _options(args, adding=True)
    wanted, any_sequence = options.wanted, options.any_sequence
    fields = tuple(args[options.at + 1 :])
    if len(fields) < 2 or len(fields) % 2:
        raise Refusal(b"ERR wrong number of arguments for 'xadd' command")
    if wanted == 0 and not any_sequence:
        raise Refusal(b"ERR The ID specified in XADD must be greater than 0-0")
    key = args[1]
    stream = stream_of(ctx, key)
    if stream is None and not options.create:
        return None
    last = stream.last if stream is not None else 0
    entry = _next_id(last, wanted, ctx.now, any_sequence=any_sequence)
    if stream is None:
        stream = ctx.db.data[key] = Stream()
    stream.append(entry, fields)
    text = id_text(entry)
    ctx.changed(key, [b"XADD", key, text, *fields])
    if options.trim is not None:
        _trim(ctx, key, stream, options.trim)
    return text


def _next_id(last: int, wanted: int | None, now_ms: int, *, any_sequence: bool) -> int:
    if last == MAX_ID:
        raise Refusal(b"ERR The stream has exhausted the last possible ID, unable to add more items")
    if wanted is None:
        return max(now_ms << SEQUENCE_BITS, last + 1)
    if any_sequence and last >> SEQUENCE_BITS == wanted >> SEQUENCE_BITS and last & MAX_HALF != MAX_HALF:
        return last + 1
    if wanted <= last:
        raise Refusal(b"ERR The ID specified in XADD is equal or smaller than the target stream top item")
    return wanted


def _trim(ctx: Context, key: bytes, stream: Stream, trim: _Trim) -> int:
    excess = stream.excess(trim.max_length, trim.min_id, trim.limit)
    for entry in excess:
        stream.entries.drop(entry)
    if excess:
        ctx.changed(key, [b"XTRIM", key, b"MAXLEN", b"=", b"%d" % len(stream)])
    return len(excess)


def xtrim(ctx: Context, args: list[bytes]) -> Reply:
    options = _options(args, adding=False)
    stream = stream_of(ctx, args[1])
    if stream is None:
        return 0
    assert options.trim is not None
    return _trim(ctx, args[1], stream, options.trim)


def xlen(ctx: Context, args: list[bytes]) -> Reply:
    return len(stream_of(ctx, args[1]) or ())


def xdel(ctx: Context, args: list[bytes]) -> Reply:
    key = args[1]
    stream = stream_of(ctx, key)
    if stream is None:
        return 0
    gone = sum(stream.delete(entry) for entry in [parse_id(text) for text in args[2:]])
    if gone:
        ctx.changed(key, args)
    return gone


def xsetid(ctx: Context, args: list[bytes]) -> Reply:
    last = parse_id(args[2])
    added: int | None = None
    deleted = 0
    at = 3
    while at < len(args):
        option = args[at].upper()
        if at + 1 == len(args):
            raise Refusal(SYNTAX)
        if option == b"ENTRIESADDED":
            added = counter(ctx, args[at + 1])
            if added < 0:
                raise Refusal(b"ERR entries_added must be positive")
        elif option == b"MAXDELETEDID":
            deleted = parse_id(args[at + 1])
            if last < deleted:
                raise Refusal(b"ERR The ID specified in XSETID is smaller than the provided max_deleted_entry_id")
        else:
            raise Refusal(SYNTAX)
        at += 2
    stream = stream_of(ctx, args[1])
    if stream is None:
        raise Refusal(NO_SUCH_KEY)
    if last < stream.max_deleted:
        raise Refusal(b"ERR The ID specified in XSETID is smaller than current max_deleted_entry_id")
    if stream.entries:
        if last < stream.entries.last():
            raise Refusal(b"ERR The ID specified in XSETID is smaller than the target stream top item")
        if added is not None and added < len(stream):
            raise Refusal(b"ERR The entries_added specified in XSETID is smaller than the target stream length")
    stream.last = last
    if added is not None:
        stream.added = added
    if deleted:
        stream.max_deleted = deleted
    ctx.regrouped(args[1], args)
    return OK


def xrange(ctx: Context, args: list[bytes]) -> Reply:
    return _range(ctx, args, args[2], args[3], reverse=False)


def xrevrange(ctx: Context, args: list[bytes]) -> Reply:
    return _range(ctx, args, args[3], args[2], reverse=True)


def _range(ctx: Context, args: list[bytes], first: bytes, last: bytes, *, reverse: bool) -> Reply:
    low, high = parse_interval(first, last)
    count: int | None = None
    at = 4
    while at < len(args):
        if args[at].upper() != b"COUNT" or at + 1 == len(args):
            raise Refusal(SYNTAX)
        count = max(0, integer(args[at + 1]))
        at += 2
    stream = stream_of(ctx, args[1])
    if stream is None:
        return []
    if count == 0:
        return NULL_ARRAY
    return entries_between(stream, low, high, count, reverse=reverse)


def entries_between(stream: Stream, low: int, high: int, count: int | None, *, reverse: bool = False) -> list[object]:
    """Return the replies for at most `count` entries from `low` to `high`."""
    entries = stream.entries
    found: list[object] = []
    for entry in entries.span_back(high, low) if reverse else entries.span(low, high):
        if count is not None and len(found) == count:
            break
        found.append(entry_reply(entry, entries[entry]))
    return found


def count_option(text: bytes) -> int:
    """Parse the COUNT of XAUTOCLAIM. Raises Refusal."""
    return bounded(text, 1, INT_MAX // 16, Error(b"ERR COUNT must be > 0"))
