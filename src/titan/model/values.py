"""Encoding of values and of a call's arguments in jobs, results and the journal.

    b""                     None
    b"i" + pickle           a returned value
    b"e" + failure          an exception: type, text, traceback, and its pickle or none
                            (see `failure_of`)
    b"h" + digest + size    a returned value by content: SHA-256 (32 bytes) and length
                            (8, big-endian) of an artifact that holds the pickle
    b"r" + digest + size    an exception by content
    b"j" + JSON             a job's own result (`context.result`) if JSON can express it;
                            otherwise it is encoded like a returned value
    b"k" + digest + size    a job's own result in JSON, by content
    b"x" + text             the reason why a value is not available (only on its way to a worker)

Arguments are encoded as their pickle, whose first byte differs from all of these tags, or by
content as with "h".

A failure is the byte 1, four lengths (4 bytes each, big-endian), three texts in UTF-8 and the
pickle. The fourth length is the length of the pickle plus one; 0 means that there is no pickle.
`failure_of` executes no code of a job, because it does not open the pickle. Older journals hold a
pickle of all four parts instead.
"""

from __future__ import annotations

import struct

INLINE_BYTES = 64 * 1024
"""Maximum size of a pickle that is sent and journaled inline; a larger one is an artifact."""
MAX_VALUE_BYTES = 2 * 1024 * 1024 * 1024
MAX_RESULT_BYTES = 48 * 1024 * 1024
"""Maximum size of a job's own result."""
PIECE_BYTES = 1024 * 1024
"""Size of the pieces in which a large result is sent to the worker."""
NOTHING, RETURNED, RAISED, RETURNED_AT, RAISED_AT, REFUSED = b"", b"i", b"e", b"h", b"r", b"x"
JSON, JSON_AT = b"j", b"k"
RETURNED_FILE, JSON_FILE = b"f", b"g"
"""Tags of values by content for jobs and runners: the tag is followed by the artifact's path."""
_AT = (RETURNED_AT, RAISED_AT, JSON_AT)
BY_CONTENT_BYTES = 1 + 32 + 8


_FAILURE = struct.Struct(">BIIII")
_FAILURE_MARK = 1


def by_content(tag: bytes, digest: bytes, size: int) -> bytes:
    return tag + digest + size.to_bytes(8, "big")


def artifact_of(value: bytes) -> str | None:
    """Return the hash, in hex, of the artifact that holds a value; None if the value is inline."""
    return value[1:33].hex() if value[:1] in _AT and len(value) == BY_CONTENT_BYTES else None


def size_of(value: bytes) -> int:
    """Return the size of the artifact that holds a value."""
    return int.from_bytes(value[33:], "big")


def is_failure(data: bytes | bytearray | memoryview) -> bool:
    """Return whether an encoded failure has the format above; an older Titan wrote a pickle."""
    return len(data) > 0 and data[0] == _FAILURE_MARK


def failure_of(data: bytes | bytearray | memoryview) -> tuple[bytes | None, str, str, str]:
    """Return (pickle of the exception or None, its type, its text, the traceback).

    Raises ValueError for malformed data.
    """
    if len(data) < _FAILURE.size or not is_failure(data):
        raise ValueError("not the encoding of a failure")
    _, *lengths, pickled = _FAILURE.unpack_from(data)
    at, texts = _FAILURE.size, []
    for length in lengths:
        texts.append(bytes(data[at : at + length]).decode("utf-8", "replace"))
        at += length
    if at + max(0, pickled - 1) != len(data):
        raise ValueError("the lengths in the encoding of a failure do not add up")
    kind, text, trace = texts
    return bytes(data[at:]) if pickled else None, kind, text, trace
