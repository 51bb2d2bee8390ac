"""Encoding of replies in RESP2 and RESP3. `requests` parses the requests."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any

from titan.store.replies import NULL_ARRAY, OK, Error, Keyed, Mark, Pairs, Push, Reply, SetReply, Several, Status, Verbatim


def encode(reply: Reply, resp: int, out: bytearray) -> None:
    """Append `reply` to `out` in version `resp` (2 or 3) of the protocol. Raises TypeError for an
    object that is not a reply.

    >>> out = bytearray()
    >>> encode([b"a", 1, None], 2, out)
    >>> bytes(out)
    b'*3\\r\\n$1\\r\\na\\r\\n:1\\r\\n$-1\\r\\n'
    """
    kind = reply.__class__
    if kind is bytes:
        out += b"$%d\r\n%b\r\n" % (len(reply), reply)  # type: ignore[arg-type, str-format]
    elif reply is OK:
        out += b"+OK\r\n"
    elif kind is int:
        out += b":%d\r\n" % reply  # type: ignore[str-format]
    elif reply is None:
        out += b"$-1\r\n" if resp == 2 else b"_\r\n"
    elif kind is list:
        out += b"*%d\r\n" % len(reply)  # type: ignore[arg-type]
        for item in reply:  # type: ignore[union-attr]
            if item.__class__ is bytes:
                out += b"$%d\r\n%b\r\n" % (len(item), item)
            else:
                encode(item, resp, out)
    else:
        writer = _WRITERS.get(kind)
        if writer is None:
            raise TypeError(f"{kind.__name__} is not a reply")
        writer(reply, resp, out)


def double(value: float) -> bytes:
    """Return a double as Redis 7.0 writes it: with 17 significant digits, so that no bit is
    lost."""
    if value in (inf, -inf):
        return b"inf" if value > 0 else b"-inf"
    return b"%.17g" % value


def _double(reply: float, resp: int, out: bytearray) -> None:
    text = double(reply)
    out += b"$%d\r\n%b\r\n" % (len(text), text) if resp == 2 else b",%b\r\n" % text


def _bulk(reply: bytes, resp: int, out: bytearray) -> None:
    out += b"$%d\r\n%b\r\n" % (len(reply), reply)


def _status(reply: bytes, resp: int, out: bytearray) -> None:
    out += b"+%b\r\n" % reply


def _error(reply: bytes, resp: int, out: bytearray) -> None:
    out += b"-%b\r\n" % reply.translate(_ONE_LINE)


def _verbatim(reply: bytes, resp: int, out: bytearray) -> None:
    out += b"$%d\r\n%b\r\n" % (len(reply), reply) if resp == 2 else b"=%d\r\ntxt:%b\r\n" % (len(reply) + 4, reply)


def _map(reply: dict[bytes, Any], resp: int, out: bytearray) -> None:
    out += b"*%d\r\n" % (2 * len(reply)) if resp == 2 else b"%%%d\r\n" % len(reply)
    for key, value in reply.items():
        encode(key, resp, out)
        encode(value, resp, out)


def _set(reply: list[Any], resp: int, out: bytearray) -> None:
    _many(b"*" if resp == 2 else b"~", reply, resp, out)


def _push(reply: list[Any], resp: int, out: bytearray) -> None:
    _many(b"*" if resp == 2 else b">", reply, resp, out)


def _several(reply: list[Any], resp: int, out: bytearray) -> None:
    for item in reply:
        encode(item, resp, out)


def _pairs(reply: list[Any], resp: int, out: bytearray) -> None:
    if resp == 2:
        out += b"*%d\r\n" % (2 * len(reply))
    else:
        out += b"*%d\r\n" % len(reply)
    for first, second in reply:
        if resp != 2:
            out += b"*2\r\n"
        encode(first, resp, out)
        encode(second, resp, out)


def _keyed(reply: list[Any], resp: int, out: bytearray) -> None:
    out += b"*%d\r\n" % len(reply) if resp == 2 else b"%%%d\r\n" % len(reply)
    for key, value in reply:
        if resp == 2:
            out += b"*2\r\n"
        encode(key, resp, out)
        encode(value, resp, out)


def _mark(reply: Mark, resp: int, out: bytearray) -> None:
    if reply is NULL_ARRAY:
        out += b"*-1\r\n" if resp == 2 else b"_\r\n"


def _many(sign: bytes, items: list[Any], resp: int, out: bytearray) -> None:
    out += b"%b%d\r\n" % (sign, len(items))
    for item in items:
        encode(item, resp, out)


_ONE_LINE = bytes(32 if byte in (10, 13) else byte for byte in range(256))
_WRITERS: dict[type, Callable[[Any, int, bytearray], None]] = {
    float: _double,
    bytearray: _bulk,
    Status: _status,
    Error: _error,
    Verbatim: _verbatim,
    dict: _map,
    SetReply: _set,
    Push: _push,
    Several: _several,
    Pairs: _pairs,
    Keyed: _keyed,
    Mark: _mark,
}
