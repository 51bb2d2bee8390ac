"""Expiry of keys: the options EX PX EXAT PXAT, the EXPIRE commands, TTL and related commands."""

from __future__ import annotations

from titan.store.context import Context
from titan.store.parsing import INT_MAX, integer
from titan.store.replies import SYNTAX, Refusal, Reply, shown

_UNITS = (b"EX", b"PX", b"EXAT", b"PXAT")
_FORMS = (b"NX", b"XX", b"GT", b"LT")


def options(args: list[bytes], at: int, words: bytes) -> tuple[dict[bytes, None], bytes, bytes]:
    """Parse the options from `args[at]` on. `words` names the options that are allowed besides a
    unit. Return the options, the unit (EX, PX, EXAT or PXAT; "" if there is none) and the argument
    of the unit. Raises Refusal."""
    known = words.split()
    found: dict[bytes, None] = {}
    unit = amount = b""
    while at < len(args):
        word = args[at].upper()
        at += 1
        if word in known:
            found[word] = None
        elif word in _UNITS and not unit and at < len(args):
            unit, amount = word, args[at]
            at += 1
        else:
            raise Refusal(SYNTAX)
    return found, unit, amount


def moment(now_ms: int, unit: bytes, amount: bytes, command: bytes) -> int:
    """Return the time of expiry in ms since the epoch. Raises Refusal, which names the command, if
    the amount is not positive or too large."""
    number = integer(amount)
    seconds = unit[:1] == b"E"
    if number <= 0 or (seconds and number > INT_MAX // 1000):
        raise Refusal(b"ERR invalid expire time in '%b' command" % command)
    if seconds:
        number *= 1000
    if not unit.endswith(b"AT"):
        number += now_ms
    if number > INT_MAX:
        raise Refusal(b"ERR invalid expire time in '%b' command" % command)
    return number


def expire_or_delete(ctx: Context, key: bytes, at: int) -> None:
    """Set the expiry of an existing key, or delete the key if that time has passed."""
    if at <= ctx.now:
        ctx.db.remove(key)
        ctx.changed(key, [b"DEL", key])
    else:
        ctx.db.expire_at(key, at)
        ctx.changed(key, [b"PEXPIREAT", key, b"%d" % at])


def expire(ctx: Context, args: list[bytes]) -> Reply:
    return _expire(ctx, args, b"expire", ctx.now, 1000)


def pexpire(ctx: Context, args: list[bytes]) -> Reply:
    return _expire(ctx, args, b"pexpire", ctx.now, 1)


def expireat(ctx: Context, args: list[bytes]) -> Reply:
    return _expire(ctx, args, b"expireat", 0, 1000)


def pexpireat(ctx: Context, args: list[bytes]) -> Reply:
    return _expire(ctx, args, b"pexpireat", 0, 1)


def _expire(ctx: Context, args: list[bytes], command: bytes, base: int, scale: int) -> int:
    chosen: dict[bytes, None] = {}
    for option in args[3:]:
        if option.upper() not in _FORMS:
            raise Refusal(b"ERR Unsupported option %b" % shown(option))
        chosen[option.upper()] = None
    if b"NX" in chosen and len(chosen) > 1:
        raise Refusal(b"ERR NX and XX, GT or LT options at the same time are not compatible")
    if b"GT" in chosen and b"LT" in chosen:
        raise Refusal(b"ERR GT and LT options at the same time are not compatible")
    number = integer(args[2])
    if scale > 1 and abs(number) > INT_MAX // scale:
        raise Refusal(b"ERR invalid expire time in '%b' command" % command)
    at = number * scale
    if at > INT_MAX - base:
        raise Refusal(b"ERR invalid expire time in '%b' command" % command)
    at += base
    key = args[1]
    if ctx.db.find(key) is None:
        return 0
    present = ctx.db.expires.get(key)
    if (
        (b"NX" in chosen and present is not None)
        or (b"XX" in chosen and present is None)
        or (b"GT" in chosen and (present is None or at <= present))
        or (b"LT" in chosen and present is not None and at >= present)
    ):
        return 0
    expire_or_delete(ctx, key, at)
    return 1


def persist(ctx: Context, args: list[bytes]) -> Reply:
    key = args[1]
    if ctx.db.find(key) is None or ctx.db.expires.pop(key, None) is None:
        return 0
    ctx.changed(key, args)
    return 1


def ttl(ctx: Context, args: list[bytes]) -> Reply:
    at = _at(ctx, args[1])
    return at if at < 0 else (at - ctx.now + 500) // 1000


def pttl(ctx: Context, args: list[bytes]) -> Reply:
    at = _at(ctx, args[1])
    return at if at < 0 else at - ctx.now


def expiretime(ctx: Context, args: list[bytes]) -> Reply:
    at = _at(ctx, args[1])
    return at if at < 0 else (at + 500) // 1000


def pexpiretime(ctx: Context, args: list[bytes]) -> Reply:
    return _at(ctx, args[1])


def _at(ctx: Context, key: bytes) -> int:
    """Return the time of expiry, -1 if the key does not expire, or -2 if it does not exist."""
    if ctx.db.find(key) is None:
        return -2
    return ctx.db.expires.get(key, -1)
