"""How a value, or the arguments of a call, is written where jobs, results and the journal hold it.

    b""                     None
    b"i" + pickle           what was returned
    b"e" + failure          what was raised: its type, its text, the traceback, and its own pickle or none (see `failure_of`)
    b"h" + digest + size    what was returned, by content: SHA-256 (32 bytes) and length (8, big-endian) of an artifact, the pickle
    b"r" + digest + size    what was raised, by content
    b"j" + JSON             what a job said that it came to (`context.result`), if JSON can say it; else as what was returned
    b"k" + digest + size    the same by content
    b"x" + text             why a value cannot be had (only on its way to a worker)

Arguments are their pickle, which begins with another byte than these, or by content as with "h".

A failure is the byte 1, four lengths (4 bytes each, big-endian), then three texts in UTF-8 and the
pickle. The fourth length is that of the pickle and one more; 0: there is none. Reading it executes
nothing: only the caller opens the pickle. Older journals have a pickle of all four in its place.
"""

from __future__ import annotations

import struct

INLINE_BYTES = 64 * 1024
"""A pickle up to this size travels and is journaled as it is; a larger one is an artifact."""
MAX_VALUE_BYTES = 2 * 1024 * 1024 * 1024
MAX_RESULT_BYTES = 48 * 1024 * 1024
"""Of what a job says that it came to."""
PIECE_BYTES = 1024 * 1024
"""In which a large one comes to the worker."""
NOTHING, RETURNED, RAISED, RETURNED_AT, RAISED_AT, REFUSED = b"", b"i", b"e", b"h", b"r", b"x"
JSON, JSON_AT = b"j", b"k"
RETURNED_FILE, JSON_FILE = b"f", b"g"
"""What is by content, as a job or a runner is given it: the path of the artifact."""
_AT = (RETURNED_AT, RAISED_AT, JSON_AT)
BY_CONTENT_BYTES = 1 + 32 + 8


_FAILURE = struct.Struct(">BIIII")
_FAILURE_MARK = 1


def by_content(tag: bytes, digest: bytes, size: int) -> bytes:
    return tag + digest + size.to_bytes(8, "big")


def artifact_of(value: bytes) -> str | None:
    """The hash, in hex, of the artifact that holds it; None if it is here."""
    return value[1:33].hex() if value[:1] in _AT and len(value) == BY_CONTENT_BYTES else None


def size_of(value: bytes) -> int:
    """Of the artifact."""
    return int.from_bytes(value[33:], "big")


def is_failure(data: bytes | bytearray | memoryview) -> bool:
    """Whether a description of what was raised is plain fields; what an older Titan wrote is a
    pickle."""
    return len(data) > 0 and data[0] == _FAILURE_MARK


def failure_of(data: bytes | bytearray | memoryview) -> tuple[bytes | None, str, str, str]:
    """(the exception's own pickle or None, its type, its text, the traceback). Raises ValueError
    for what is none."""
    if len(data) < _FAILURE.size or not is_failure(data):
        raise ValueError("no description of a failure")
    _, *lengths, pickled = _FAILURE.unpack_from(data)
    at, texts = _FAILURE.size, []
    for length in lengths:
        texts.append(bytes(data[at : at + length]).decode("utf-8", "replace"))
        at += length
    if at + max(0, pickled - 1) != len(data):
        raise ValueError("a description of a failure whose lengths do not add up")
    kind, text, trace = texts
    return bytes(data[at:]) if pickled else None, kind, text, trace
