r"""Glob patterns over bytes, as KEYS, SCAN, PSUBSCRIBE and CONFIG GET take them: ``* ? [a-z] [^a]
\x``.

A pattern becomes a regular expression in which each part between two stars is found once, at the
first place (an atomic group), so no pattern takes more than its length times that of the text.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache

from titan.store.replies import Refusal

MOST_BYTES = 4096
"""In a pattern: what it is compared with takes at most so much more time."""
_STAR = b"*"
_NEVER = b"(?!)"
_ANY = b"."


@lru_cache(1024)
def matcher(pattern: bytes) -> Callable[[bytes], object]:
    """A function that gives a true value for what the whole `pattern` matches. Raises Refusal for
    one beyond MOST_BYTES.

    >>> bool(matcher(b"h[ae]llo*")(b"hello!"))
    True
    """
    if len(pattern) > MOST_BYTES:
        raise Refusal(b"ERR the pattern has more than %d bytes" % MOST_BYTES)
    parts: list[list[bytes]] = [[]]
    for token in _tokens(pattern):
        if token is _STAR:
            parts.append([])
        else:
            parts[-1].append(token)
    first, *others = (b"".join(part) for part in parts)
    if not others:
        return re.compile(first, re.DOTALL).fullmatch
    *middle, last = others
    return re.compile(first + b"".join(b"(?>.*?%b)" % part for part in middle if part) + b".*" + last, re.DOTALL).fullmatch


def is_literal(pattern: bytes) -> bool:
    """Whether `pattern` matches nothing but itself."""
    return not any(sign in pattern for sign in (b"*", b"?", b"[", b"\\"))


@lru_cache(1024)
def folded(pattern: bytes) -> Callable[[bytes], object]:
    """Like `matcher`, for texts in lower case."""
    return matcher(pattern.lower())


def _tokens(pattern: bytes) -> list[bytes]:
    """A star, or a regular expression for exactly one byte."""
    found: list[bytes] = []
    at, end = 0, len(pattern)
    while at < end:
        byte = pattern[at : at + 1]
        at += 1
        if byte == b"*":
            found.append(_STAR)
        elif byte == b"?":
            found.append(_ANY)
        elif byte == b"[":
            token, at = _one_of(pattern, at)
            found.append(token)
        else:
            if byte == b"\\" and at < end:
                byte = pattern[at : at + 1]
                at += 1
            found.append(re.escape(byte))
    return found


def _one_of(pattern: bytes, at: int) -> tuple[bytes, int]:
    """The class whose content begins at `at`, and where it ends. One that is not closed ends with
    the pattern."""
    end = len(pattern)
    negated = pattern[at : at + 1] == b"^"
    at += negated
    wanted: dict[int, None] = {}
    while at < end and pattern[at] != ord("]"):
        if pattern[at] == ord("\\") and at + 1 < end:
            at += 1
            wanted[pattern[at]] = None
        elif at + 2 < end and pattern[at + 1] == ord("-"):
            low, high = sorted((pattern[at], pattern[at + 2]))
            wanted.update(dict.fromkeys(range(low, high + 1)))
            at += 2
        else:
            wanted[pattern[at]] = None
        at += 1
    if not wanted:
        return (_ANY if negated else _NEVER), at + 1
    return b"[%b%b]" % (b"^" if negated else b"", b"".join(b"\\x%02x" % byte for byte in wanted)), at + 1
