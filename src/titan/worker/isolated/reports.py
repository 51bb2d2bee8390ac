"""Encoding of the reports of wardens and runners to their worker. It has only plain fields, which
the worker can read without executing code.

Runners execute functions of users, and processes of users can reach wardens. So their reports are
untrusted input, and bytes that do not have the form of a report raise ValueError. Owns the form of
every report of wardens and runners. This module must not know the meaning of a report. It imports
nothing of Titan and little else, because runners and wardens load it in an interpreter that need
not have Titan.

A frame is a 4-byte big-endian length, followed by reports. A report is its kind (1 byte), the
length of the rest (4 bytes), fixed fields, and a tail of bytes or text (UTF-8 with
surrogateescape). `orders` has the encoding of the other direction.
"""

from struct import Struct
from struct import error as StructError
from struct import pack as struct_pack
from struct import unpack_from as struct_unpack_from

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

FRAME_BYTES = 64 * 1024 * 1024
TEXT, BYTES, COLUMNS = "text", "bytes", "columns"
FORMS = (
    # Name, fixed fields, tail. The position is the number of the kind, so add new kinds at the end.
    ("started", "qqd", ""),  # from here on reports of the warden, see `warden`
    ("refused", "qq", TEXT),
    ("withdrawn", "q", ""),
    ("output", "qBqq", BYTES),
    ("log_failed", "qBq", TEXT),
    ("exited", "qqddqqqq", ""),
    ("hello", "q", TEXT),  # from here on reports of a runner, see `runner`
    ("printed", "qB", BYTES),
    ("given_back", "q", ""),
    ("results", "qI", COLUMNS),
    ("waits", "qB", ""),
    ("pong", "q", ""),
    ("unprinted", "qq", ""),
)
_HEAD = Struct(">BI")
_LENGTH = Struct(">I")
_KINDS = {name: (kind, Struct(">" + fields), tail) for kind, (name, fields, tail) in enumerate(FORMS)}
_FORMS = tuple([(name, *_KINDS[name][1:]) for name, _, _ in FORMS])


def pack_reports(reports: "list[tuple[Any, ...]]") -> bytes:
    """Return one frame. A report is a tuple of its name, its fields, and its tail if it has one.
    Raises ValueError if the frame exceeds the limit."""
    parts: list[bytes] = []
    for report in reports:
        kind, fixed, tail = _KINDS[report[0]]
        if tail == COLUMNS:
            data = _pack_columns(report)
        elif not tail:
            data = fixed.pack(*report[1:])
        else:
            last = report[-1]
            data = fixed.pack(*report[1:-1]) + (last if tail == BYTES else last.encode("utf-8", "surrogateescape"))
        parts += (_HEAD.pack(kind, len(data)), data)
    body = b"".join(parts)
    if len(body) > FRAME_BYTES:
        raise ValueError(f"reports of {len(body)} bytes exceed the limit of {FRAME_BYTES}")
    return _LENGTH.pack(len(body)) + body


def take_reports(inbox: bytearray) -> "list[tuple[Any, ...]]":
    """Remove all complete frames from `inbox` and return their reports. Raises ValueError for an
    invalid frame."""
    taken: list[tuple[Any, ...]] = []
    at, have = 0, len(inbox)
    while have - at >= 4:
        (size,) = _LENGTH.unpack_from(inbox, at)
        if size > FRAME_BYTES:
            raise ValueError(f"a frame of {size} bytes exceeds the limit of {FRAME_BYTES}")
        if have - at - 4 < size:
            break
        _take_frame(inbox, at + 4, at + 4 + size, taken)
        at += 4 + size
    del inbox[:at]
    return taken


def _take_frame(inbox: bytearray, at: int, end: int, taken: "list[tuple[Any, ...]]") -> None:
    while at < end:
        if end - at < _HEAD.size:
            raise ValueError("a report without its head")
        kind, size = _HEAD.unpack_from(inbox, at)
        at += _HEAD.size
        if kind >= len(_FORMS) or size > end - at:
            raise ValueError(f"an invalid report: kind {kind}, {size} bytes of {end - at}")
        name, fixed, tail = _FORMS[kind]
        if size < fixed.size or (not tail and size != fixed.size):
            raise ValueError(f"a report {name!r} of {size} bytes")
        fields = fixed.unpack_from(inbox, at)
        if not tail:
            taken.append((name, *fields))
        elif tail == COLUMNS:
            taken.append((name, fields[0], *_columns_of(inbox, at + fixed.size, at + size, fields[1])))
        else:
            rest = bytes(inbox[at + fixed.size : at + size])
            taken.append((name, *fields, rest if tail == BYTES else rest.decode("utf-8", "surrogateescape")))
        at += size


def _pack_columns(report: "tuple[Any, ...]") -> bytes:
    """Return the encoding of ("results", first_seq, statuses, payloads, started, finished)."""
    _, first, statuses, payloads, started, finished = report
    n = len(payloads)
    fixed = struct_pack(f">qI{n}s{n}I{n}d{n}d", first, n, statuses, *map(len, payloads), *started, *finished)
    return b"".join([fixed, *payloads])


def _columns_of(inbox: bytearray, at: int, end: int, n: int) -> "tuple[bytes, list[bytes], list[float], list[float]]":
    """Return (statuses, payloads, started, finished) of `n` results. Raises ValueError."""
    if n > end - at:
        raise ValueError(f"{n} results in {end - at} bytes")
    form = f">{n}s{n}I{n}d{n}d"
    try:
        statuses, *numbers = struct_unpack_from(form, inbox, at)
    except StructError:
        raise ValueError(f"{n} results in {end - at} bytes") from None
    at += n * (1 + 4 + 8 + 8)
    sizes, started, finished = numbers[:n], numbers[n : 2 * n], numbers[2 * n :]
    if at + sum(sizes) != end:
        raise ValueError("results whose lengths do not add up")
    payloads = []
    with memoryview(inbox) as whole:
        for size in sizes:
            payloads.append(bytes(whole[at : at + size]))
            at += size
    return statuses, payloads, started, finished
